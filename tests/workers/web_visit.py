"""The service in a process of its own, and a browser that keeps all that it logged and asked for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.workers.patience import PATIENCE, until
from workers.service import local_ray

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
CHECKPOINTS = 60
PROBLEM_ARGS = {"width": 16, "layers": 2, "singular_values": [8, 4, 2, 1], "n_samples": 500}
SAMPLER = {
    "step_size": 1e-4, "n_beta": 10, "localization": 100, "chains": 2, "draws": 60, "burn_in": 20, "reference": "self",
}  # fmt: skip
MODULE = """
"The linear network, each process of which computes the loss as often as a file allows, and then waits for more."
import time
from dataclasses import replace
from pathlib import Path

from estimators.problems.linear_network import build as quick

computed = 0


def build(allowed="", **settings):
    problem = quick(**settings)

    def loss(model, batch):
        global computed
        computed += 1
        while allowed and computed > int(Path(allowed).read_text() or 0):
            time.sleep(0.05)
        return problem.loss(model, batch)

    return replace(problem, loss=loss)
"""
ONE_UNIT, FEW_UNITS, ALL_UNITS = 20, 68, 10**9
"""How often each process may compute the loss. The engine records what a step computes, so that a unit of 4 checkpoints
asks for 16 computations, however many steps it takes; the run has 17 units."""


class Service:
    """`slt serve` with a folder of its own and a Ray of its own, which `close` ends too."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder, self.root = folder, root
        self.url, self._log, self._process = "", folder.parent / "service.log", None
        self._client = httpx.Client(timeout=PATIENCE)  # one: it reads the machine's certificates, which takes a while

    def start(self, port: int = 0) -> None:
        """Start it, with the problem of this file, and wait until it listens."""
        (self.folder.parent / "gated_linear.py").write_text(MODULE)
        command = [str(Path(sys.executable).with_name("slt").absolute()), "serve", "--folder", str(self.folder)]
        command += ["--root", str(self.root), "--port", str(port), "--module", "gated_linear"]
        with open(self._log, "wb") as log:
            self._process: subprocess.Popen[bytes] | None = subprocess.Popen(
                command, cwd=self.folder.parent, stdout=log, stderr=log, env=os.environ | {"OMP_NUM_THREADS": "1"}
            )
        found = until(lambda: re.search(r"listens at (http://\S+);", self._log.read_text()), "the service to listen")
        self.url = found.group(1)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])

    @property
    def token(self) -> str:
        """What a user copies from the terminal."""
        return (self.folder / "token").read_text(encoding="utf-8").strip()

    def allow(self, name: str, computations: int) -> str:
        """Let each process of a job compute the loss so many times in all; returns the file that says so."""
        path = self.folder.parent / f"{name}.allowed"
        path.write_text(str(computations))
        return str(path)

    def submit(self, name: str, checkpoints: Path, allowed: int = ALL_UNITS, **settings: Any) -> str:
        """Submit a job as a program would; returns its id."""
        job = {"name": name, "checkpoints": str(checkpoints), "problem": "gated_linear:build", "sampler": SAMPLER}
        job["problem_args"] = {**PROBLEM_ARGS, "allowed": self.allow(name, allowed)}
        return str(self._ask("POST", "/api/jobs", {"job": {**job, **settings}})["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        """The job's document."""
        return self._ask("GET", f"/api/jobs/{job_id}")

    def _ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.token}"}
        answer = self._client.request(method, self.url + path, json=body, headers=headers)
        answer.raise_for_status()
        document: dict[str, Any] = answer.json()
        return document

    def kill(self) -> None:
        """End it without a chance to say goodbye."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End the service and its Ray."""
        self._client.close()
        self.kill()
        local_ray.stop(self.folder)


@dataclass
class Visit:
    """A page, and what a browser kept of it."""

    page: Page
    host: str
    console: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    requests: int = 0

    def watch(self, page: Page) -> None:
        """Keep what this page logs and asks for."""
        page.on("console", lambda message: self.console.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self._keep(request.url))
        page.on("websocket", lambda socket: self.foreign.append(socket.url))

    def _keep(self, url: str) -> None:
        self.requests += 1
        if not url.startswith((f"{self.host}/", "data:", "blob:")):
            self.foreign.append(url)

    def check(self, expected: str = "") -> None:
        """Fail if it logged anything that does not match `expected`, met an error, or asked another machine."""
        assert self.requests
        assert self.foreign == []
        assert self.errors == []
        unexpected = [line for line in self.console if not (expected and re.search(expected, line))]
        assert not unexpected, "the console holds:\n" + "\n".join(unexpected)

    def until(self, selector: str) -> None:
        """Wait until an element that matches is seen."""
        self.page.locator(selector).first.wait_for(state="visible", timeout=PATIENCE * 1000)

    def points(self) -> int:
        """How many checkpoints the curve shows."""
        shown = self.page.locator("figure[data-points]")
        return int(shown.get_attribute("data-points") or 0) if shown.count() else 0

    def overflow(self) -> int:
        """Pixels by which the page is wider than the window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def visit(context: BrowserContext, service: Service) -> Visit:
    """A new page of the context, watched from its first request on, popups included."""
    kept = Visit(context.new_page(), service.url)
    kept.watch(kept.page)
    kept.page.on("popup", kept.watch)
    return kept
