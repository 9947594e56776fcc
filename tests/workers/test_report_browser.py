"""The page in a real browser without a network. Skipped where Chromium is not installed; CI installs it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.workers.report_folder import write_job
from workers.report import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed; the page was not opened in a browser"),
]


@dataclass(frozen=True)
class Visit:
    """What a browser made of a page: its document, what it logged, and the addresses that it asked for."""

    document: str
    console: list[str]
    requests: list[str]


def visit(page: Path, folder: Path, *flags: str) -> Visit:
    log = folder / "net.json"
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
        "--disable-component-update", "--no-first-run", f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}",
        "--enable-logging=stderr", "--virtual-time-budget=10000", "--dump-dom", *flags, page.as_uri(),
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    console = [line for line in result.stderr.splitlines() if ":CONSOLE" in line]
    # A browser that is stopped may leave the last line of its log unfinished; addresses are read as text.
    asked = re.findall(r'"url":\s*"((?:https?|wss?)://[^"]+)"', log.read_text(errors="replace"))
    # Chromium itself asks its maker for updates of its components.
    ours = [url for url in asked if not re.search(r"//[\w.-]*(google|gvt1|gstatic)[\w.-]*/", url)]
    return Visit(result.stdout, console, ours)


def test_the_check_itself_sees_errors_and_requests(tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text('<script>console.error("seen"); undefined.x</script><img src="http://report.invalid/a.png">')
    found = visit(page, tmp_path)
    assert any("seen" in line for line in found.console)
    assert any("Cannot read properties" in line for line in found.console)
    assert set(found.requests) == {"http://report.invalid/a.png"}


@pytest.mark.parametrize("axis", ["log", "linear"])
def test_the_page_draws_its_figure_offline_without_an_error_or_a_request(tmp_path: Path, axis: str) -> None:
    job = write_job(tmp_path / "job", axis=axis)
    found = visit(write_report(job), tmp_path)
    assert found.console == []
    assert found.requests == []
    plot = found.document.partition('id="plot"')[2].partition("<noscript>")[0]
    assert "main-svg" in plot
    written = re.search(r'<script type="application/json" id="figure-data">(.*?)</script>', found.document, re.DOTALL)
    assert written is not None
    figure = json.loads(written.group(1))
    traces = [trace for trace in figure["data"] if trace["mode"] != "text"]
    assert plot.count('class="trace scatter') >= len(traces)
    # The hostile name is shown as it was written, letter by letter.
    assert "&lt;script&gt;alert" in plot


def test_the_page_is_no_wider_than_a_telephone(tmp_path: Path) -> None:
    page = write_report(write_job(tmp_path / "job"))
    probe = (
        "<script>onload = () => { const root = document.documentElement;"
        " parent.postMessage(root.scrollWidth - root.clientWidth, '*') }</script>"
    )
    copy = tmp_path / "probe.html"
    copy.write_text(page.read_text(encoding="utf-8").replace("</body>", f"{probe}</body>"), encoding="utf-8")
    # Headless Chromium opens no window narrower than 500 pixels; a frame of 360 stands for the telephone.
    frame = tmp_path / "frame.html"
    frame.write_text(
        f'<script>onmessage = (message) => document.title = "overflow " + message.data</script>'
        f'<iframe src="{copy.as_uri()}" width="360" height="800"></iframe>'
    )
    assert "<title>overflow 0</title>" in visit(frame, tmp_path).document
