"""Every sampler setting automatic: are the verdicts ok, and are the stages those of documented settings?

    python -m benchmarks.automatic [--only NAME] [--checkpoints 60] [--json]

Five runs: the two built-in problems as in configs/, and three with other seeds and sizes. Each is estimated twice, with
all settings automatic and with those of its file in configs/. A checkpoint past the first decade of steps should have
the verdict ok, or calibration should say in words why not; stages agree if F1 exceeds 0.8 at 0.15 decades. With
--checkpoints only so many, evenly spread, are estimated; of few, neither setting's curve shows stages that lie close.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from estimators.calibrate import AUTOMATIC, Calibration, calibrate, probe_positions
from estimators.checkpoints import CheckpointSequence, discover, load_weights
from estimators.llc import SamplerConfig, estimate_llc
from estimators.problem import load_problem
from estimators.problems import train
from slt.stages import detect_stages
from slt.trajectory import Trajectory, VerdictKind
from workers.job import parse_yaml

OK_SHARE, F1, TOLERANCE = 0.9, 0.8, 0.15
CONFIGS = Path(__file__).parent.parent / "configs"


@dataclass(frozen=True)
class Run:
    """One training run: the job file whose settings are the documented ones, and what differs from it."""

    name: str
    config: str
    problem_args: dict[str, Any]
    training: dict[str, Any]
    seed: int = 0


RUNS = (
    Run("grokking", "grokking", {}, {}),
    Run("linear_network", "linear_network", {}, {}),
    Run("linear_network, three modes", "linear_network", {"width": 18, "singular_values": [9, 3.8, 1.5]}, {}, 110),
    Run("linear_network, four modes", "linear_network", {"width": 28, "singular_values": [11, 5.2, 2.6, 1.2]}, {}, 111),
    Run("addition modulo 41", "grokking", {"p": 41}, {}, 112),
)
"""The last three have seeds and sizes that nobody had looked at when the rules of calibration
and of the stage detector were last changed."""


def thinned(sequence: CheckpointSequence, most: int | None) -> CheckpointSequence:
    """At most so many checkpoints, evenly spread over the sequence; all by default."""
    every = sequence.checkpoints
    if most is None:
        return sequence
    kept = sorted(set(np.linspace(0, len(every) - 1, min(most, len(every))).round().astype(int).tolist()))
    return replace(sequence, checkpoints=tuple(every[k] for k in kept))


def boundaries(trajectory: Trajectory) -> list[float]:
    """Steps of the boundaries with a probability of one half or more."""
    return [boundary.step for boundary in detect_stages(trajectory.finite()).boundaries]


def agreement(found: list[float], documented: list[float]) -> float:
    """F1 of one-to-one matches within the tolerance, nearest pairs first; 1 if neither has any."""
    pairs = sorted((abs(np.log10(a / b)), i, j) for i, a in enumerate(found) for j, b in enumerate(documented))
    left, right = set(range(len(found))), set(range(len(documented)))
    for distance, i, j in pairs:
        if distance <= TOLERANCE and i in left and j in right:
            left.remove(i)
            right.remove(j)
    total = len(found) + len(documented)
    return 1 - (len(left) + len(right)) / total if total else 1.0


def ok_share(trajectory: Trajectory) -> float:
    """Share of checkpoints past the first decade of steps whose verdict is ok."""
    first = min(step for step in trajectory.steps if step > 0)
    past = [k for k, step in enumerate(trajectory.steps) if step >= 10 * first]
    verdicts = trajectory.verdicts or ()
    return float(np.mean([verdicts[k].kind is VerdictKind.OK for k in past]))


def measure(run: Run, most: int | None) -> dict[str, Any]:
    """Train, calibrate, estimate with both settings, and compare."""
    job = parse_yaml((CONFIGS / f"{run.config}.yaml").read_text())
    arguments = job["problem_args"] | run.problem_args
    with tempfile.TemporaryDirectory() as folder:
        train(job["problem"], Path(folder), arguments | run.training, run.seed)
        problem = load_problem(job["problem"], arguments, Path.cwd())
        sequence = thinned(discover(Path(folder)), most)
        documented = SamplerConfig(**job["sampler"])
        found = automatic(problem, sequence, documented)
        ours, theirs = (estimate_llc(problem, sequence, config) for config in (found.config, documented))
    mine, reference = boundaries(ours), boundaries(theirs)
    return {
        "run": run.name,
        "settings": {name: getattr(found.config, name) for name in AUTOMATIC},
        "cost": found.cost_ratio,
        "ok": ok_share(ours),
        "ok_documented": ok_share(theirs),
        "said_why_not": not found.healthy,
        "boundaries": mine,
        "boundaries_documented": reference,
        "f1": agreement(mine, reference),
        "sentences": found.sentences,
    }


def automatic(problem: Any, sequence: CheckpointSequence, documented: SamplerConfig) -> Calibration:
    """Calibrate everything; batch size, reference and chains are the documented ones."""
    checkpoints = sequence.checkpoints
    probes = {
        float(checkpoints[k].step): load_weights(checkpoints[k])
        for k in probe_positions([checkpoint.step for checkpoint in checkpoints])
    }
    return calibrate(problem, probes, documented, AUTOMATIC, checkpoints=len(checkpoints))


def show(row: dict[str, Any]) -> bool:
    """Print a run's rows; returns whether it reached what it must."""
    settings = ", ".join(f"{name} {value:g}" for name, value in row["settings"].items())
    verdicts = row["ok"] >= OK_SHARE or row["said_why_not"]
    reached = verdicts and row["f1"] > F1 and row["cost"] < 0.25
    print(f"{row['run']}\n  {settings}; calibration cost {row['cost']:.0%} of the run")
    print(f"  ok {row['ok']:.0%} (documented settings {row['ok_documented']:.0%})")
    for name, key in (("automatic", "boundaries"), ("documented", "boundaries_documented")):
        print(f"  boundaries, {name}: {', '.join(f'{step:.0f}' for step in row[key]) or 'none'}")
    print(f"  F1 {row['f1']:.2f} at {TOLERANCE} decades: {'reached' if reached else 'NOT REACHED'}")
    for sentence in row["sentences"] if row["said_why_not"] else ():
        print(f"  {sentence}")
    sys.stdout.flush()
    return reached


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="runs whose name contains this")
    parser.add_argument("--checkpoints", type=int, help="at most so many of each run; default all")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for run in RUNS:
        if options.only in run.name:
            rows.append(measure(run, options.checkpoints))
            if not options.json:
                show(rows[-1])
    if options.json:
        print(json.dumps(rows, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
