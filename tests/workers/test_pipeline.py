"""A job from checkpoints to report: complete, resumable, and the same numbers wherever it runs."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from slt.comparison import Comparison
from slt.gauges import Gauges
from slt.stages import Stages
from slt.trajectory import Trajectory, VerdictKind
from tests.workers.patience import PATIENCE, command, until

UNITS = 6


def counts(result) -> dict[str, int]:
    return json.loads(result.stdout)["units"]


def units_on_disk(workplace) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (workplace.out / "units").iterdir()}


def test_a_job_folder_has_all_its_parts_and_they_agree(workplace):
    result = workplace.run("--json")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["checkpoints"] == 12
    assert document["units"] == {"computed": UNITS, "reused": 0, "failed": 0}
    assert sum(document["verdicts"].values()) == 12
    assert Path(document["report"]).stat().st_size > 0

    out = workplace.out
    trajectory = Trajectory.from_csv(out / "trajectory.csv")
    assert trajectory.llc_chains.shape == (12, 2)
    with open(out / "measures.csv", newline="") as file:
        measures = list(csv.DictReader(file))
    # the loss of the estimate and of the measure are the same quantity, in float32 on the same data
    np.testing.assert_allclose([float(row["loss"]) for row in measures], trajectory.loss, rtol=1e-5)
    import xarray

    traces = xarray.open_zarr(out / "traces.zarr", consolidated=False)
    assert dict(traces.sizes) == {"checkpoint": 12, "chain": 2, "draw": 16}
    kept = traces.excess_loss.isel(draw=slice(traces.attrs["burn_in"], None))
    np.testing.assert_allclose(traces.attrs["n_beta"] * kept.mean(("chain", "draw")), trajectory.llc, rtol=1e-12)
    Stages.from_dict(json.loads((out / "stages.json").read_text()))
    assert Gauges.from_dict(json.loads((out / "gauges.json").read_text())).names[0] == "LLC"
    Comparison.from_dict(json.loads((out / "comparison.json").read_text()))
    echo = yaml.safe_load((out / "job.yaml").read_text())
    assert echo["sampler"]["kernel"] == "sgld"
    assert echo["versions"]["torch"] == torch.__version__.partition("+")[0] or echo["versions"]["torch"]


def test_a_second_run_computes_nothing_and_leaves_the_same_results(workplace):
    assert workplace.run().exit_code == 0
    before, units = workplace.trajectory, units_on_disk(workplace)
    again = workplace.run("--json")
    assert counts(again) == {"computed": 0, "reused": UNITS, "failed": 0}
    assert workplace.trajectory == before
    assert units_on_disk(workplace) == units


def test_changed_weights_are_computed_anew_with_their_neighbour_alone(workplace):
    workplace.run()
    before = Trajectory.from_csv(workplace.out / "trajectory.csv")
    workplace.save(64, [0.1, 0.2, 0.3])
    assert counts(workplace.run("--json")) == {"computed": 1, "reused": UNITS - 1, "failed": 0}
    after = Trajectory.from_csv(workplace.out / "trajectory.csv")
    changed = before.steps[before.llc != after.llc]
    assert changed.tolist() == [64.0]


@pytest.mark.parametrize(
    "setting", ["sampler.seed=1", "sampler.n_beta=11", "problem_args.dim=3", "measures=[loss]", "sampler.draws=13"]
)
def test_changed_settings_never_reuse_old_numbers(workplace, setting):
    workplace.compute()
    assert workplace.compute(setting)["reused"] == 0


def test_changed_code_of_the_problem_never_reuses_old_numbers(workplace):
    workplace.compute()
    with open("tiny_problem.py", "a") as file:
        file.write("\n# a new thought\n")
    assert workplace.compute()["reused"] == 0


def test_names_paths_and_steps_are_labels_that_keep_finished_units(workplace):
    workplace.compute()
    Path("runs").rename("moved")
    Path("moved/step_001024.safetensors").rename("moved/step_001025.safetensors")
    counted = workplace.compute("checkpoints=moved", "name=other", "out=results/tiny", "stages.draws=100")
    assert counted == {"computed": 0, "reused": UNITS, "failed": 0}


def test_checkpoints_that_training_adds_leave_finished_units_alone(workplace):
    workplace.compute()
    workplace.save(2048)
    workplace.save(4096)
    assert workplace.compute() == {"computed": 1, "reused": UNITS, "failed": 0}


def test_a_checkpoint_that_raises_is_one_failed_item_and_its_neighbour_finishes(workplace):
    workplace.save(64, [10.0, 0.0, 0.0])
    Path("picky").touch()
    result = workplace.run("--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["units"] == {"computed": UNITS - 1, "reused": 0, "failed": 1}
    assert document["verdicts"]["failed"] == 1
    [failure] = document["failures"]
    assert failure["step"] == 64
    assert "this checkpoint is not liked" in failure["error"]
    trajectory = Trajectory.from_csv(workplace.out / "trajectory.csv")
    assert trajectory.steps[np.isnan(trajectory.llc)].tolist() == [64.0]
    [record] = (workplace.out / "failures").iterdir()
    content = json.loads(record.read_text())
    assert content["steps"] == [64]
    assert content["kind"] == "application"
    assert "in loss" in content["traceback"]
    assert "this checkpoint is not liked" in (workplace.out / "report.html").read_text()


def test_a_failed_unit_is_tried_again_by_the_next_run_and_then_leaves_no_failure(workplace):
    workplace.save(64, [10.0, 0.0, 0.0])
    Path("picky").touch()
    assert workplace.run().exit_code == 1
    Path("picky").unlink()
    mended = workplace.run("--json")
    assert mended.exit_code == 0, mended.stderr
    assert counts(mended) == {"computed": 1, "reused": UNITS - 1, "failed": 0}
    assert not list((workplace.out / "failures").iterdir())


def test_a_diverged_chain_is_a_failed_item_with_a_verdict_and_no_number(workplace):
    workplace.save(64, [30.0, 30.0, 30.0])
    result = workplace.run("--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["verdicts"]["diverged"] == 1
    assert [failure["step"] for failure in document["failures"]] == [64]
    trajectory = Trajectory.from_csv(workplace.out / "trajectory.csv")
    row = trajectory.steps.tolist().index(64.0)
    assert np.isnan(trajectory.llc[row])
    assert trajectory.verdicts[row].kind is VerdictKind.DIVERGED


def test_when_most_checkpoints_fail_the_rest_is_still_written(workplace):
    Path("picky").touch()
    for step in (4, 8, 16, 32, 64, 128):
        workplace.save(step, [10.0, 0.0, 0.0])
    result = workplace.run("--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["verdicts"]["failed"] == 6
    assert document["boundaries"] == []
    assert (workplace.out / "report.html").exists()
    assert not (workplace.out / "stages.json").exists()


def test_events_of_the_job_are_compared_and_kept_in_the_folder(workplace):
    Path("events.csv").write_text("name,step\nmemorised,30\n")
    result = workplace.run("--set", "events=events.csv")
    assert "memorised" in result.stdout
    assert "memorised" in (workplace.out / "events.csv").read_text()
    assert result.stdout.splitlines()[-1] == "results/tiny/report.html"


@pytest.mark.slow
def test_after_kill_9_no_finished_unit_is_computed_again_and_the_results_are_identical(workplace):
    workplace.configure(problem_args={"seconds": 0.03})
    assert workplace.run("--out", "uninterrupted", "--set", "problem_args.seconds=0").exit_code == 0
    process = subprocess.Popen(command("run", "tiny.yaml", "--serial"), stderr=subprocess.DEVNULL)
    try:
        until(lambda: len(list(workplace.out.glob("units/*.npz"))) >= 2, "two finished units")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    finished = {name: when for name, when in units_on_disk(workplace).items() if not name.startswith(".")}
    assert 2 <= len(finished) < UNITS
    again = workplace.run("--json")
    assert counts(again) == {"computed": UNITS - len(finished), "reused": len(finished), "failed": 0}
    assert finished.items() <= units_on_disk(workplace).items()
    assert workplace.trajectory == Path("uninterrupted/trajectory.csv").read_bytes()


@pytest.mark.slow
def test_serial_and_ray_with_one_and_two_workers_write_identical_trajectories(workplace):
    serial = workplace.run("--out", "serial")
    assert serial.exit_code == 0
    # a process of its own: Ray starts and stops by itself, as it does for a user
    for workers in ("1", "2"):
        result = subprocess.run(
            command("run", "tiny.yaml", "--workers", workers, "--out", workers, "--json"),
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        assert json.loads(result.stdout)["units"]["computed"] == UNITS
        assert "Traceback" not in result.stderr
        assert Path(workers, "trajectory.csv").read_bytes() == Path("serial/trajectory.csv").read_bytes()


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_done_and_exits_130(workplace):
    workplace.configure(problem_args={"seconds": 0.03})
    process = subprocess.Popen(command("run", "tiny.yaml", "--serial"), stderr=subprocess.PIPE, text=True)
    until(lambda: list(workplace.out.glob("units/*.npz")), "a finished unit")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert errors.splitlines()[-1].startswith("Interrupted. What is finished is kept in results/tiny")
    assert os.listdir(workplace.out / "units")
