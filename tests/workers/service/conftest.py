"""A service's desk and API in this process, over the workplace of one user; and the real service as a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.workers.patience import PATIENCE, until
from workers.client import ServiceClient
from workers.service import local_ray
from workers.service.app import create_app
from workers.service.desk import Desk
from workers.service.index import Index
from workers.service.settings import Settings, make_settings

TOKEN = "the-right-token"
SLT = str(Path(sys.executable).with_name("slt"))


@pytest.fixture
def settings(workplace) -> Settings:
    """Checkpoints under the workplace, and the workplace's own problem."""
    document = {
        "folder": workplace.path / "service",
        "roots": [str(workplace.path)],
        "modules": ["tiny_problem", "exact:build"],
    }
    return make_settings(document, "the test")


@pytest.fixture
def desk(settings: Settings) -> Iterator[Desk]:
    """A desk whose jobs nobody runs."""
    settings.jobs.mkdir(parents=True)
    index = Index(settings.folder / "index.sqlite")
    yield Desk(settings, index)
    index.close()


@pytest.fixture
def api(desk: Desk) -> Iterator[TestClient]:
    """The application, asked with the right token."""
    app = create_app(desk, TOKEN)
    headers = {"authorization": f"Bearer {TOKEN}"}
    with TestClient(app, base_url="http://127.0.0.1", headers=headers, raise_server_exceptions=False) as client:
        yield client


def job(**keys: Any) -> dict[str, Any]:
    """The body of a submission of the workplace's job, with some keys other than the usual ones."""
    usual = {
        "checkpoints": "runs",
        "problem": "tiny_problem:build",
        "sampler": {"step_size": 1e-3, "n_beta": 10, "localization": 1, "chains": 2, "draws": 12, "burn_in": 4},
        "measures": ["loss"],
        "resources": {"checkpoints_per_unit": 2},
    }
    return {"job": usual | keys}


class Process:
    """`slt serve` in a process of its own, on a free port."""

    def __init__(self, folder: Path, workplace: Path, *options: str) -> None:
        self.folder, self.workplace, self.options = folder, workplace, options
        self.start()

    def start(self) -> None:
        """Start it, and wait until it listens."""
        (self.folder / "address").unlink(missing_ok=True)
        command = [SLT, "serve", "--folder", str(self.folder), "--port", "0", "--root", str(self.workplace)]
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "service.log", "ab") as log:
            self.process = subprocess.Popen(
                [*command, "--module", "tiny_problem", *self.options],
                cwd=self.workplace,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                stdout=log,
                stderr=log,
            )
        until(lambda: (self.folder / "address").is_file(), "the service to listen")
        self.client = ServiceClient((self.folder / "address").read_text().strip(), self.token)

    @property
    def log(self) -> str:
        """What it printed."""
        return (self.folder / "service.log").read_text()

    @property
    def token(self) -> str:
        """Its token."""
        return (self.folder / "token").read_text().strip()

    def kill(self) -> None:
        """SIGKILL: it has no time to write anything down."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.client.__exit__()

    def stop(self) -> None:
        """End it and its Ray."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(PATIENCE)
        self.client.__exit__()
        local_ray.stop(self.folder)


@pytest.fixture
def service(workplace) -> Iterator[Process]:
    """The real service, its jobs run by a Ray of its own."""
    process = Process(workplace.path / "service", workplace.path)
    yield process
    process.stop()
