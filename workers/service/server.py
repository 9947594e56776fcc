"""A service from start to end: its folder, its token, its index, and the web server."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn

from slt.errors import BadInput
from workers.files import writing
from workers.service import local_ray
from workers.service import token as tokens
from workers.service.app import create_app
from workers.service.desk import Desk
from workers.service.dispatcher import Dispatcher
from workers.service.index import Index
from workers.service.settings import Settings

if TYPE_CHECKING:
    from workers.ray_jobs import RayJobs

SECONDS_FOR_OPEN_STREAMS = 2


def serve(settings: Settings, announce: Callable[[str, str | None, bool], object]) -> None:
    """Run the service until it is interrupted.

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
        announce(address(settings.host, listener.getsockname()[1]), token, is_new)
        dispatcher.start()
        try:
            uvicorn.Server(config).run([listener])
        finally:
            dispatcher.end()


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
    with open(settings.folder / "lock", "a", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BadInput(
                f"another service uses the folder {settings.folder}; stop it, or choose another with --folder"
            ) from None
        yield


@contextmanager
def _listening(settings: Settings) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        os.set_inheritable(listener.fileno(), False)  # a Ray started from here must not hold the port
        listener.bind((settings.host.strip("[]"), settings.port))
        listener.listen(512)
        yield listener
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadInput(
            f"cannot listen on {settings.host}, port {settings.port}: {reason}; choose another with --port"
        ) from None
    finally:
        listener.close()
