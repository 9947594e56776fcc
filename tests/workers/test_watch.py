"""Following a directory while training writes it: each checkpoint once, whole, and the same end as one run over all."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from slt.trajectory import Trajectory
from tests.workers.conftest import STEPS
from tests.workers.patience import PATIENCE, command, until
from workers.arrivals import Arrivals

TRAINING = '''
"""Writes a checkpoint every `PERIOD` seconds: whole, in two halves with a pause, under another name first, or late."""
import os
import sys
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import save

STEPS, LATE, PERIOD = [0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128], 16, float(sys.argv[1])


def content(step):
    return save({"weight": np.full((1, 3), np.log2(step + 1) / 7, np.float32)})


def whole(path, data):
    path.write_bytes(data)


def slowly(path, data):
    with open(path, "wb", buffering=0) as file:
        file.write(data[: len(data) // 2])
        time.sleep(PERIOD)
        file.write(data[len(data) // 2 :])


def renamed(path, data):
    temporary = path.with_name(path.name + ".tmp")
    slowly(temporary, data)
    os.replace(temporary, path)


def within_a_folder(path, data):  # as other frameworks do: a temporary folder with the file's own name in it
    folder = path.parent / f"tmp-checkpoint-{path.stem[5:]}"
    folder.mkdir()
    slowly(folder / "model.safetensors", data)
    folder.rename(path.parent / f"checkpoint-{int(path.stem[5:])}")


Path("ready").touch()
while not Path("go").exists():
    time.sleep(0.02)
Path("runs").mkdir()
for position, step in enumerate(STEPS + [LATE]):
    if step == LATE and position < len(STEPS):
        continue
    way = [whole, slowly, renamed, whole, within_a_folder][position % 5]
    way(Path(f"runs/step_{step:06d}.safetensors"), content(step))
    time.sleep(PERIOD)
'''
COUNT = 15
PERIOD = 0.4


def follow(*arguments: str, where: tuple[str, ...] = ("--serial",)) -> subprocess.Popen[str]:
    """`slt watch-dir`, which looks as often as the training of these tests is quick."""
    quick = f"import workers.arrivals; workers.arrivals.SETTLES = {PERIOD}"
    line = command("watch-dir", "runs", "tiny.yaml", *where, "--json", *arguments, before=quick)
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def train(period: float) -> subprocess.Popen[bytes]:
    """Training that begins when there is a file `go`."""
    process = subprocess.Popen([sys.executable, "training.py", str(period)])
    until(lambda: Path("ready").exists(), "training to be ready")
    return process


def follow_and_train(workplace, **settings) -> dict:
    """Training begins when it is followed, and both end by themselves; returns what the follower says at its end."""
    trained, process = train(PERIOD), follow("--idle", "6", **settings)
    status = until(lambda: (workplace.out / "status.json").exists() and told(workplace), "the follower")
    assert (status["state"], status["following"]) == ("RUNNING", True)
    Path("go").touch()
    assert trained.wait(PATIENCE) == 0
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert "newest step 128" in errors
    return json.loads(output)


def units(workplace) -> dict[str, int]:
    paths = (workplace.out / "units").glob("[!.]*.npz")
    return {path.name: path.stat().st_mtime_ns for path in paths}


@pytest.fixture
def training(workplace):
    """A user's directory in which training has not begun, and a job that says nothing of units."""
    for path in (workplace.path / "runs").iterdir():
        path.unlink()
    (workplace.path / "runs").rmdir()
    (workplace.path / "training.py").write_text(TRAINING)
    workplace.configure(resources={})
    return workplace


def same_as_one_run(workplace, document: dict) -> None:
    """`slt run` over the full directory, elsewhere: the same tables and stages; in the same folder: nothing to do."""
    alone = workplace.run("--set", "resources.checkpoints_per_unit=1", "--out", "alone", "--json")
    assert alone.exit_code == 0, alone.stderr
    alone = json.loads(alone.stdout)
    for name in ("trajectory.csv", "measures.csv", "stages.json", "gauges.json", "comparison.json"):
        assert (workplace.out / name).read_bytes() == Path("alone", name).read_bytes(), name
    same = ("checkpoints", "verdicts", "failures", "boundaries", "tentative", "warnings")
    assert {key: document[key] for key in same} == {key: alone[key] for key in same}
    again = workplace.slt("run", str(workplace.out / "job.yaml"), "--serial", "--json")
    assert json.loads(again.stdout)["units"] == {"computed": 0, "reused": COUNT, "failed": 0}


@pytest.mark.slow
def test_every_checkpoint_of_a_training_run_is_estimated_once_and_none_half_read(training):
    document = follow_and_train(training)
    assert document["checkpoints"] == COUNT
    assert document["units"] == {"computed": COUNT, "reused": 0, "failed": 0}
    status = told(training)
    assert (status["state"], status["message"], status["checkpoints"]) == ("SUCCEEDED", "", COUNT)
    same_as_one_run(training, document)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_finishes_what_is_there_and_a_kill_loses_nothing(training, how):
    trained, process = train(0.2), follow()
    Path("go").touch()
    until(lambda: len(units(training)) >= 3)
    process.kill()
    process.communicate()
    before = units(training)
    assert trained.wait(PATIENCE) == 0
    process = follow()
    until(lambda: len(units(training)) == COUNT)
    process.send_signal(how)
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    document = json.loads(output)
    assert document["units"] == {"computed": COUNT - len(before), "reused": len(before), "failed": 0}
    assert before.items() <= units(training).items()
    status = told(training)
    assert (status["state"], status["message"]) == ("STOPPED", "")
    same_as_one_run(training, document)


def watch(workplace, *arguments: str):
    return workplace.slt("watch-dir", "runs", "tiny.yaml", "--serial", "--idle", "2", "--json", *arguments)


def told(workplace) -> dict:
    return json.loads((workplace.out / "status.json").read_text())


def test_what_is_there_already_is_estimated_and_until_a_step_needs_no_patience(workplace):
    workplace.configure(resources={})
    result = workplace.slt("watch-dir", "runs", "tiny.yaml", "--serial", "--until", "1000", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["units"]["computed"] == 12


def test_units_of_more_than_one_checkpoint_are_those_of_a_run_too(workplace):
    workplace.save(2048)  # the last unit stays half full
    assert json.loads(watch(workplace).stdout)["units"]["computed"] == 7
    assert json.loads(workplace.run("--json").stdout)["units"] == {"computed": 0, "reused": 7, "failed": 0}


def test_deleted_checkpoints_stay_in_the_tables_even_when_following_begins_anew(workplace):
    workplace.configure(resources={})
    assert watch(workplace).exit_code == 0
    for path in sorted((workplace.path / "runs").iterdir())[:6]:
        path.unlink()
    workplace.save(2048)
    document = json.loads(watch(workplace).stdout)
    assert document["units"] == {"computed": 1, "reused": 12, "failed": 0}
    assert Trajectory.from_csv(workplace.out / "trajectory.csv").steps.tolist() == [*STEPS, 2048]


def test_too_few_checkpoints_for_stages_are_no_error(workplace):
    workplace.configure(resources={})
    for path in sorted((workplace.path / "runs").iterdir())[5:]:
        path.unlink()
    result = watch(workplace)
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["boundaries"] == []
    assert not (workplace.out / "stages.json").exists()
    assert len(Trajectory.from_csv(workplace.out / "trajectory.csv")) == 5


def test_no_checkpoint_at_all_is_one_sentence(workplace):
    result = workplace.slt("watch-dir", "nowhere", "tiny.yaml", "--serial", "--idle", "1")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("Error: no checkpoint found in nowhere")
    result = workplace.slt("watch-dir", "tiny.yaml", "tiny.yaml", "--serial")
    assert result.exit_code == 2
    assert "tiny.yaml is a file, not a directory" in result.stderr


def test_what_does_not_fit_is_left_out_and_said_but_first_of_all_refused(workplace):
    workplace.configure(resources={})
    workplace.save(512, [float("nan"), 0, 0])
    result = watch(workplace)
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["checkpoints"] == 11
    assert "step_000512.safetensors (step 512) holds 1 of 3 values that are NaN" in told(workplace)["message"]
    assert "step_000512.safetensors (step 512) holds 1 of 3 values that are NaN" in result.stderr

    workplace.save(0, [1, 2, 3, 4])
    refused = watch(workplace, "--out", "other")
    assert refused.exit_code == 2
    assert "'weight' is (1, 4) in step_000000.safetensors" in refused.stderr


def test_a_missing_events_file_is_said_and_does_not_lose_the_rest(workplace):
    workplace.configure(resources={}, events="events.csv")
    assert watch(workplace).exit_code == 0
    assert told(workplace)["message"] == ("events.csv was not there: compared with the measures' own onsets instead")
    Path("events.csv").write_text("name,step\nmemorised,30\n")
    assert watch(workplace).exit_code == 0
    assert "memorised" in (workplace.out / "events.csv").read_text()


@pytest.mark.slow
def test_automatic_settings_wait_for_checkpoints_enough_and_are_kept_by_a_later_run(workplace):
    workplace.configure(
        resources={"checkpoints_per_unit": 1}, sampler={"chains": 2, "draws": 12, "burn_in": 4, "n_beta": 10}
    )
    later = sorted((workplace.path / "runs").iterdir())[5:]
    for path in later:
        path.unlink()
    process = follow("--until", "1024")
    waiting = "4 of the 8 checkpoints that choosing the sampler's settings takes"
    until(lambda: (workplace.out / "status.json").exists() and told(workplace)["label"] == waiting)
    for step in STEPS[5:]:
        workplace.save(step)
        time.sleep(PERIOD)
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    assert json.loads(output)["units"]["computed"] == len(STEPS)
    chosen = json.loads((workplace.out / "calibration.json").read_text())
    assert max(chosen["steps"]) < STEPS[-1]
    again = workplace.run("--json")
    assert json.loads(again.stdout)["units"] == {"computed": 0, "reused": len(STEPS), "failed": 0}
    assert json.loads((workplace.out / "calibration.json").read_text()) == chosen


@pytest.mark.slow
def test_on_ray_units_are_computed_while_others_arrive(training):
    document = follow_and_train(training, where=("--workers", "2"))
    assert document["units"] == {"computed": COUNT, "reused": 0, "failed": 0}
    same_as_one_run(training, document)


def complete(arrivals: Arrivals, seconds: float = 4.0) -> list[str]:
    """Names of what arrives within some looks."""
    names = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        names += [checkpoint.path.name for checkpoint, _ in arrivals.look()]
        time.sleep(0.1)
    return names


def test_half_of_a_checkpoint_is_left_alone_whatever_it_is_called(workplace, monkeypatch):
    monkeypatch.setattr("workers.arrivals.SETTLES", 0.2)
    runs = workplace.path / "runs"
    for path in list(runs.iterdir()):
        path.unlink()
    whole = workplace.save(7).read_bytes()
    (runs / "step_8.safetensors").write_bytes(whole[:-4])
    (runs / "step_9.safetensors.tmp").write_bytes(whole)
    for folder, file in (
        ("tmp-checkpoint-10", "model.safetensors"),
        ("step_11.partial", "model.safetensors"),
        ("checkpoint-12", "model-00001-of-00002.safetensors"),
    ):
        (runs / folder).mkdir()
        (runs / folder / file).write_bytes(whole)
    (runs / "checkpoint-13").mkdir()
    index = {"weight_map": {"weight": "model-00001-of-00001.safetensors"}}
    (runs / "checkpoint-13" / "model.safetensors.index.json").write_text(json.dumps(index))

    arrivals = Arrivals(runs)
    assert complete(arrivals, 2) == ["step_000007.safetensors"]
    assert arrivals.unfinished  # it may be that someone is writing them
    (runs / "step_8.safetensors").write_bytes(whole)
    (runs / "step_9.safetensors.tmp").rename(runs / "step_9.safetensors")
    (runs / "tmp-checkpoint-10").rename(runs / "checkpoint-10")
    (runs / "checkpoint-13" / "model-00001-of-00001.safetensors").write_bytes(whole)
    assert complete(arrivals, 2) == [
        "step_8.safetensors", "step_9.safetensors", "model.safetensors", "model.safetensors.index.json",
    ]  # fmt: skip
    assert not arrivals.unfinished
    assert arrivals.broken == ()


def test_a_file_that_stays_broken_is_named_and_no_longer_waited_for(workplace, monkeypatch):
    monkeypatch.setattr("workers.arrivals.SETTLES", 0.2)
    monkeypatch.setattr("workers.arrivals.QUIET", 1.0)
    (workplace.path / "runs" / "step_8.safetensors").write_bytes(b"never more than this")
    arrivals = Arrivals(workplace.path / "runs")
    complete(arrivals, 2.5)
    assert not arrivals.unfinished
    [sentence] = arrivals.broken
    assert "step_8.safetensors is cut short" in sentence
