"""What a job tells while it runs: status.json, for whoever watches from elsewhere. The job folder is all they share.

{"state": "RUNNING", "phase": "estimating", "done": 12, "total": 100, "label": "unit 3/13, step 120",
 "units": {"computed": 3, "reused": 0, "failed": 0, "total": 13}, "checkpoints": 100, "following": false,
 "started": "2026-01-01T00:00:00.000+00:00", "updated": "...", "message": ""}

The states are Ray's: RUNNING, and at the end SUCCEEDED (even if single checkpoints failed; `message` says so), FAILED
(`message` is the error's sentence) or STOPPED. A driver that was killed leaves RUNNING, and `updated` grows old.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from estimators.progress import Progress
from slt.errors import OutputError, SltError
from workers.files import write_json
from workers.phase import Phase
from workers.store import JobFolder

FILE = "status.json"
BETWEEN_CHANGES = 0.5  # seconds
HEARTBEAT = 4.0  # seconds


class Status:
    """Keeps status.json up to date within a `with` block, from a thread of its own, and says how the block ended.

    A job that is refused before its folder exists leaves no folder behind.

    Args:
        folder: of the job.
        phase: of the terminal, told of everything too.
        following: whether the job goes on for as long as its directory of checkpoints grows.
    """

    def __init__(self, folder: JobFolder, phase: Phase, *, following: bool = False) -> None:
        self._folder, self._phase = folder, phase
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._changed, self._written = True, float("-inf")
        self._document: dict[str, Any] = {
            "state": "RUNNING",
            "phase": "preparing",
            "done": 0,
            "total": 0,
            "label": "",
            "units": {"computed": 0, "reused": 0, "failed": 0, "total": 0},
            "checkpoints": 0,
            "following": following,
            "started": _now(),
            "updated": "",
            "message": "",
        }
        self._thread = threading.Thread(target=self._keep_writing, name="status", daemon=True)

    def tell(self, **entries: Any) -> None:
        """Change entries of the document; a state other than RUNNING is what the block will end in."""
        with self._lock:
            self._document.update(entries)
            self._changed = True

    def phase(self, title: str) -> Progress:
        """Begin a named part of the work: a `Phase` that tells the terminal and the document."""
        shown = self._phase(title)
        self.tell(phase=title, done=0, total=0, label="")

        def report(done: int, total: int, label: str) -> None:
            shown(done, total, label)
            self.tell(phase=title, done=done, total=total, label=label)

        return report

    def __enter__(self) -> Status:
        with suppress(OutputError):  # whoever opens the folder meets it too, and is not busy with something else
            self._write()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()
        if error is None:
            if self._document["state"] == "RUNNING":
                self.tell(state="SUCCEEDED")
            self._write()
            return
        stopped = isinstance(error, KeyboardInterrupt)
        self.tell(state="STOPPED" if stopped else "FAILED", message="interrupted" if stopped else _sentence(error))
        with suppress(OutputError):
            self._write()

    def _keep_writing(self) -> None:
        while not self._ended.wait(BETWEEN_CHANGES):
            if self._changed or time.monotonic() - self._written >= HEARTBEAT:
                with suppress(OutputError):
                    self._write()

    def _write(self) -> None:
        if not self._folder.begun:
            return
        with self._lock:
            document = self._document | {"updated": _now()}
            self._changed = False
        self._written = time.monotonic()
        write_json(self._folder.path / FILE, document)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _sentence(error: BaseException) -> str:
    if isinstance(error, SltError):
        return str(error)
    first_line = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {first_line}"
