"""Does every stage of the linear network hold one singular mode? A table for labels and self as reference, five seeds.

python -m benchmarks.saddle_to_saddle [seeds]
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

from estimators.checkpoints import discover
from estimators.llc import SamplerConfig, estimate_llc
from estimators.problems import linear_network, train
from slt.events import read_events
from slt.stages import detect_stages
from slt.trajectory import Trajectory

REFERENCES = ("self", "labels")


def trajectory(run: Path, reference: str, seed: int) -> Trajectory:
    """Estimate with the settings of configs/linear_network.yaml."""
    config = SamplerConfig(step_size=1e-4, localization=100, n_beta=10, chains=4, draws=300, reference=reference)
    return estimate_llc(linear_network.build(data_seed=seed), discover(run), config)


def one_between_each(boundaries: list[float], modes: list[float]) -> bool:
    """Whether there is exactly one boundary between each two neighbouring mode times, and no other."""
    inside = [sum(left < step < right for step in boundaries) for left, right in pairwise(modes)]
    return len(boundaries) == len(modes) - 1 and inside == [1] * (len(modes) - 1)


def measure(run: Path, reference: str, seed: int, modes: list[float]) -> bool:
    """Estimate, detect and print two lines; returns whether each stage holds one mode."""
    start = time.perf_counter()
    estimated = trajectory(run, reference, seed)
    seconds = time.perf_counter() - start
    boundaries = detect_stages(estimated).boundaries
    each = one_between_each([boundary.step for boundary in boundaries], modes)
    times = ", ".join(f"{mode:.0f}" for mode in modes)
    found = ", ".join(f"{b.step:.0f} {b.kind} ({b.probability:.2f})" for b in boundaries)
    verdicts = Counter(verdict.kind.value for verdict in estimated.verdicts or ())
    counts = ", ".join(f"{count} {kind}" for kind, count in verdicts.most_common())
    print(f"{seed:4} {reference:9} {seconds:7.1f}  {times:22} {'yes' if each else 'no':8} {found}")
    print(f"{'':24}LLC {estimated.llc.min():.1f} to {estimated.llc.max():.1f}; verdicts: {counts}", flush=True)
    return each


def main() -> None:
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    print(
        f"{'seed':4} {'reference':9} {'seconds':>7}  {'mode times':22} {'one each':8} boundaries (probability)",
        flush=True,
    )
    held = Counter[str]()
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as folder:
            train("linear_network", Path(folder), {"data_seed": seed}, seed)
            modes = [event.step for event in read_events(Path(folder) / "events.csv")]
            for reference in REFERENCES:
                held[reference] += measure(Path(folder), reference, seed, modes)
    for reference in REFERENCES:
        print(f"{reference}: one boundary between each two mode times in {held[reference]} of {seeds} seeds")


if __name__ == "__main__":
    main()
