"""Following a directory while training writes it: each checkpoint once, whole, and the same end as one run over all."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TRAINING = '''
"""Writes a checkpoint every `PERIOD` seconds: whole, in two halves with a pause, under another name first, or late."""
import os
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save

STEPS, LATE, PERIOD = [0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128], 16, float(sys.argv[1])


def content(step):
    share = torch.log2(torch.tensor(step + 1.0)) / 7
    return save({"weight": share * torch.ones(1, 3)})


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


Path("runs").mkdir(exist_ok=True)
for position, step in enumerate(STEPS + [LATE]):
    if step == LATE and position < len(STEPS):
        continue
    way = [whole, slowly, renamed, whole, within_a_folder][position % 5]
    way(Path(f"runs/step_{step:06d}.safetensors"), content(step))
    time.sleep(PERIOD)
'''
COUNT = 15


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from workers.cli import main; main()", *arguments]


def follow(*arguments: str) -> subprocess.Popen[str]:
    line = command("watch-dir", "runs", "tiny.yaml", "--serial", "--json", *arguments)
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def train(period: float) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "training.py", str(period)])


def until(holds, seconds: float = 120.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := holds():
            return found
        time.sleep(0.02)
    raise AssertionError("it never came to hold")


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
    process, trained = follow("--idle", "6"), train(1.0)
    following = until(lambda: (path := training.out / "status.json").exists() and json.loads(path.read_text()))
    assert (following["state"], following["following"]) == ("RUNNING", True)
    assert trained.wait(120) == 0
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    document = json.loads(output)
    assert document["checkpoints"] == COUNT
    assert document["units"] == {"computed": COUNT, "reused": 0, "failed": 0}
    told = json.loads((training.out / "status.json").read_text())
    assert (told["state"], told["message"], told["checkpoints"]) == ("SUCCEEDED", "", COUNT)
    assert "newest step 128" in errors
    same_as_one_run(training, document)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_finishes_what_is_there_and_a_kill_loses_nothing(training, how):
    process, trained = follow(), train(0.2)
    until(lambda: len(units(training)) >= 3)
    process.kill()
    process.communicate()
    before = units(training)
    assert trained.wait(120) == 0
    process = follow()
    until(lambda: len(units(training)) == COUNT)
    process.send_signal(how)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    document = json.loads(output)
    assert document["units"] == {"computed": COUNT - len(before), "reused": len(before), "failed": 0}
    assert before.items() <= units(training).items()
    told = json.loads((training.out / "status.json").read_text())
    assert (told["state"], told["message"]) == ("STOPPED", "")
    same_as_one_run(training, document)
