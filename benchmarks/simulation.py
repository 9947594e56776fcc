"""1,000 nodes and 100,000 units: the real driver of a job on a simulated cluster, against the model of docs/scaling.md.

    python -m benchmarks.simulation [--units 1000 10000 100000]

Real, and timed by the processor: checkpoint files are read and hashed, the work is cut into units, the loop of
`RayExecutor` keeps twice the slots in flight, each unit's numbers are written to a job folder, status and tables are
rewritten meanwhile, and at the end all is read back, detected, compared and reported. Each size runs in a process of
its own. Simulated is the far side (`simulated_cluster`): 1,000 nodes of 8 slots, units of a minute, 1 node in 100 five
times slower, a node dying every 12 s; and Ray's own share of the driver, a constant a unit that the part `crowd` of
`benchmarks.scaling` measures, is charged to the clock. The numbers of a unit are random, of a real unit's size.

First the end of a job: with a slow node among some workers over without it, of the units that `auto` cuts.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from benchmarks.simulated_cluster import Shape, SimulatedExecutor
from estimators.progress import silent
from workers.job import JobConfig
from workers.live import Status
from workers.pipeline import execute, finish, write_echo
from workers.plan import prepare
from workers.ray_flight import TIMES_THE_MEAN
from workers.store import JobFolder
from workers.units import CheckpointResult, Unit, UnitResult, group_size, tapered

CHAINS, DRAWS, BURN_IN = 4, 300, 100
SECONDS = 60.0
LINEAR_WITHIN = 1.25
RAY_SECONDS = 1.0e-3
"""Of the driver a unit, handing over and landing: what a unit of `crowd` takes, without saving it (RESULTS.md)."""
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
        entries.append(
            CheckpointResult(draws, 1.0, each, each, 0.01 * each, n_samples=50, measures={"loss": 1.0 / decades})
        )
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
    groups = list(tapered(range(checkpoints), group_size(checkpoints)))
    ends = {}
    for name, shape in {"without": Shape(workers), "with": Shape(workers + 1, slow=1)}.items():
        executor = SimulatedExecutor(shape, lambda group: SECONDS * len(group), lambda group: None)
        executor.run(len, sorted(groups, key=len, reverse=True), lambda outcome: None)
        ends[name] = executor.seconds / SECONDS
    return ends | {"small": CLUSTER.slowness * min(map(len, groups))}


def bounds(found: dict[str, Any]) -> tuple[float, float]:
    """Seconds of the clock that the model of docs/scaling.md gives a job at least and at most, by what a unit takes.

    At least: a unit, or what the slots have to compute, slow ones counted by what they do and dead ones not, or what
    the driver has to. At most: as long again as the last unit takes to be late, and to be computed a second time.
    """
    seconds = SECONDS * math.exp(CLUSTER.spread**2 / 2)
    nodes = CLUSTER.nodes - CLUSTER.slow * (1 - 1 / CLUSTER.slowness)
    up = 1 - (CLUSTER.seconds_to_replace + seconds / 2) / CLUSTER.seconds_to_death
    computed = found["units"] * seconds / (nodes * CLUSTER.slots * up)
    driven = found["units"] * (found["estimate_ms"] / 1e3 + RAY_SECONDS)
    least = max(computed, driven, SECONDS)
    return least, least + (1 + TIMES_THE_MEAN) * seconds * math.exp(2 * CLUSTER.spread)


LINEAR = {
    "driver: seconds to prepare": lambda found: found["prepare_ms"] * found["units"] / 1e3,
    "driver: seconds while units are computed, without Ray's": lambda found: (
        found["estimate_ms"] * found["units"] / 1e3
    ),
    "driver: seconds from the last unit to the report": lambda found: found["finish_ms"] * found["units"] / 1e3,
    "driver: MB held at most": lambda found: max(found["mb"]),
    "storage: files in the job folder": lambda found: found["files"],
    "storage: MB in the job folder": lambda found: found["bytes"] / 1e6,
}


def print_jobs(jobs: list[dict[str, Any]]) -> bool:
    """A table of each size, and whether the largest is what the smaller ones foretell."""
    held = True
    print(f"{CLUSTER.nodes:,} nodes of {CLUSTER.slots} slots, units of {SECONDS:g} s, {CLUSTER.slow} nodes slow")
    for found in jobs:
        least, most = bounds(found)
        inside = 0.98 * least <= found["wall_s"] <= most and found["computed"] == found["units"]
        held &= inside
        print(f"\n{found['units']:,} units, {found['most_in_flight']:,} in flight at most")
        print(f"  seconds to the last unit: simulated {found['wall_s']:.0f}; by the model {least:.0f} to {most:.0f}")
        print(f"  nodes that died {found['deaths']}, units queued again for it {found['again']}, "
              f"late ones computed twice {found['twice']}")  # fmt: skip
        ms = (found[name] for name in ("prepare_ms", "estimate_ms", "finish_ms"))
        print("  driver's ms a unit: to prepare {:.2f}, while units are computed {:.2f}, at the end {:.2f}".format(*ms))
        held_mb = " / ".join(f"{value:.0f}" for value in found["mb"])
        print(f"  driver's MB: at its start / most in preparing / in computing / at the end: {held_mb}")
        print(f"  job folder: {found['files']:,} files, {found['bytes'] / 1e6:,.0f} MB")
    if len(jobs) > 2:
        first, second, last = jobs[0], jobs[-2], jobs[-1]
        share = (last["units"] - second["units"]) / (second["units"] - first["units"])
        print(f"\n{'by a line through the smaller sizes, and found':<58}{'line':>10}{'found':>10}")
        for name, value in LINEAR.items():
            line = value(second) + share * (value(second) - value(first))
            held &= value(last) < LINEAR_WITHIN * line
            print(f"  {name:<56}{line:>10,.0f}{value(last):>10,.0f}")
    return held


def print_ends() -> bool:
    """How far one slow worker puts off the end."""
    held = True
    print("the end of a job with one worker more, five times slower; in seconds of one checkpoint")
    print(f"{'checkpoints':>12}{'workers':>9}{'without':>9}{'with':>9}   a small unit there")
    for checkpoints in (50, 100, 300):
        for workers in (2, 3, 5, 8):
            found = end_of_job(checkpoints, workers)
            held &= found["with"] <= found["without"] + found["small"] + 0.1  # the loop itself takes some time too
            print(f"{checkpoints:>12}{workers:>9}{found['without']:>9.0f}{found['with']:>9.0f}{found['small']:>21.0f}")
    return held


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--units", nargs="*", type=int, default=[1000, 10_000, 100_000])
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(whole_job(options.one)))
        return 0
    held = print_ends()
    print()
    jobs = []
    for count in options.units:
        command = [sys.executable, "-m", "benchmarks.simulation", "--one", str(count)]
        jobs.append(json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout))
    held &= print_jobs(jobs)
    print(f"\nno unit lost, no end put off by more than a small unit, and the model holds: {'yes' if held else 'NO'}")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
