"""1,000 nodes and 100,000 units: the real driver of a job on a simulated cluster, against the model of docs/scaling.md.

    python -m benchmarks.simulation [--units 1000 10000 100000] [--json]

Real, and timed by the processor: checkpoint files are read and hashed, the work is cut into units, the loop of
`RayExecutor` keeps twice the slots in flight, each unit's numbers are written to a job folder, status and tables are
rewritten meanwhile, and at the end all is read back, detected, compared and reported. Each size runs in a process of
its own. Simulated is the far side (`simulated_cluster`): 1,000 nodes of 8 slots, units of a minute, 1 node in 100 five
times slower, a node dying every 12 s; and Ray's own share of the driver, a constant a unit that the part `crowd` of
`benchmarks.scaling` measures, is charged to the clock. The numbers of a unit are drawn at random, of a real unit's size.

First the end of a job: with a slow node among some workers over without it, of the units that `auto` cuts.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from benchmarks.simulated_cluster import Shape, SimulatedExecutor
from estimators.progress import silent
from workers.executor import Outcome
from workers.job import JobConfig
from workers.live import Status
from workers.pipeline import execute, finish, write_echo
from workers.plan import prepare
from workers.store import JobFolder
from workers.units import CheckpointResult, Unit, UnitResult, group_size, largest_first, tapered

CHAINS, DRAWS, BURN_IN = 4, 300, 100
SECONDS = 60.0
RAY_SECONDS = 1.5e-3
"""Of the driver a unit, handing over and landing: what `crowd` takes without saving."""
CLUSTER = Shape(
    nodes=1000, slots=8, slow=10, slowness=5.0, seconds_to_death=12_000.0, spread=0.2, driver_seconds=RAY_SECONDS
)
PROBLEM = {"problem": "linear_network", "problem_args": {"width": 4, "n_samples": 50}}


def numbers_of(unit: Unit) -> UnitResult:
    """What a worker would send back: an LLC that rises once and falls once over training, with noise."""
    entries = []
    for checkpoint in unit.checkpoints:
        decades = math.log10(1 + checkpoint.step)
        llc = 8 + 4 * math.tanh(3 * (decades - 1.5)) - 3 * math.tanh(3 * (decades - 3))
        draws = np.random.default_rng(checkpoint.step).normal(llc / 10, 0.05, (CHAINS, BURN_IN + DRAWS))
        each = np.ones(CHAINS)
        entries.append(CheckpointResult(draws, 1.0, each, each, n_samples=50, measures={"loss": 1.0 / decades}))
    return UnitResult(tuple(entries), SECONDS)


def write_checkpoints(folder: Path, count: int) -> None:
    """As many as there are units, each with weights of its own."""
    from workers.units import ProblemReference

    problem, _ = ProblemReference(PROBLEM["problem"], PROBLEM["problem_args"], Path.cwd()).load()
    weights = {name: value.clone() for name, value in problem.model.state_dict().items()}
    first = next(iter(weights.values()))
    for step in range(1, count + 1):
        first.view(-1)[0] = step / count
        save_file(weights, folder / f"step_{step:08d}.safetensors")


class Memory:
    """What this process holds in memory that no file backs, in MB, looked at ten times a second."""

    def __init__(self) -> None:
        self.most = self.now
        threading.Thread(target=self._look, daemon=True).start()

    @property
    def now(self) -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1e3

    def _look(self) -> None:
        while True:
            self.most = max(self.most, self.now)
            time.sleep(0.1)


@dataclass
class Part:
    """Seconds of the processor and of the clock that a part of the job takes, and MB held at most in it."""

    busy: float = 0.0
    wall: float = 0.0
    most: float = 0.0


@contextmanager
def part(memory: Memory) -> Iterator[Part]:
    found = Part()
    memory.most = memory.now
    busy, wall = time.process_time(), time.perf_counter()
    yield found
    found.busy, found.wall = time.process_time() - busy, time.perf_counter() - wall
    found.most = max(memory.most, memory.now)


def job_of(place: Path) -> JobConfig:
    """A job of one checkpoint a unit, with the numbers of chains and draws that are the default."""
    sampler = {"step_size": 1e-3, "n_beta": 10, "localization": 1, "chains": CHAINS, "draws": DRAWS, "burn_in": BURN_IN}
    settings = {"name": "many", "checkpoints": str(place / "runs"), "out": str(place / "out"), "sampler": sampler}
    return JobConfig.model_validate(
        PROBLEM | settings | {"measures": ["loss"], "resources": {"checkpoints_per_unit": 1, "device": "cpu"}}
    )


def whole_job(count: int) -> dict[str, Any]:
    """The real driver's way through a job of so many units."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        (place / "runs").mkdir()
        write_checkpoints(place / "runs", count)
        job, memory = job_of(place), Memory()
        folder, at_start = JobFolder(job.out), memory.now
        executor = SimulatedExecutor(CLUSTER, lambda unit: SECONDS * len(unit.checkpoints), numbers_of)
        with Status(folder, lambda title: silent) as status:
            with part(memory) as preparing:
                plan = prepare(job, folder, status.phase)
                write_echo(job, plan.sampler, folder)
            with part(memory) as estimating:
                counts = execute(plan, folder, executor, status)
            with part(memory) as finishing:
                finish(plan, folder, counts, status, {})
        files = [path.stat().st_size for path in job.out.rglob("*") if path.is_file()]
    cluster = executor.cluster
    return {
        "units": count, "computed": counts["computed"], "wall_s": executor.seconds, "most_in_flight": cluster.fullest,
        "deaths": cluster.deaths, "again": cluster.again, "twice": cluster.twice,
        "prepare_ms": 1e3 * preparing.busy / count, "finish_ms": 1e3 * finishing.busy / count,
        "estimate_ms": 1e3 * (estimating.busy - executor.clock.aside) / count,
        "mb": [at_start, preparing.most, estimating.most, finishing.most], "files": len(files), "bytes": sum(files),
    }  # fmt: skip


def end_of_job(checkpoints: int, workers: int) -> dict[str, float]:
    """Checkpoints' seconds until all is done: with so many equal workers, and with one more that is five times slower.

    The small unit is the smallest, as long as the slow worker takes for it.
    """
    groups = list(tapered(range(checkpoints), group_size(checkpoints, CHAINS, 1)))
    ends = {}
    for name, shape in {"without": Shape(workers), "with": Shape(workers + 1, slow=1)}.items():
        executor = SimulatedExecutor(shape, lambda group: SECONDS * len(group), lambda group: None)
        executor.run(len, sorted(groups, key=len, reverse=True), lambda outcome: None)
        ends[name] = executor.seconds / SECONDS
    return ends | {"small": CLUSTER.slowness * min(map(len, groups))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--units", nargs="*", type=int, default=[1000, 10_000, 100_000])
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(whole_job(options.one)))
        return
    jobs = []
    for count in options.units:
        command = [sys.executable, "-m", "benchmarks.simulation", "--one", str(count)]
        jobs.append(json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout))
        print(jobs[-1], file=sys.stderr)


if __name__ == "__main__":
    main()
