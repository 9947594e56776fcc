"""A service from start to end: its folder, its token, its index, and the web server."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import uvicorn

from slt.errors import BadInput
from workers.files import write_text, writing
from workers.service import jobs, local_ray
from workers.service import token as tokens
from workers.service.app import create_app
from workers.service.desk import Desk
from workers.service.dispatcher import Dispatcher
from workers.service.index import Index
from workers.service.settings import ADDRESS, Settings

if TYPE_CHECKING:
    from workers.ray_jobs import RayJobs

SECONDS_FOR_OPEN_STREAMS = 2
SECONDS_TO_STOP = 15
LOCK = "lock"


def serve(settings: Settings, announce: Callable[[str, str | None, bool], object]) -> int:
    """Run the service until it is interrupted; returns how many jobs are not over.

    Args:
        settings: of the service.
        announce: called with (address, token, whether the token is new) once it listens.

    Raises:
        BadInput: the address is taken, or another service uses the folder.
    """
    with writing(settings.folder):
        settings.jobs.mkdir(parents=True, exist_ok=True)
    with _alone(settings), _listening(settings) as listener:
        token, is_new = (None, False) if settings.no_token else tokens.read_or_make(settings.folder / "token")
        index = Index(settings.folder / "index.sqlite")
        index.rebuild(settings.jobs)
        desk = Desk(settings, index)
        dispatcher = Dispatcher(desk, lambda: _connect(settings))
        app = create_app(desk, token)
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, timeout_graceful_shutdown=SECONDS_FOR_OPEN_STREAMS
        )
        url = address(settings.host, listener.getsockname()[1])
        write_text(settings.folder / ADDRESS, url + "\n")
        announce(url, token, is_new)
        dispatcher.start()
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # uvicorn hands on what it was ended by
        try:
            uvicorn.Server(config).run([listener])
        except KeyboardInterrupt:  # uvicorn has ended in order, and hands it on
            pass
        finally:
            dispatcher.end()
        return len(desk.index.find((jobs.PENDING, jobs.RUNNING)))


def stop(folder: Path) -> tuple[bool, bool]:
    """Stop the service of a folder and the Ray that it started; returns whether there was the one and the other.

    Raises:
        BadInput: the service does not end.
    """
    there = False
    if (folder / LOCK).exists():
        with open(folder / LOCK, "r+", encoding="utf-8") as lock:
            patience = time.monotonic() + SECONDS_TO_STOP
            while not _take(lock):
                if not there:
                    lock.seek(0)
                    os.kill(int(lock.read()), signal.SIGTERM)
                    there = True
                if time.monotonic() > patience:
                    raise BadInput(f"the service of {folder} does not end; its process number is in {folder / LOCK}")
                time.sleep(0.1)
            return there, local_ray.stop(folder)
    return there, local_ray.stop(folder)


def _connect(settings: Settings) -> RayJobs:
    """The cluster's Ray Jobs; a service without a cluster starts a Ray, or finds the one that it has started before."""
    from workers.ray_jobs import RayJobs

    if settings.address:
        return RayJobs(settings.address)
    ray, token = local_ray.ensure(settings.folder)
    return RayJobs(ray.address, token)


def address(host: str, port: int) -> str:
    """Where a browser on this machine opens the service."""
    host = "127.0.0.1" if host in ("0.0.0.0", "") else "[::1]" if host == "::" else host
    return f"http://{f'[{host}]' if ':' in host and not host.startswith('[') else host}:{port}"


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """Hold the folder: two services would start each job twice. The lock dies with the process."""
    with open(settings.folder / LOCK, "a+", encoding="utf-8") as lock:
        if not _take(lock):
            raise BadInput(
                f"another service uses the folder {settings.folder}; stop it with `slt serve --stop`, or choose "
                "another with --folder"
            )
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _take(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextmanager
def _listening(settings: Settings) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as listener:
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((settings.host.strip("[]"), settings.port))
            listener.listen(512)
        except OSError as error:
            raise BadInput(
                f"cannot listen on {settings.host}, port {settings.port}: {error.strerror or error}; choose another "
                "with --port"
            ) from None
        yield listener
