"""Ray Jobs: drivers that live on the cluster, so that whoever submitted them may go."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from slt.errors import BadInput

# Read by Ray when it is imported.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import requests
from ray.job_submission import JobSubmissionClient
from urllib3.exceptions import ProtocolError

SECONDS_TO_CONNECT = 10
SECONDS_TO_ANSWER = 60
SECONDS_TO_BE_READY = 120
SECONDS_BETWEEN_TRIES = 1.0
PACKAGES = ("slt", "estimators", "workers")


class ClusterUnreachable(BadInput):
    """Nobody answers at the cluster's address; it may pass."""


class ClusterRefused(BadInput):
    """The cluster is there and will not do it."""


@dataclass(frozen=True)
class RayJob:
    """A driver as Ray knows it.

    Attributes:
        state: PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED.
        message: Ray's own words on the state, without the driver's output.
        exit_code: of the driver, once it has ended.
    """

    id: str
    state: str
    message: str = ""
    exit_code: int | None = None
    metadata: Mapping[str, str] | None = None
    started: float | None = None
    ended: float | None = None


class RayJobs:
    """The Ray Jobs of one cluster.

    Args:
        address: of the cluster's dashboard, such as http://head:8265.
        token: of a cluster with token authentication, if it is not in Ray's own environment variables.

    Raises:
        ClusterUnreachable: from every method, when nobody answers.
        ClusterRefused: from every method, when the cluster says no.
    """

    def __init__(self, address: str, token: str | None = None) -> None:
        self.address = address
        _require_reachable(address)
        headers = {"Authorization": f"Bearer {token}"} if token else None
        with _answering(address), _without_addresses():
            self._client = _PatientClient(address, headers=headers)

    def submit(
        self,
        job_id: str,
        entrypoint: str,
        *,
        files: Sequence[Path] = (),
        runtime_env: Mapping[str, Any] | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Start a driver. It takes no core from the units: it mostly waits.

        Args:
            job_id: a name that no driver of this cluster has had.
            entrypoint: a shell command.
            files: files and folders here that the driver finds in its working directory.
            runtime_env: what Ray brings along besides; local folders in it are uploaded.
        """
        with _answering(self.address), _without_addresses(), tempfile.TemporaryDirectory() as place:
            working_dir = {"working_dir": place} if files else {}
            for path in files:
                copy = Path(place, path.name)
                if path.is_dir():
                    shutil.copytree(path, copy, ignore=shutil.ignore_patterns("__pycache__", ".*"))
                else:
                    shutil.copy(path, copy)
            patience = time.monotonic() + SECONDS_TO_BE_READY
            while True:
                try:
                    self._client.submit_job(
                        entrypoint=entrypoint,
                        submission_id=job_id,
                        runtime_env=dict(runtime_env or {}) | working_dir,
                        metadata=dict(metadata or {}),
                        entrypoint_num_cpus=0,
                    )
                    return
                except RuntimeError as error:  # a Ray that has just been started, and has no agent yet
                    if "try again later" not in str(error) or time.monotonic() > patience:
                        raise
                    time.sleep(SECONDS_BETWEEN_TRIES)

    def all(self) -> dict[str, RayJob]:
        """Every submitted driver by its id."""
        with _answering(self.address):
            found = self._client.list_jobs()
        return {details.submission_id: _job(details) for details in found if details.submission_id}

    def get(self, job_id: str) -> RayJob | None:
        """One driver, or None if the cluster has never heard of it."""
        with _answering(self.address):
            try:
                return _job(self._client.get_job_info(job_id))
            except RuntimeError as error:
                if "404" in str(error):
                    return None
                raise

    def logs(self, job_id: str) -> str:
        """All that the driver has printed so far."""
        with _answering(self.address):
            return str(self._client.get_job_logs(job_id))

    def stop(self, job_id: str) -> None:
        """Interrupt a driver; it is killed if it has not ended a few seconds later."""
        with _answering(self.address):
            self._client.stop_job(job_id)

    def forget(self, job_id: str) -> None:
        """Drop what is known of a driver that has ended, so that its id is free again."""
        with _answering(self.address):
            self._client.delete_job(job_id)


def own_code() -> dict[str, Any]:
    """A runtime environment with this project's code, for a cluster that may not have it, or another version."""
    packages = [Path(importlib.import_module(name).__file__ or "").parent for name in PACKAGES]
    # The driver's own Ray session brings the same code for its units, which Ray takes for a conflict unless told so.
    variables = {"RAY_OVERRIDE_JOB_RUNTIME_ENV": "1", "RAY_JOB_STOP_WAIT_TIME_S": "20"}
    return {"py_modules": [str(path) for path in packages], "env_vars": variables}


def module_files(references: Sequence[str], folder: Path) -> list[Path]:
    """The files and folders in which each `package.module:function` lies.

    Raises:
        BadInput: one is not there.
    """
    found = []
    for top in dict.fromkeys(reference.partition(":")[0].partition(".")[0] for reference in references):
        path = next((path for path in (folder / top, folder / f"{top}.py") if path.exists()), None)
        if path is None:
            raise BadInput(f"the module '{top}' is not in {folder}; put {top}.py there, or run from its folder")
        found.append(path)
    return found


class _PatientClient(JobSubmissionClient):  # type: ignore[misc]
    """Ray's client waits for ever when a head node vanishes in the middle of an answer, and gives up at once where a
    busy dashboard closes a connection without one. What is as good when asked twice is."""

    def _do_request(self, method: str, *args: Any, tries: int = 3, **options: Any) -> Any:
        timeout = {"timeout": (SECONDS_TO_CONNECT, SECONDS_TO_ANSWER)}
        try:
            return super()._do_request(method, *args, **timeout | options)
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
            dropped = bool(error.args) and isinstance(error.args[0], ProtocolError)  # somebody was there
            if tries == 1 or not dropped or method not in ("GET", "PUT"):
                raise
        time.sleep(SECONDS_BETWEEN_TRIES)
        return self._do_request(method, *args, tries=tries - 1, **options)


@contextlib.contextmanager
def _answering(address: str) -> Iterator[None]:
    """Turn whatever goes wrong between here and the cluster into one sentence."""
    try:
        yield
    except (ConnectionError, requests.ConnectionError, requests.Timeout) as error:
        raise ClusterUnreachable(f"Ray at {address} does not answer: {_first_line(error)}") from None
    except (requests.RequestException, RuntimeError, ValueError) as error:
        raise ClusterRefused(f"Ray at {address} says: {_first_line(error)}") from None


def _require_reachable(address: str) -> None:
    """Ask for the port first: Ray's client tries for a long time, and says little."""
    parts = urlsplit(address)
    try:
        port = parts.port or 8265
        socket.create_connection((parts.hostname or "", port), timeout=SECONDS_TO_CONNECT).close()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ClusterUnreachable(
            f"no Ray cluster answers at {address}: {reason}; check the address, which is the dashboard's, often with "
            "port 8265"
        ) from None


@contextlib.contextmanager
def _without_addresses() -> Iterator[None]:
    """Ray prefers these variables to the address that it is told."""
    names = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def _job(details: Any) -> RayJob:
    message = (details.message or "").partition(", last available logs")[0]
    return RayJob(
        id=details.submission_id,
        state=str(details.status.value),
        message=(message.splitlines() or [""])[0],
        exit_code=details.driver_exit_code,
        metadata=details.metadata,
        started=details.start_time / 1000 if details.start_time else None,
        ended=details.end_time / 1000 if details.end_time else None,
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


for name in ("ray.dashboard.modules.dashboard_sdk", "ray._private.runtime_env.packaging"):
    logging.getLogger(name).setLevel(logging.WARNING)  # they tell of each upload
