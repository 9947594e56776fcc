"""What a job tells while it runs, to whoever looks into its folder."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest


def status(workplace) -> dict:
    return json.loads((workplace.out / "status.json").read_text())


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from workers.cli import main; main()", *arguments]


def until(holds, seconds: float = 90.0):
    """Poll until `holds()` is true, and return what it was."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := holds():
            return found
        time.sleep(0.02)
    raise AssertionError("it never came to hold")


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
    until(lambda: status(workplace)["updated"] > told["updated"], 10)  # at each change, and else every 5 s
    process.send_signal(how)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1].startswith("Interrupted. What is finished is kept in results/tiny")
    assert (status(workplace)["state"], status(workplace)["message"]) == ("STOPPED", "interrupted")
