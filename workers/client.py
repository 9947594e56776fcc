"""A service as Python sees it: submit a job, watch it, fetch its folder. Over HTTP; neither torch nor ray is needed.

with ServiceClient("http://127.0.0.1:8420", token) as client:
    job, is_new = client.submit({"checkpoints": "/data/runs/mine", "problem": "modular_addition"})
    for kind, document in client.watch(job["id"]): ...
"""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import httpx

from slt.errors import BadInput, SltError
from workers.files import write_path
from workers.service import token as tokens
from workers.service.settings import ADDRESS, DEFAULT_FOLDER, DEFAULT_PORT

Document = dict[str, Any]
TIMEOUT = httpx.Timeout(30.0, connect=10.0)
QUIET_AT_MOST = 60.0  # seconds; a stream that lives says something every 15 s
CHUNK = 1 << 18


class ServiceError(SltError):
    """The service has a defect, or went away in the middle of an answer."""


class ServiceClient:
    """One service.

    Args:
        url: its address.
        token: its bearer token, or None for a service without one.

    Raises:
        BadInput: from every method: nobody answers there, the token is wrong, or what was asked for is refused.
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        self.url = url.rstrip("/")
        headers = {"authorization": f"Bearer {token}"} if token else {}
        try:
            self._http = httpx.Client(base_url=self.url, headers=headers | {"x-slt": "1"}, timeout=TIMEOUT)
        except (httpx.InvalidURL, ValueError) as error:
            raise BadInput(
                f"the service's address is {url!r}, which is none: {error}; an example is {EXAMPLE}"
            ) from None

    def __enter__(self) -> ServiceClient:
        """Itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the connections."""
        self._http.close()

    def submit(
        self, job: Mapping[str, Any], submission_id: str | None = None, follow: bool = False
    ) -> tuple[Document, bool]:
        """Submit the keys of a job file; the same job again is the job that is there.

        Returns:
            The job, and whether it is new.
        """
        body: Document = {"job": json.loads(json.dumps(job, default=str)), "follow": follow}
        if submission_id is not None:
            body["submission_id"] = submission_id
        answer = self._ask("POST", "/api/jobs", json=body)
        return answer.json(), answer.status_code == 201

    def jobs(self, limit: int = 500) -> list[Document]:
        """The jobs, newest first."""
        found: list[Document] = self._ask("GET", "/api/jobs", params={"limit": limit}).json()["jobs"]
        return found

    def job(self, job_id: str) -> Document:
        """One job."""
        found: Document = self._ask("GET", f"/api/jobs/{_segment(job_id)}").json()
        return found

    def logs(self, job_id: str, tail: int | None = None) -> str:
        """What its driver printed."""
        return self._ask("GET", f"/api/jobs/{_segment(job_id)}/logs", params={"tail": tail} if tail else None).text

    def cancel(self, job_id: str) -> Document:
        """Stop it; what is done is kept."""
        found: Document = self._ask("POST", f"/api/jobs/{_segment(job_id)}/cancel").json()
        return found

    def resume(self, job_id: str) -> Document:
        """Let it go on from what is done."""
        found: Document = self._ask("POST", f"/api/jobs/{_segment(job_id)}/resume").json()
        return found

    def watch(self, job_id: str) -> Iterator[tuple[str, Any]]:
        """Events as they come: ("status", job), ("results", {"points": n}), and at last ("end", job)."""
        path = f"/api/jobs/{_segment(job_id)}/events"
        with self._translated(), self._http.stream("GET", path, timeout=httpx.Timeout(QUIET_AT_MOST)) as answer:
            if answer.status_code != 200:
                answer.read()
                self._raise_for(answer)
            kind = ""
            for line in answer.iter_lines():
                name, _, value = line.partition(": ")
                if name == "event":
                    kind = value
                elif name == "data":
                    yield kind, json.loads(value)
                    if kind == "end":
                        return
        raise ServiceError(f"the service at {self.url} closed the stream; it may have been stopped, the job goes on")

    def fetch(self, job_id: str, target: Path) -> Path:
        """Fetch a job's folder; `target` appears complete or not at all, and an earlier one is replaced.

        Raises:
            BadInput: also if the archive holds what no job folder holds.
        """
        with tempfile.TemporaryFile() as file:
            with self._translated(), self._http.stream("GET", f"/api/jobs/{_segment(job_id)}/results") as answer:
                if answer.status_code != 200:
                    answer.read()
                    self._raise_for(answer)
                for piece in answer.iter_bytes(CHUNK):
                    file.write(piece)
            target.absolute().parent.mkdir(parents=True, exist_ok=True)
            write_path(target, lambda path: _unpack(file, path))
        return target

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        with self._translated():
            answer = self._http.request(method, path, **options)
        self._raise_for(answer)
        return answer

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol) as error:
            raise BadInput(
                f"no service answers at {self.url}: {error}; start one with `slt serve`, or name another with --service"
            ) from None
        except (httpx.HTTPError, ValueError) as error:
            raise ServiceError(f"the service at {self.url} went away in the middle: {error or type(error)}") from None

    def _raise_for(self, answer: httpx.Response) -> None:
        if answer.status_code < 400:
            return
        try:
            sentence = str(answer.json()["error"])
        except (ValueError, KeyError, TypeError):
            sentence = f"it answers {answer.status_code}"
        if answer.status_code == 401:
            sentence = "the token is missing or wrong; give it with --token-file or in SLT_TOKEN"
        kind = BadInput if answer.status_code < 500 else ServiceError
        raise kind(f"{sentence} (the service at {self.url})")


def local_service(url: str | None, token_file: Path | None) -> tuple[str, str | None]:
    """Address and token of a service: as told, from SLT_TOKEN, or those of the local one.

    The local service's token is sent to the local service alone.

    Raises:
        BadInput: the token file cannot be read, or others may read it.
    """
    ours = (DEFAULT_FOLDER / ADDRESS).expanduser()
    local = ours.read_text(encoding="utf-8").strip() if ours.is_file() else EXAMPLE
    url = (url or local).rstrip("/")
    if token_file is not None:
        return url, tokens.read(token_file)
    token = os.environ.get("SLT_TOKEN")
    kept = (DEFAULT_FOLDER / "token").expanduser()
    if token is None and url == local and kept.is_file():
        token = tokens.read(kept)
    return url, token


EXAMPLE = f"http://127.0.0.1:{DEFAULT_PORT}"


def _segment(job_id: str) -> str:
    """A job's id as part of an address."""
    if not job_id or not all(letter.isalnum() or letter in "_.-" for letter in job_id) or set(job_id) <= {"."}:
        raise BadInput(f"{job_id!r} is no job id; `slt list` shows the ids")
    return job_id


def _unpack(file: Any, target: Path) -> None:
    """Unpack plain files below the target, and nothing else: no link, no way out, no bomb."""
    target.mkdir()
    try:
        with zipfile.ZipFile(file) as archive:
            for entry in archive.infolist():
                _, *parts = PurePosixPath(entry.filename).parts  # the first is the job's own name
                kind = entry.external_attr >> 16 & 0o170000
                odd = (
                    not parts
                    or ".." in entry.filename.split("/")
                    or "\\" in entry.filename
                    or kind not in (0, 0o100000)
                )
                if odd or entry.filename.startswith("/") or entry.compress_type != zipfile.ZIP_STORED:
                    raise BadInput(
                        f"the service sent an archive with {entry.filename[:80]!r} in it; nothing is unpacked"
                    )
                path = target.joinpath(*parts)
                path.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(entry) as source, open(path, "xb") as copy:
                    while piece := source.read(CHUNK):
                        copy.write(piece)
    except zipfile.BadZipFile as error:
        raise ServiceError(f"the service sent no whole archive: {error}") from None
