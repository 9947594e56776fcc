"""`slt` in a process of its own, and waiting for what it does, however busy the machine is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

PATIENCE = 600.0
"""Seconds for what takes a moment on a machine with nothing else to do; only a defect takes longer."""


def command(*arguments: str, before: str = "") -> list[str]:
    """The command line of this project, after a line of Python that may change a constant."""
    return [sys.executable, "-c", f"{before}\nfrom workers.cli import main; main()", *arguments]


def until(holds: Callable[[], Any], what: str = "it", seconds: float = PATIENCE) -> Any:
    """The condition's first value that is true, looked at often."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if found := holds():
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited {seconds:.0f} s in vain for {what}")
