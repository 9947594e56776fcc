"""What becomes of a job, from Ray's word on its driver and the driver's own in status.json. No clock, no files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from workers.service.jobs import FAILED, PENDING, RUNNING, STOPPED, SUCCEEDED, TERMINAL, Job

BAD_INPUT = 2  # exit code of `slt run`
GONE = "GONE"
"""State of a driver that the cluster does not know: a Ray that was started anew, or that never got it."""


@dataclass(frozen=True)
class Driver:
    """Ray's word.

    Attributes:
        state: one of Ray's, or GONE.
        exit_code: of a driver that ended by itself; negative or above 128 if a signal ended it.
        last_words: the last line of its log that says "Error", if any.
    """

    state: str
    exit_code: int | None = None
    last_words: str = ""


def judge(job: Job, driver: Driver, status: Mapping[str, Any], max_attempts: int) -> Job | None:
    """The job as it is now; None if another driver has to be started for it.

    The driver's last word counts: its exit code 1 also says that single checkpoints failed in a job that went to its
    end, and a driver that was killed says nothing at all.

    Args:
        status: status.json as this attempt wrote it; empty if it has not.
    """
    if driver.state in (PENDING, RUNNING):
        return replace(job, state=driver.state)
    said, message = str(status.get("state", "")), str(status.get("message") or "")
    if said == SUCCEEDED or (driver.state == SUCCEEDED and said not in TERMINAL):
        return replace(job, state=SUCCEEDED, message=message)
    if job.cancelled:
        return replace(job, state=STOPPED, message="cancelled; what is finished is kept, and resume goes on from there")
    if said == FAILED:
        return replace(job, state=FAILED, message=message)
    if driver.state == STOPPED:
        return replace(job, state=STOPPED, message="stopped through Ray; resume goes on from what is finished")
    if driver.exit_code == BAD_INPUT:
        return replace(job, state=FAILED, message=driver.last_words or "the input cannot be used; the log says why")
    if driver.state == GONE or job.attempts < max_attempts:
        return None
    return replace(
        job,
        state=FAILED,
        message=f"the driver vanished {job.attempts} times without a word (killed, or out of memory); what is finished "
        "is kept, and resume goes on from there",
    )
