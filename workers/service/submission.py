"""A submission: checked, named after its content, and written as a folder before anybody is told of it."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from slt.errors import JobError
from workers.files import write_text
from workers.job import as_plain, check_job
from workers.service import jobs, places, safe_yaml
from workers.service.jobs import Job
from workers.service.settings import Settings

ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
MOST_VALUES_OF_ARGS = 1_000
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # PyYAML's own is ten times slower


@dataclass(frozen=True)
class Submission:
    """A job that may run here.

    Attributes:
        id: its own, or made of its name and the hash of its content.
        key: hash of the content.
        document: the job file, places resolved, without `out`.
    """

    id: str
    key: str
    document: dict[str, Any]
    follow: bool


def check(document: Any, settings: Settings, submission_id: str | None = None, follow: bool = False) -> Submission:
    """Check everything that can be checked without reading a checkpoint.

    Args:
        document: keys of a job file. Its `out` is left aside: the service chooses the folder.

    Raises:
        JobError: what is wrong, in one sentence.
    """
    if submission_id is not None and not ID.match(submission_id):
        raise JobError(
            f"submission_id is {submission_id[:80]!r}; it takes 1 to 64 of A-Z, a-z, 0-9, '_', '.' and '-', "
            "the first a letter or a digit"
        )
    if not isinstance(document, dict):
        raise JobError(f"the job is a {type(document).__name__}; it is written as keys and values of a job file")
    safe_yaml.require_bounded(document)
    if safe_yaml.require_bounded(document.get("problem_args")) > MOST_VALUES_OF_ARGS:
        raise JobError(f"problem_args has more than {MOST_VALUES_OF_ARGS:,} values")
    document = {key: value for key, value in document.items() if key not in ("out", "versions")}
    document.setdefault("name", submission_id or "job")
    job = check_job({**document, "out": "."})
    places.require_allowed(job, settings)
    for name in ("checkpoints", "events"):
        if document.get(name) is not None:
            document[name] = places.resolve(str(document[name]), settings.roots, name)
    content = dict(as_plain(check_job({**document, "out": "."}))) | {"out": None, "follow": follow}
    key = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return Submission(submission_id or f"{_plain(job.name)}-{key[:12]}", key, document, follow)


def write(submission: Submission, settings: Settings) -> Job:
    """Make the job's folder, whole or not at all.

    Raises:
        OSError: there is such a folder; the disk is full.
    """
    job = Job(
        id=submission.id,
        key=submission.key,
        name=str(submission.document["name"]),
        created=jobs.now(),
        follow=submission.follow,
    )
    making = Path(tempfile.mkdtemp(prefix=".new-", dir=settings.jobs))
    try:
        write_text(
            making / jobs.SUBMITTED, yaml.dump(submission.document, Dumper=_DUMPER, sort_keys=False, allow_unicode=True)
        )
        jobs.save(making, job)
        making.chmod(0o755)
        making.rename(settings.jobs / job.id)  # refused if there is a folder with something in it
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return job


def _plain(name: str) -> str:
    """A name as part of an id: 51 characters that every file system and address takes."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name).lstrip("_-")[:51] or "job"
