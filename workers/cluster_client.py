"""Jobs straight on a cluster, without a service: a driver is a Ray Job, its folder is where the job file says."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from slt.errors import BadInput
from workers.job import as_plain, check_job, code_references
from workers.ray_jobs import RayJob, RayJobs, module_files, own_code

Document = dict[str, Any]
REMOTE = re.compile(r"^[a-z][a-z0-9+.-]*://")
OVER = ("STOPPED", "SUCCEEDED", "FAILED")
SECONDS_BETWEEN_LOOKS = 2.0
LARGEST_EVENTS_FILE = 10_000_000


class ClusterClient:
    """The jobs of one cluster.

    Args:
        address: of its dashboard, such as http://head:8265.

    Raises:
        ClusterUnreachable, ClusterRefused: from every method.
    """

    def __init__(self, address: str) -> None:
        self.url, self.cluster = address, RayJobs(address)

    def __enter__(self) -> ClusterClient:
        """Itself; it holds nothing that has to be closed."""
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing."""

    def submit(
        self, job: Mapping[str, Any], submission_id: str | None = None, follow: bool = False
    ) -> tuple[Document, bool]:
        """Start a job's driver on the cluster. A job that is over and has not succeeded goes on from what is done.

        The code of this project and of the user's problem is uploaded, and a local events file with it. Checkpoints
        and job folder are not: every node must see them, in a shared folder or as s3:// or gs://.

        Returns:
            The job, and whether a driver was started.
        """
        checked = check_job({"out": f"results/{job.get('name', 'job')}", **job})
        modules = module_files(code_references(checked), Path.cwd())
        settings = as_plain(checked)
        settings = {key: value for key, value in settings.items() if value is not None}
        for name in ("checkpoints", "out"):
            settings[name] = _absolute(settings[name])
        content = json.dumps([settings, follow], sort_keys=True)
        job_id = submission_id or f"{_plain(settings['name'])}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"
        there = self.cluster.get(job_id)
        if there is not None and there.state not in ("STOPPED", "FAILED"):
            return _document(there), False
        if there is not None:
            self.cluster.forget(job_id)
        with tempfile.TemporaryDirectory() as place:
            brought = _events_brought_along(settings, Path(place))
            text = yaml.safe_dump({key: value for key, value in settings.items() if value is not None}, sort_keys=False)
            job_file = Path(place, "job.yaml")
            job_file.write_text(text, encoding="utf-8")
            self.cluster.submit(
                job_id,
                _entrypoint(settings, follow),
                files=[job_file, *brought, *modules],
                runtime_env=own_code(),
                metadata={"slt_name": str(settings["name"]), "slt_out": settings["out"]},
            )
        return self.job(job_id), True

    def jobs(self, limit: int = 500) -> list[Document]:
        """The jobs that were submitted so, newest first; other Ray Jobs are left out."""
        found = [job for job in self.cluster.all().values() if "slt_name" in (job.metadata or {})]
        return [_document(job) for job in sorted(found, key=lambda job: job.started or 0.0, reverse=True)[:limit]]

    def job(self, job_id: str) -> Document:
        """One job."""
        found = self.cluster.get(job_id)
        if found is None:
            raise BadInput(f"the cluster at {self.cluster.address} has no job '{job_id}'; `slt list` shows the ids")
        return _document(found)

    def logs(self, job_id: str, tail: int | None = None) -> str:
        """What its driver printed."""
        self.job(job_id)
        text = self.cluster.logs(job_id)
        return "".join(text.splitlines(keepends=True)[-tail:]) if tail else text

    def cancel(self, job_id: str) -> Document:
        """Stop it; what is done is kept."""
        if self.job(job_id)["state"] not in OVER:
            self.cluster.stop(job_id)
        return self.job(job_id)

    def watch(self, job_id: str) -> Iterator[tuple[str, Any]]:
        """Events as they come: ("log", text), ("status", job), and at last ("end", job)."""
        shown, told = 0, None
        while True:
            job = self.job(job_id)  # first the state, then the log: at the end nothing of it is missed
            text = self.cluster.logs(job_id) if job["state"] != "PENDING" else ""
            if len(text) > shown:
                yield "log", text[shown:]
                shown = len(text)
            if job != told:
                told = job
                yield "status", job
            if job["state"] in OVER:
                yield "end", job
                return
            time.sleep(SECONDS_BETWEEN_LOOKS)


def _entrypoint(settings: Mapping[str, Any], follow: bool) -> str:
    if follow:
        import shlex

        return f"python -P -m workers watch-dir {shlex.quote(settings['checkpoints'])} job.yaml --address auto"
    return "python -P -m workers run job.yaml --address auto"


def _absolute(place: str) -> str:
    return place if REMOTE.match(place) else str(Path(place).absolute())


def _events_brought_along(settings: dict[str, Any], place: Path) -> list[Path]:
    """A small events file here travels with the job; any other is meant as the cluster sees it."""
    events = settings.get("events")
    if events is None or REMOTE.match(events) or not Path(events).is_file():
        return []
    if Path(events).stat().st_size > LARGEST_EVENTS_FILE:
        raise BadInput(
            f"{events} is larger than {LARGEST_EVENTS_FILE // 1_000_000} MB; an events file is a short table"
        )
    settings["events"] = "events.csv"
    return [Path(shutil.copy(events, place / "events.csv"))]


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name).lstrip("_-")[:51] or "job"


def _document(job: RayJob) -> Document:
    metadata = job.metadata or {}
    started = datetime.fromtimestamp(job.started, UTC).isoformat(timespec="milliseconds") if job.started else None
    return {
        "id": job.id,
        "name": metadata.get("slt_name", job.id),
        "state": job.state,
        "out": metadata.get("slt_out"),
        "created": started,
        "started": started,
        "message": job.message if job.state in ("FAILED", "PENDING") else "",
        "exit_code": job.exit_code,
    }
