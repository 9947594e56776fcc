"""What a job tells while it runs, to whoever looks into its folder."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from slt.online import OnlineDetector
from slt.stages import Stages
from slt.trajectory import Estimate, Trajectory, Verdict, VerdictKind
from tests.workers.patience import PATIENCE, command, until
from workers.job import StageSettings
from workers.results import Row
from workers.so_far import Settling


def status(workplace) -> dict:
    return json.loads((workplace.out / "status.json").read_text())


def test_a_finished_job_says_what_it_did(workplace):
    assert workplace.run().exit_code == 0
    told = status(workplace)
    assert (told["state"], told["message"], told["following"]) == ("SUCCEEDED", "", False)
    assert told["units"] == {"computed": 6, "reused": 0, "failed": 0, "total": 6}
    assert (told["done"], told["total"], told["checkpoints"]) == (12, 12, 12)
    assert datetime.fromisoformat(told["started"]) < datetime.fromisoformat(told["updated"])
    workplace.run()
    assert status(workplace)["units"] == {"computed": 0, "reused": 6, "failed": 0, "total": 6}


def test_failed_checkpoints_are_a_success_with_a_message(workplace):
    workplace.save(64, [10.0, 0.0, 0.0])
    Path("picky").touch()
    assert workplace.run().exit_code == 1
    told = status(workplace)
    assert (told["state"], told["message"]) == ("SUCCEEDED", "1 checkpoint failed")
    assert told["units"]["failed"] == 1


def test_a_refused_job_tells_its_sentence_if_it_has_a_folder_and_leaves_none_otherwise(workplace):
    (workplace.path / "runs" / "step_000064.safetensors").write_bytes(b"no weights")
    assert workplace.run().exit_code == 2
    assert not workplace.out.exists()
    workplace.out.mkdir(parents=True)
    assert workplace.run().exit_code == 2
    assert not list(workplace.out.iterdir())  # any folder of the user's
    (workplace.out / "job.submitted.yaml").touch()
    refused = workplace.run()
    assert status(workplace)["state"] == "FAILED"
    assert refused.stderr.splitlines()[-1] == f"Error: {status(workplace)['message']}"


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_running_job_shows_where_it_is_and_an_interrupted_one_that_it_stopped(workplace, how):
    workplace.configure(problem_args={"seconds": 0.05})
    process = subprocess.Popen(command("run", "tiny.yaml", "--serial"), stderr=subprocess.PIPE, text=True)
    until(lambda: (workplace.out / "status.json").exists())
    told = until(lambda: (told := status(workplace))["units"]["computed"] and told)
    assert (told["state"], told["phase"], told["total"]) == ("RUNNING", "estimating", 12)
    assert told["label"].startswith(f"unit {told['units']['computed']}/6, step ")
    until(lambda: status(workplace)["updated"] > told["updated"], "news")  # at each change, and else every 5 s
    process.send_signal(how)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert errors.splitlines()[-1].startswith("Interrupted. What is finished is kept in results/tiny")
    assert (status(workplace)["state"], status(workplace)["message"]) == ("STOPPED", "interrupted")


TABLES = ["trajectory.csv", "measures.csv", "stages.json", "gauges.json", "events.csv", "comparison.json"]


@pytest.mark.slow
def test_tables_grow_with_the_units_and_end_as_the_same_bytes_as_without(workplace, monkeypatch):
    monkeypatch.setattr("workers.so_far.BETWEEN", 1e9)
    assert workplace.run("--out", "without").exit_code == 0
    workplace.configure(problem_args={"seconds": 0.2})  # another key, the same numbers

    def rows() -> int:
        path = workplace.out / "trajectory.csv"
        return len(path.read_text().splitlines()) - 1 if path.exists() else 0

    seen = set()
    with open("errors", "w") as errors:
        process = subprocess.Popen(command("run", "tiny.yaml", "--serial"), stderr=errors)
        while process.poll() is None:
            seen.add(rows())
            if (workplace.out / "stages.json").exists():
                assert Stages.from_dict(json.loads((workplace.out / "stages.json").read_text())).stages
            time.sleep(0.02)
    assert process.returncode == 0, Path("errors").read_text()
    assert len(seen & set(range(1, 12))) >= 2, seen
    for name in TABLES:
        assert (workplace.out / name).read_bytes() == Path("without", name).read_bytes(), name


@pytest.mark.slow
def test_an_interrupted_run_leaves_tables_of_all_that_it_finished(workplace):
    workplace.configure(problem_args={"seconds": 0.06})
    process = subprocess.Popen(command("run", "tiny.yaml", "--serial"), stderr=subprocess.DEVNULL)
    until(lambda: list(workplace.out.glob("units/*.npz")))
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 130
    steps = Trajectory.from_csv(workplace.out / "trajectory.csv").steps
    assert len(steps) == 2 * len(list(workplace.out.glob("units/*.npz")))


def test_boundaries_settle_in_order_of_step_whatever_order_units_finish_in_and_are_not_taken_back():
    steps = np.unique(np.geomspace(1, 10_000, 60).astype(int))
    bursts = sum(10 / (1 + (np.maximum(steps, 1) / at) ** -8.0) for at in (10, 1000))
    llc = bursts + 0.01 * np.random.default_rng(0).normal(size=len(steps))
    rows = {
        int(step): Row(Estimate(step, y, 0.1, np.full(2, y), 0, 1, 99, Verdict(VerdictKind.OK, 0, "")), {})
        for step, y in zip(steps, llc, strict=True)
    }
    in_order = OnlineDetector()
    for step, row in rows.items():
        in_order.update(step, row.estimate.llc, row.estimate.llc_chains)
    assert [settled.boundary.step for settled in in_order.settled] == [pytest.approx(100, rel=0.26)]

    settling = Settling(StageSettings())
    settling.expected.extend(rows)
    late = int(steps[20])
    there = {}
    for step in (step for step in rows if step != late):
        there[step] = rows[step]
        settled = settling.feed(there, float("inf"))
    assert settled == ()  # nobody knows yet what is at the late one
    assert settling.feed(rows, float("inf")) == in_order.settled

    surprised = Settling(StageSettings())  # by a checkpoint that nobody expected, and that changes the picture
    before = surprised.feed({step: row for step, row in rows.items() if step != late}, float("inf"))
    assert len(before) == 1
    assert surprised.feed(rows, float("inf")) == before
