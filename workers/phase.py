"""How the parts of a job report where they are."""

from __future__ import annotations

from collections.abc import Callable

from estimators.progress import Progress

Phase = Callable[[str], Progress]
"""Begins a named part of the work; what it returns is called with (done, total, label)."""
