"""The command line of a job's driver, and what Ray has to bring along for it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workers.job import check_job, code_references
from workers.service import jobs
from workers.service.jobs import Job
from workers.service.settings import Settings

LOG = "driver.log"


def entrypoint(job: Job, checkpoints: str, settings: Settings) -> str:
    """The shell command of the driver; its output goes to the job's folder, where it outlives the cluster.

    Every part comes from the service's settings or from what a submission was checked for, and is quoted.
    """
    folder = settings.jobs / job.id
    python = "python" if settings.address else sys.executable
    # -P: a file of the working directory must not take the place of one of ours
    command = [python, "-P", "-m", "workers"]
    job_file = str(folder / jobs.SUBMITTED)
    command += ["watch-dir", checkpoints, job_file] if job.follow else ["run", job_file]
    command += ["--out", str(folder), "--address", "auto"]
    line = f"exec {shlex.join(command)} >> {shlex.quote(str(folder / LOG))} 2>&1"
    return line if settings.address else f"cd {shlex.quote(str(settings.module_folder))} && {line}"


def code(document: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """What a cluster may lack, as arguments of `RayJobs.submit`; a Ray on this machine sees all of it.

    Raises:
        BadInput: a module of the job is not where the settings say.
    """
    if not settings.address:
        return {}
    from workers.ray_jobs import module_files, own_code

    references = code_references(check_job({**document, "out": "."}))
    return {"files": module_files(references, settings.module_folder), "runtime_env": own_code()}


def tail(path: Path, most_bytes: int = 2_000_000) -> str:
    """The end of a text file, whole lines; empty if it is not there."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - most_bytes))
            text = file.read(most_bytes).decode("utf-8", "replace")
    except OSError:
        return ""
    return text if size <= most_bytes else text.partition("\n")[2]


def last_error(path: Path) -> str:
    """The last line of a log that tells of an error, as one sentence."""
    lines = [line.removeprefix("Error: ") for line in tail(path, 20_000).splitlines() if line.startswith("Error: ")]
    return lines[-1].strip() if lines else ""
