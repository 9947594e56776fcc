"""How long work reports where it is: one callable, so that nothing here knows of terminals."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int, str], None]
"""(done, total, label); called from the thread that works, at most a few times a second."""


def silent(done: int, total: int, label: str) -> None:
    """The progress that says nothing."""
