"""The page on the service: each of its commands is run as it stands, or said not to be run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from workers.service import local_ray
from workers.service.settings import Settings

PAGE = (Path(__file__).parent.parent / "docs/service.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"(?P<before>[^\n]*(?:\n[^\n]+)*)\n\n```(?P<kind>\w+)\n(?P<code>.*?)```", re.DOTALL)
LISTENS = "until [ -f ~/.slt/service/address ]; do sleep 0.2; done; ADDRESS=$(cat ~/.slt/service/address)"


def commands(code: str) -> list[str]:
    return [line.removeprefix("$ ") for line in code.splitlines() if line.startswith("$ ")]


def test_every_command_is_run_or_said_not_to_be() -> None:
    blocks = [match.groupdict() for match in BLOCK.finditer(PAGE)]
    assert len(blocks) == PAGE.count("```") // 2
    for block in blocks:
        if block["kind"] == "console":
            assert len(commands(block["code"])) == len(block["code"].strip().splitlines())
        elif re.search(r"^(slt|kubectl|ray|curl|pip|export)\b", block["code"], re.MULTILINE):
            assert "ot run here" in block["before"].split("\n\n")[-1], block["code"]


def test_every_setting_is_documented() -> None:
    table = PAGE[PAGE.index("| key |") : PAGE.index("## On a cluster")]
    assert [key for key in Settings.model_fields if not re.search(rf"\b{key}\b", table)] == []


@pytest.mark.slow
def test_the_page_works_as_written(tmp_path: Path) -> None:
    """In one shell, top to bottom, with a home of its own and on a free port."""
    script = ["set -e -o pipefail", "trap 'slt serve --stop' EXIT"]
    for match in BLOCK.finditer(PAGE):
        kind, code = match["kind"], match["code"]
        if kind == "yaml":
            (tmp_path / "linear.yaml").write_text(code)
        elif kind == "python":
            (tmp_path / "from_python.py").write_text(code)
            script.append(f"{sys.executable} from_python.py")
        elif kind == "console":
            for command in commands(code):
                if command.startswith("pip "):  # the environment of the tests has it
                    continue
                command = command.replace("http://127.0.0.1:8420", "$ADDRESS").replace(
                    "serve --root", "serve --port 0 --root"
                )
                script += [command, *([LISTENS] if command.endswith("&") else [])]
    script.append("! ls ~/.slt/service/ray.json")
    home = tmp_path / "home"
    home.mkdir()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SLT_", "RAY_"))}
    try:
        ran = subprocess.run(
            ["bash", "-x", "-c", "\n".join(script)],
            cwd=tmp_path,
            env=environment | {"HOME": str(home), "PATH": path, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
    finally:
        local_ray.stop(home / ".slt" / "service")
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    assert "linear SUCCEEDED" in ran.stdout
    assert json.loads(ran.stdout[ran.stdout.index('{\n "jobs"') :].partition("\n}\n")[0] + "}")["jobs"]
    for folder in ("linear", "from-python"):
        assert (tmp_path / "results" / folder / "report.html").stat().st_size > 100_000
