"""Where requests about jobs are answered: submit, cancel, resume, logs. Decides nothing about when a job runs."""

from __future__ import annotations

import functools
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from slt.errors import SltError
from workers.service import jobs, launch, places, submission
from workers.service.index import Index
from workers.service.jobs import Job
from workers.service.settings import Settings


class Conflict(SltError):
    """Something else is there already."""


class Busy(SltError):
    """More is waiting than the service takes."""


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""PyYAML's own is ten times slower, and the event loop waits for it."""


@functools.lru_cache(maxsize=10_000)
def _job_file(folder: Path) -> dict[str, Any]:
    for name in (jobs.SUBMITTED, "job.yaml"):
        try:
            document = yaml.load((folder / name).read_text(encoding="utf-8"), _LOADER)
        except (OSError, ValueError, yaml.YAMLError):
            continue
        if isinstance(document, dict):
            return document
    return {}


class Desk:
    """The jobs of one service.

    Args:
        settings: of the service.
        index: of its jobs.
    """

    def __init__(self, settings: Settings, index: Index) -> None:
        self.settings, self.index = settings, index
        self.lock = threading.RLock()  # held while a job changes, here and where jobs are run
        self.changed = threading.Event()  # somebody wants something of the dispatcher
        self.hurry = False  # it should ask Ray at once
        self.notice = ""  # what is wrong with the cluster, for people

    def folder(self, job_id: str) -> Path:
        """The job's folder."""
        return self.settings.jobs / job_id

    def problems(self) -> list[str]:
        """Problems that a job may name."""
        return places.allowed_problems(self.settings)

    def submit(self, document: Any, submission_id: str | None, follow: bool) -> tuple[Job, bool]:
        """Keep a job; the same one again is the one that is there. Returns it and whether it is new.

        Raises:
            JobError: it may not run here.
            Conflict: another job has this submission id.
            Busy: too many jobs are waiting.
        """
        wanted = submission.check(document, self.settings, submission_id, follow)
        with self.lock:
            there = self.index.get(wanted.id)
            if there is not None and there.key != wanted.key:
                raise Conflict(f"submission id '{wanted.id}' belongs to another job; choose another id")
            if there is not None:
                return there, False
            if self.index.counts()[jobs.PENDING] >= self.settings.max_waiting:
                raise Busy(f"{self.settings.max_waiting:,} jobs are waiting already; submit again later")
            job = submission.write(wanted, self.settings)
            self.index.put(job)
        self.changed.set()
        return job, True

    def submitted(self, job: Job) -> dict[str, Any]:
        """The job file as it was submitted; it never changes."""
        return _job_file(self.folder(job.id))

    def logs(self, job: Job) -> str:
        """What the job's drivers printed; of a very long log the end."""
        return launch.tail(self.folder(job.id) / launch.LOG)

    def cancel(self, job_id: str) -> Job:
        """Ask a job to stop."""
        with self.lock:
            job = self._known(job_id)
            if job.terminal:
                return job
            state = job.state if job.attempts else jobs.STOPPED
            job = self.keep(replace(job, cancelled=True, state=state))
        self.hurry = True
        self.changed.set()
        return job

    def resume(self, job_id: str) -> Job:
        """Put a job that is over among those that wait."""
        with self.lock:
            job = self._known(job_id)
            if not job.terminal:
                return job
            job = self.keep(replace(job, state=jobs.PENDING, cancelled=False, attempts=0, message=""))
        self.changed.set()
        return job

    def keep(self, job: Job) -> Job:
        """Write what is known of a job, first in its folder."""
        jobs.save(self.folder(job.id), job)
        self.index.put(job)
        return job

    def _known(self, job_id: str) -> Job:
        job = self.index.get(job_id)
        assert job is not None  # jobs are never deleted
        return job
