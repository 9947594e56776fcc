"""A problem of three parameters in the user's own module, twelve checkpoints of it, and a job file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file
from typer.testing import CliRunner, Result

from estimators.progress import silent

MODULE = '''
"""Linear regression with knobs to make it fail, be slow or blow up."""
import time
from pathlib import Path

import torch
from torch import nn

from estimators.problem import Problem


def build(dim=3, seconds=0.0, width=1):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, dim, generator=generator)
    y = x.sum(dim=1, keepdim=True) + torch.randn(64, 1, generator=generator)

    def loss(model, batch):
        if seconds:
            time.sleep(seconds)
        weight = next(iter(model.parameters()))
        at_checkpoint = not torch._C._functorch.is_functorch_wrapped_tensor(weight)  # not among vmapped chains
        if at_checkpoint and Path("picky").exists() and weight.max() > 9:
            raise ValueError("this checkpoint is not liked")
        residual = model(batch[0]) - batch[1]
        return 0.5 * (residual**2).sum(dim=1) + (weight**2).sum() ** 4 * 1e-7

    return Problem(model=nn.Linear(dim, width, bias=False), data=(x, y), loss=loss, name="tiny")
'''

STEPS = [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]


class Workplace:
    """A user's directory, and the command line inside it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.out = path / "results" / "tiny"

    def slt(self, *arguments: str) -> Result:
        """Call the command line in this process."""
        from workers.cli import app

        return CliRunner().invoke(app, list(arguments), catch_exceptions=False)

    def run(self, *arguments: str) -> Result:
        """`slt run` in this process, without Ray."""
        return self.slt("run", "tiny.yaml", "--serial", *arguments)

    def compute(self, *overrides: str) -> dict[str, int]:
        """Only the units of `slt run`, without stages and report; how many were computed, reused and failed."""
        from workers.executor import SerialExecutor
        from workers.job import read_job
        from workers.live import Status
        from workers.pipeline import execute
        from workers.plan import prepare
        from workers.store import JobFolder

        job = read_job(self.path / "tiny.yaml", overrides)
        folder = JobFolder(job.out)
        plan = prepare(job, folder, lambda title: silent)
        return execute(plan, folder, SerialExecutor(), Status(folder, lambda title: silent))

    def save(self, step: int, weight: list[float] | torch.Tensor | None = None, name: str = "weight") -> Path:
        """Write one checkpoint; by default on the way from the origin to the solution."""
        if weight is None:
            share = torch.log2(torch.tensor(step + 1.0)) / 10
            weight = share * torch.ones(1, 3)
        path = self.path / "runs" / f"step_{step:06d}.safetensors"
        save_file({name: torch.as_tensor(weight, dtype=torch.float32).reshape(1, -1)}, path)
        return path

    def configure(self, **settings: object) -> None:
        """Write the job file, with some settings other than the usual ones."""
        job = {
            "checkpoints": "runs",
            "problem": "tiny_problem:build",
            "sampler": {"step_size": 1e-3, "n_beta": 10, "localization": 1, "chains": 2, "draws": 12, "burn_in": 4},
            "measures": ["loss", "weight_norm"],
            "resources": {"checkpoints_per_unit": 2},
        }
        (self.path / "tiny.yaml").write_text(yaml.safe_dump(job | settings))

    @property
    def trajectory(self) -> bytes:
        """The table of the last run."""
        return (self.out / "trajectory.csv").read_bytes()


def furnished(path: Path) -> Workplace:
    """Twelve checkpoints in six units of two."""
    place = Workplace(path)
    (path / "tiny_problem.py").write_text(MODULE)
    (path / "runs").mkdir()
    for step in STEPS:
        place.save(step)
    place.configure()
    return place


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    """A furnished one, and this process in it."""
    monkeypatch.chdir(tmp_path)
    return furnished(tmp_path)
