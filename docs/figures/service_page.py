"""The picture of the service's page, of a job that still runs: `python docs/figures/service_page.py runs/grokking`.

The run is that of `make demo`; Chromium and playwright are needed, and two minutes.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from playwright.sync_api import Page, sync_playwright

from workers.client import ServiceClient
from workers.service import local_ray

ROOT = Path(__file__).resolve().parents[2]
IMAGE = ROOT / "docs" / "images" / "service.png"
SHOWN = {"width": 1080, "height": 890}
POINTS, BOUNDARIES = 80, 2  # what there has to be before the picture is taken
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


def main(run: Path, image: Path = IMAGE) -> None:
    """Submit the run to a service of its own and take the picture before the job is done."""
    job = yaml.safe_load((ROOT / "configs" / "grokking.yaml").read_text(encoding="utf-8"))
    job |= {"checkpoints": str(run), "events": str(run / "events.csv"), "measures": ["loss"]}
    job["sampler"] |= {"draws": 100, "burn_in": 50}  # enough for a picture
    job["resources"] = {"checkpoints_per_unit": 4}
    with tempfile.TemporaryDirectory() as folder, service(Path(folder) / "slt", run.parent) as (url, token):
        with ServiceClient(url, token) as client:
            submitted, _ = client.submit({name: value for name, value in job.items() if name != "out"})
        with sync_playwright() as playwright:
            chromium = shutil.which("chromium") or shutil.which("google-chrome")
            browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
            page = browser.new_page(viewport=SHOWN, color_scheme="light")
            page.goto(f"{url}/?token={token}")
            page.goto(f"{url}/#/jobs/{submitted['id']}")
            until(lambda: points(page) >= POINTS and page.locator("#boundaries tbody tr").count() >= BOUNDARIES)
            page.screenshot(path=image)
            browser.close()


def points(page: Page) -> int:
    """How many checkpoints the curve shows."""
    shown = page.locator("figure[data-points]")
    return int(shown.get_attribute("data-points") or 0) if shown.count() else 0


@contextmanager
def service(folder: Path, root: Path) -> Iterator[tuple[str, str]]:
    """`slt serve` on a free port, with a Ray of its own; gives its address and token."""
    folder.mkdir()
    command = [str(Path(sys.executable).with_name("slt")), "serve", "--folder", str(folder)]
    process = subprocess.Popen([*command, "--root", str(root), "--port", "0"])
    try:
        until((folder / "address").is_file)
        yield (folder / "address").read_text().strip(), (folder / "token").read_text().strip()
    finally:
        process.terminate()
        process.wait()
        local_ray.stop(folder)


def until(ready: Callable[[], Any], seconds: float = 1800) -> None:
    """Wait for it."""
    limit = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > limit:
            raise SystemExit("waited in vain; is the machine busy?")
        time.sleep(0.2)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/grokking").resolve())
