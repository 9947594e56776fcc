"""What becomes of a job, for every way in which a driver may end."""

from __future__ import annotations

import pytest

from workers.service.jobs import Job
from workers.service.outcome import GONE, Driver, judge

RUNS = Job("x", "k", "x", "2026", state="RUNNING", attempts=1)
CANCELLED = Job("x", "k", "x", "2026", state="RUNNING", attempts=1, cancelled=True)
LAST_TRY = Job("x", "k", "x", "2026", state="RUNNING", attempts=3)
SAYS = {"state": "SUCCEEDED", "message": "2 checkpoints failed"}


@pytest.mark.parametrize(
    ("job", "driver", "status", "state", "message"),
    [
        (RUNS, Driver("PENDING"), {}, "PENDING", ""),
        (RUNS, Driver("RUNNING"), {"state": "RUNNING"}, "RUNNING", ""),
        (CANCELLED, Driver("RUNNING"), {"state": "RUNNING"}, "RUNNING", ""),
        (RUNS, Driver("SUCCEEDED", 0), {"state": "SUCCEEDED", "message": ""}, "SUCCEEDED", ""),
        (RUNS, Driver("SUCCEEDED", 0), {}, "SUCCEEDED", ""),
        # exit code 1: it went to its end, and single checkpoints failed
        (RUNS, Driver("FAILED", 1), SAYS, "SUCCEEDED", "2 checkpoints failed"),
        (RUNS, Driver("FAILED", 1), {"state": "FAILED", "message": "disk full"}, "FAILED", "disk full"),
        (RUNS, Driver("FAILED", 2, "no such folder"), {}, "FAILED", "no such folder"),
        (RUNS, Driver("FAILED", 2), {}, "FAILED", "the log says why"),
        # killed: it says nothing, or what it said while it lived
        (RUNS, Driver("FAILED", -9), {"state": "RUNNING"}, None, ""),
        (RUNS, Driver("FAILED", 137), {}, None, ""),
        (RUNS, Driver("FAILED", 130), {"state": "STOPPED", "message": "interrupted"}, None, ""),  # a node that went
        (LAST_TRY, Driver("FAILED", -9), {"state": "RUNNING"}, "FAILED", "vanished 3 times"),
        (LAST_TRY, Driver(GONE), {"state": "RUNNING"}, None, ""),  # Ray was started anew: no fault of the job
        (RUNS, Driver("STOPPED"), {"state": "STOPPED"}, "STOPPED", "stopped through Ray"),
        (CANCELLED, Driver("STOPPED"), {"state": "STOPPED"}, "STOPPED", "cancelled"),
        (CANCELLED, Driver("FAILED", -9), {}, "STOPPED", "cancelled"),
        (CANCELLED, Driver(GONE), {}, "STOPPED", "cancelled"),
        (CANCELLED, Driver("SUCCEEDED", 0), SAYS, "SUCCEEDED", "2 checkpoints failed"),  # it was quicker
        (RUNS, Driver(GONE), SAYS, "SUCCEEDED", "2 checkpoints failed"),  # Ray died after the driver's last word
    ],
)
def test_the_driver_s_last_word_counts_and_silence_means_another_try(job, driver, status, state, message):
    judged = judge(job, driver, status, max_attempts=3)
    if state is None:
        assert judged is None
    else:
        assert judged.state == state
        assert message in judged.message
