"""The page on scaling: each of its commands is run as it stands, or said not to be run."""

from __future__ import annotations

import os
import re
import subprocess
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.workers.conftest import Workplace
from tests.workers.ray_clusters import COMMAND, cluster_of

PAGE = (Path(__file__).parents[2] / "docs/scaling.md").read_text(encoding="utf-8")
LINES = [line.removeprefix("$ ") for line in re.findall(r"^\$ .*", PAGE, re.MULTILINE)]
RUN = [line.partition("#")[0].split() for line in LINES if "# not run here" not in line]


def test_every_command_is_run_or_said_not_to_be() -> None:
    assert [command[:2] for command in RUN] == [["slt", "run"]] * 4
    blocks = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
    assert sum(code.count("\n") for kind, code in blocks if kind == "console") == len(LINES)


@pytest.mark.slow
def test_the_commands_of_the_page_give_the_same_bytes(workplace: Workplace) -> None:
    (workplace.path / "tiny.yaml").rename("job.yaml")
    tables = []
    for number, command in enumerate(RUN):
        with cluster_of({"num_cpus": 2}) if "HEAD:6379" in command else nullcontext() as cluster:
            words = [cluster.address if word == "HEAD:6379" else word for word in command[1:]]
            out = ["--out", str(workplace.path / str(number))]
            subprocess.run([*COMMAND, *words, *out], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=600)
            tables.append((workplace.path / str(number) / "trajectory.csv").read_bytes())
    assert len(tables) == 4
    assert len(set(tables)) == 1
