"""A Ray of the service's own on this machine: a process that outlives it, with ports and a token that nobody shares."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import httpx

from slt.errors import SltError
from workers.files import write_json
from workers.service.jobs import read_document

RECORD = "ray.json"
TOKEN = "ray-token"
SECONDS_TO_START = 120
SECONDS_TO_STOP = 20
ATTEMPTS = 3


class RayDidNotStart(SltError):
    """The local Ray did not come up; its log says why."""


@dataclass(frozen=True)
class LocalRay:
    """A running head node.

    Attributes:
        address: of its dashboard and Ray Jobs.
        pid: its first process.
        group: the process group of all its processes but the workers'.
        temp_dir: its folder, which also tells its processes from those of any other Ray.
        session: Ray's name for this run of it.
    """

    address: str
    pid: int
    group: int
    temp_dir: str
    session: str


def ensure(folder: Path) -> tuple[LocalRay, str]:
    """The local Ray of a service folder and its token: the one that runs, or a new one.

    Raises:
        RayDidNotStart: with the end of its log.
    """
    token = _token(folder / TOKEN)
    there = _recorded(folder)
    if there and _answers(there.address, token) == there.session:
        return there, token
    if there:
        stop(folder)
    for attempt in range(ATTEMPTS):  # a port found free may be taken a moment later
        try:
            return _start(folder, token), token
        except RayDidNotStart:
            if attempt == ATTEMPTS - 1:
                raise
    raise AssertionError


def stop(folder: Path) -> bool:
    """Stop the local Ray of a service folder, and no other; returns whether there was one."""
    there = _recorded(folder)
    if there is None:
        return False
    alive = _is_ours(there)
    if alive:
        _end(there)
    shutil.rmtree(there.temp_dir, ignore_errors=True)
    (folder / RECORD).unlink(missing_ok=True)
    return alive


def environment(folder: Path) -> dict[str, str]:
    """Environment variables with which Ray's own commands reach the local Ray, besides its address."""
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / TOKEN),
        "RAY_JOB_STOP_WAIT_TIME_S": "20",  # a driver that is interrupted first writes what it has
    }


def _start(folder: Path, token: str) -> LocalRay:
    # Ray's sockets lie in it, and a socket's path has 107 characters at the most.
    temp_dir = tempfile.mkdtemp(prefix="slt-ray-", dir="/tmp" if os.path.isdir("/tmp") else None)
    ports = _free_ports(7)
    address = f"http://127.0.0.1:{ports[1]}"
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"]
    command += [f"--port={ports[0]}", "--dashboard-host=127.0.0.1", f"--dashboard-port={ports[1]}"]
    command += [f"--ray-client-server-port={ports[2]}", f"--dashboard-agent-listen-port={ports[3]}"]
    command += [f"--dashboard-agent-grpc-port={ports[4]}", f"--runtime-env-agent-port={ports[5]}"]
    command += [f"--metrics-export-port={ports[6]}", "--min-worker-port=0", "--max-worker-port=0"]
    command += ["--include-log-monitor=false", f"--temp-dir={temp_dir}"]
    path = os.pathsep.join((os.path.dirname(sys.executable), os.environ.get("PATH", "")))  # its `python` is this one
    others = ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "SLT_TOKEN")  # of another cluster, or of the service
    inherited = {name: value for name, value in os.environ.items() if name not in others}
    # Through a shell that ends at once: Ray is nobody's child then, and in a session of its own, so that Ctrl-C in the
    # service's terminal passes it by.
    started = subprocess.run(
        ["/bin/sh", "-c", '"$@" >> "$0" 2>&1 < /dev/null & echo $!', str(folder / "ray.log"), *command],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=folder,
        env=inherited | environment(folder) | {"PATH": path},
        start_new_session=True,
    )
    pid = int(started.stdout)
    starting = LocalRay(address, pid, os.getpgid(pid), temp_dir, "")
    write_json(folder / RECORD, asdict(starting))  # before it answers: a service killed now must find it again
    patience = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < patience and _is_ours(starting):
        session = _answers(address, token)
        if session:
            ray = replace(starting, session=session)
            write_json(folder / RECORD, asdict(ray))
            return ray
        time.sleep(0.3)
    stop(folder)
    raise RayDidNotStart(f"Ray did not start on this machine; the end of {folder / 'ray.log'} says why")


def _answers(address: str, token: str) -> str:
    """Ray's name for this run of it, or nothing."""
    try:
        answer = httpx.get(f"{address}/api/version", headers={"Authorization": f"Bearer {token}"}, timeout=5)
        return str(answer.json()["session_name"]) if answer.status_code == 200 else ""
    except (httpx.HTTPError, ValueError, KeyError):
        return ""


def _recorded(folder: Path) -> LocalRay | None:
    try:
        return LocalRay(**read_document(folder / RECORD))
    except TypeError:
        return None


def _is_ours(ray: LocalRay) -> bool:
    """Whether the process is still the one recorded: numbers of processes are used again."""
    shown = subprocess.run(
        ["ps", "-ww", "-o", "args=", "-p", str(ray.pid)], capture_output=True, text=True, check=False
    )
    return ray.temp_dir in shown.stdout


def _end(ray: LocalRay) -> None:
    """Ask the first process, which ends the others in order; what is left after a while is killed."""
    for end, target, sign in ((os.kill, ray.pid, signal.SIGTERM), (os.killpg, ray.group, signal.SIGKILL)):
        with contextlib.suppress(ProcessLookupError):
            end(target, sign)
        patience = time.monotonic() + SECONDS_TO_STOP
        while time.monotonic() < patience:
            try:
                os.killpg(ray.group, 0)
            except (ProcessLookupError, PermissionError):
                return
            time.sleep(0.1)


def _token(path: Path) -> str:
    """Ray's token: without one, everybody on the machine could run code through it."""
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(32))
    return path.read_text(encoding="utf-8").strip()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
