"""Runs jobs: keeps as many drivers on the cluster as settings allow, and sees how each of them ends.

One thread does all the talking with Ray, so that no request ever waits for it. What it wants is written to a job's
folder before it is done, so that a service that was killed anywhere goes on from there.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slt.errors import BadInput, SltError
from workers.files import write_json
from workers.service import jobs, launch
from workers.service.desk import Desk
from workers.service.jobs import PENDING, RUNNING, STATUS, Job
from workers.service.outcome import GONE, Driver, judge

if TYPE_CHECKING:
    from workers.ray_jobs import RayJobs

log = logging.getLogger("slt.service")

SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_BETWEEN_QUESTIONS = 1.5
SECONDS_BETWEEN_TRIES = 3.0
SECONDS_OF_A_LIVING_DRIVER = 20.0
"""A driver writes its status at least every 5 s; one whose status is younger lives, whatever the cluster says."""


class Dispatcher(threading.Thread):
    """The thread that runs jobs.

    Args:
        desk: whose jobs.
        connect: gives the cluster's Ray Jobs, starting a Ray if there is none; called again after each failure.
    """

    def __init__(self, desk: Desk, connect: Callable[[], RayJobs]) -> None:
        super().__init__(name="dispatcher", daemon=True)
        self.desk, self.connect = desk, connect
        self._cluster: RayJobs | None = None
        self._ended = threading.Event()
        unfinished = desk.index.find((PENDING, RUNNING), newest_first=False)
        self._flying = {job.id for job in unfinished if job.attempts}
        self._told: dict[str, int] = {}  # when each status.json was written that was read last
        self._asked = float("-inf")

    def run(self) -> None:
        """Look after the jobs until `end`."""
        while not self._ended.is_set():
            pause = SECONDS_BETWEEN_LOOKS
            try:
                self.look()
                self.desk.notice = ""
            except SltError as error:  # no cluster: jobs stay where they are
                if self.desk.notice != str(error):
                    log.warning("%s", error)
                self.desk.notice, self._cluster, pause = str(error), None, SECONDS_BETWEEN_TRIES
            except Exception:
                log.exception("the dispatcher met a defect; it goes on")
                pause = SECONDS_BETWEEN_TRIES
            self.desk.changed.wait(pause)
            self.desk.changed.clear()

    def end(self) -> None:
        """Stop looking; drivers go on by themselves."""
        self._ended.set()
        self.desk.changed.set()
        self.join(timeout=SECONDS_BETWEEN_TRIES)

    def look(self) -> None:
        """Do once all that is to be done."""
        for job_id in sorted(self._flying):
            self._refresh(job_id)
        waiting = self._waiting()
        if not self._flying and not waiting:
            return
        if self._cluster is None:
            self.desk.notice = self.desk.notice or "connecting to Ray"
            self._cluster = self.connect()
        if time.monotonic() - self._asked >= SECONDS_BETWEEN_QUESTIONS or self.desk.hurry:
            self.desk.hurry = False
            self._asked = time.monotonic()
            for job_id in sorted(self._flying):
                self._follow_up(self._cluster, job_id)
        for job in waiting[: max(0, self.desk.settings.max_running - len(self._flying))]:
            self._launch(self._cluster, job.id)

    def _waiting(self) -> list[Job]:
        """The oldest jobs without a driver, no more than may run."""
        most = self.desk.settings.max_running + len(self._flying)
        oldest = self.desk.index.find((PENDING,), most, newest_first=False)
        return [job for job in oldest if job.id not in self._flying]

    def _refresh(self, job_id: str) -> None:
        """Bring the driver's word on how far it is into the index."""
        path = self.desk.folder(job_id) / STATUS
        try:
            written = path.stat().st_mtime_ns
        except OSError:
            return
        if self._told.get(job_id) == written:
            return
        status = jobs.read_document(path)
        with self.desk.lock:
            self.desk.index.put(jobs.with_status(self._job(job_id), status))
        self._told[job_id] = written
        self.desk.hurry |= status.get("state") in jobs.TERMINAL

    def _follow_up(self, cluster: RayJobs, job_id: str) -> None:
        """Ask Ray for a job's driver, and conclude."""
        job, folder = self._job(job_id), self.desk.folder(job_id)
        known = cluster.get(job.ray_job_ids[-1]) if job.ray_job_ids else None
        status = jobs.read_document(folder / STATUS)
        if known is None and _is_young(status):
            return
        words = launch.last_error(folder / launch.LOG) if known and known.exit_code else ""
        driver = Driver(known.state, known.exit_code, words) if known else Driver(GONE)
        with self.desk.lock:
            job = self._job(job_id)  # a cancellation may have come in between
            judged = judge(job, driver, status, self.desk.settings.max_attempts)
            if judged is not None and judged != job:
                job = self.desk.keep(jobs.with_status(judged, status))
        if judged is None:
            log.warning("the driver of job %s is gone; another one is started", job_id)
            self._launch(cluster, job_id)
        elif job.terminal:
            self._flying.discard(job_id)
            self._told.pop(job_id, None)
            log.info("job %s: %s", job_id, job.state)
        elif job.cancelled and known is not None:
            cluster.stop(known.id)

    def _launch(self, cluster: RayJobs, job_id: str) -> None:
        """Start a driver. Its name is written down first: a service killed in between asks Ray for it, and goes on."""
        folder = self.desk.folder(job_id)
        with self.desk.lock:
            job = self._job(job_id)
            if job.terminal or job.cancelled:
                return
            driver = f"{job_id}.{len(job.ray_job_ids) + 1}-{secrets.token_hex(3)}"  # two services may share a cluster
            drivers = (*job.ray_job_ids, driver)
            job = replace(job, state=PENDING, attempts=job.attempts + 1, ray_job_ids=drivers, message="")
            _forget_last_words(folder)
            self.desk.keep(job)
        self._flying.add(job_id)
        from workers.ray_jobs import ClusterUnreachable  # it brings ray

        document = self.desk.submitted(job)
        line = launch.entrypoint(job, str(document.get("checkpoints", "")), self.desk.settings)
        try:
            cluster.submit(driver, line, metadata={"slt_job": job_id}, **launch.code(document, self.desk.settings))
        except ClusterUnreachable:
            raise
        except BadInput as error:  # the cluster is there and will not have it
            self._flying.discard(job_id)
            with self.desk.lock:
                self.desk.keep(replace(self._job(job_id), state=jobs.FAILED, message=str(error)))
            return
        log.info("job %s: driver %s submitted", job_id, driver)

    def _job(self, job_id: str) -> Job:
        job = self.desk.index.get(job_id)
        assert job is not None  # jobs are never deleted
        return job


def _forget_last_words(folder: Path) -> None:
    """What an earlier driver said at its end says nothing about the next; how far it was is still true."""
    status = jobs.read_document(folder / STATUS)
    if status:
        write_json(folder / STATUS, status | {"state": PENDING, "message": "", "label": ""})


def _is_young(status: dict[str, Any]) -> bool:
    if status.get("state") != RUNNING:
        return False
    try:
        age = datetime.now(UTC) - datetime.fromisoformat(str(status["updated"]))
    except (KeyError, ValueError, TypeError):
        return False
    return abs(age.total_seconds()) < SECONDS_OF_A_LIVING_DRIVER
