"""A job as its folder has it: `service.json` says what the service wants, `status.json` how far the driver is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workers.files import write_json

PENDING, RUNNING, STOPPED, SUCCEEDED, FAILED = "PENDING", "RUNNING", "STOPPED", "SUCCEEDED", "FAILED"
STATES = (PENDING, RUNNING, STOPPED, SUCCEEDED, FAILED)
TERMINAL = frozenset({STOPPED, SUCCEEDED, FAILED})
SUBMITTED = "job.submitted.yaml"
SERVICE = "service.json"
STATUS = "status.json"


@dataclass(frozen=True)
class Job:
    """One job.

    Attributes:
        id: its name in the service, and its folder's.
        key: hash of what was submitted, so that the same job is known again.
        state: as Ray Jobs has it; PENDING until a driver runs.
        follow: whether it follows a directory that is still being written.
        attempts: drivers started so far since it was submitted or resumed.
        ray_job_ids: of these drivers and earlier ones, the living one last.
        cancelled: whether its user asked to stop it.
        phase, done, total, label, units, checkpoints: how far it is.
        message: why it failed, or what is to be known.
        created, started, updated: ISO 8601, UTC.
    """

    id: str
    key: str
    name: str
    created: str
    state: str = PENDING
    follow: bool = False
    attempts: int = 0
    ray_job_ids: tuple[str, ...] = ()
    cancelled: bool = False
    message: str = ""
    phase: str = ""
    done: int = 0
    total: int = 0
    label: str = ""
    units: Mapping[str, int] = field(default_factory=dict)
    checkpoints: int = 0
    started: str | None = None
    updated: str | None = None

    @property
    def terminal(self) -> bool:
        """Whether nothing more will happen by itself."""
        return self.state in TERMINAL

    def to_dict(self) -> dict[str, Any]:
        """The document of the HTTP API."""
        return {name: getattr(self, name) for name in TOLD}


NAMES = tuple(each.name for each in fields(Job))
TOLD = tuple(name for name in NAMES if name not in ("key", "attempts", "ray_job_ids", "cancelled"))
KEPT = ("id", "key", "name", "created", "state", "follow", "attempts", "ray_job_ids", "cancelled", "message")
PROGRESS = {"phase": str, "done": int, "total": int, "label": str, "checkpoints": int, "started": str, "updated": str}


def now() -> str:
    """The time as documents have it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def save(folder: Path, job: Job) -> None:
    """Write `service.json`."""
    write_json(folder / SERVICE, {name: getattr(job, name) for name in KEPT})


def read(folder: Path) -> Job | None:
    """The job of a folder; None if it holds none. A folder that `slt run` left is a finished job."""
    kept = read_document(folder / SERVICE)
    if kept:
        try:
            job = Job(**{name: kept[name] for name in KEPT if name in kept} | {"id": folder.name})
        except TypeError:
            return None
        return with_status(replace(job, ray_job_ids=tuple(job.ray_job_ids)), read_document(folder / STATUS))
    if not (folder / "job.yaml").is_file():
        return None
    created = datetime.fromtimestamp((folder / "job.yaml").stat().st_mtime, UTC).isoformat(timespec="milliseconds")
    status = read_document(folder / STATUS)
    finished = SUCCEEDED if (folder / "report.html").is_file() else STOPPED
    state = status.get("state") if status.get("state") in TERMINAL else finished
    return with_status(Job(id=folder.name, key="", name=folder.name, created=created, state=str(state)), status)


def with_status(job: Job, status: Mapping[str, Any]) -> Job:
    """The job with the driver's word on how far it is; what is not of its type is left out."""
    told: dict[str, Any] = {
        name: status[name]
        for name, kind in PROGRESS.items()
        if type(status.get(name)) is kind  # no bool as int
    }
    units = status.get("units")
    if isinstance(units, dict):
        told["units"] = {str(name): count for name, count in units.items() if type(count) is int}
    if status.get("message") and not job.message and isinstance(status["message"], str):
        told["message"] = status["message"]
    return replace(job, **told)


def read_document(path: Path) -> dict[str, Any]:
    """A JSON object; empty if the file is not there or holds none."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
