"""Progress on standard error while a job runs: live in a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from estimators.progress import Progress as Report
from workers.phase import Phase

SECONDS_BETWEEN_LINES = 5.0


@contextmanager
def progress_on_stderr() -> Iterator[Phase]:
    """Phases of work on standard error: bars in a terminal, a line every few seconds in a log."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _log_phase
        return
    columns = (
        TextColumn("{task.description:>20}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        _Rate(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[label]}", style="dim"),
    )
    with Progress(*columns, console=console) as bars:

        def phase(title: str) -> Report:
            task = bars.add_task(title, total=None, label="", visible=False)

            def report(done: int, total: int, label: str) -> None:
                bars.update(task, completed=done, total=total, label=label, visible=True)

            return report

        yield phase


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f}/s" if speed else "", style="cyan")


def _log_phase(title: str) -> Report:
    last_line = float("-inf")
    begun: tuple[int, float] | None = None  # the clock starts with the first item done, after all warming up

    def report(done: int, total: int, label: str) -> None:
        nonlocal last_line, begun
        now = time.monotonic()
        if done and begun is None:
            begun = (done, now)
        if done < total and now - last_line < SECONDS_BETWEEN_LINES:
            return
        last_line = now
        rate = (done - begun[0]) / (now - begun[1]) if begun and now > begun[1] else 0.0
        pace = f", {rate:.1f}/s" if rate else ""
        left = f", {(total - done) / rate:.0f} s left" if rate and done < total else ""
        sys.stderr.write(f"{title}: {done}/{total}{pace}{left} ({label})\n")
        sys.stderr.flush()

    return report


def show_events(events: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Show a job's events on standard error as they come, and return the job as it ended."""
    job: dict[str, Any] = {}
    with progress_on_stderr() as phase:
        title = ""
        report: Report = _silent
        for kind, document in events:
            if kind == "log":
                sys.stderr.write(document)
            if kind in ("status", "end"):
                job = document
                current = job.get("phase") or str(job["state"]).lower()
                if current != title and job.get("total"):
                    title, report = current, phase(current)
                if job.get("total"):
                    report(job["done"], job["total"], job.get("label") or "")
    return job


def _silent(done: int, total: int, label: str) -> None: ...
