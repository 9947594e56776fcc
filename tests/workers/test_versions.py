"""Two versions of our own code never mix: what one has computed, another computes anew."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def computed(code: Path, workplace: Path) -> dict[str, int]:
    """What `slt run` of a copy of our code says of its units."""
    command = [sys.executable, "-m", "workers", "run", "tiny.yaml", "--serial", "--json"]
    environment = os.environ | {"PYTHONPATH": str(code), "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(command, cwd=workplace, env=environment, stdout=subprocess.PIPE, check=True, timeout=300)
    return json.loads(ran.stdout)["units"]


@pytest.mark.slow
def test_units_of_another_version_are_not_reused_and_those_of_the_same_are(workplace, tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    for copy in (old, new):
        for package in ("slt", "estimators", "workers"):
            shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    with open(new / "estimators" / "sampler.py", "a") as source:
        source.write("\n# A change, however small, may change numbers.\n")
    assert computed(old, tmp_path) == {"computed": 6, "reused": 0, "failed": 0}
    assert computed(new, tmp_path) == {"computed": 6, "reused": 0, "failed": 0}
    assert computed(new, tmp_path) == {"computed": 0, "reused": 6, "failed": 0}
    assert computed(old, tmp_path) == {"computed": 0, "reused": 6, "failed": 0}
