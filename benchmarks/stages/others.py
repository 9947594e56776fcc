"""What is measured besides landmarks: the event test, the time a curve takes, and runs of a linear network."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.stages.cells import SPAN, Floats
from benchmarks.stages.figures import Figure, share
from slt.comparison import Comparison, compare
from slt.events import CircuitEvent
from slt.stages import Boundary, Landmark, Stage, Stages, detect_stages
from slt.synthetic import Sampling, smooth_steps
from slt.trajectory import Trajectory

LEVEL = 0.05
CLOSE = 0.05  # decades within which the events of the power simulation lie of an onset


@dataclass(frozen=True)
class EventTest:
    """Share of p-values up to 5 %, without a relation (size), with events close to onsets (power); and a refusal."""

    runs: int
    size: Figure
    power: Figure
    refusal: str


def event_test(runs: int) -> EventTest:
    """Simulate boundaries and events that both crowd late in training: 4 to 7 onsets, 4 or 5 events."""
    rng = np.random.default_rng(0)
    alone, matched = [], []
    for _ in range(runs):
        onsets, events = _late(rng, int(rng.integers(4, 8))), int(rng.integers(4, 6))
        unrelated = _late(rng, events)
        close = rng.choice(onsets, min(events, len(onsets)), replace=False)
        alone.append(_p_value(onsets, unrelated))
        matched.append(_p_value(onsets, close + rng.uniform(-CLOSE, CLOSE, len(close))))
    two = _compare(onsets, unrelated[:2]).groups[0]
    assert two.p_value is None
    size, power = (share([p <= LEVEL for p in values]) for values in (alone, matched))
    return EventTest(runs, size, power, two.note)


def _late(rng: np.random.Generator, size: int) -> Floats:
    """Positions whose density grows as the square of the decades since the start, a tenth of a decade apart."""
    while True:
        positions = np.sort(SPAN[0] + (SPAN[1] - SPAN[0]) * rng.uniform(size=size) ** (1 / 3))
        if size < 2 or np.diff(positions).min() > 0.1:
            return positions


def _p_value(onsets: Floats, events: Floats) -> float:
    p_value = _compare(onsets, events).groups[0].p_value
    assert p_value is not None
    return p_value


def _compare(onsets: Floats, events: Floats) -> Comparison:
    """Stages that have these onsets, exactly known, against events."""
    steps = 10.0**onsets
    boundaries = tuple(
        Boundary(0.9 * step, 0.9 * step, 0.9 * step, 1.0, "shelf", Landmark(step, step, step, 1.0)) for step in steps
    )
    ends = [10.0 ** SPAN[0], *(boundary.step for boundary in boundaries), 10.0 ** SPAN[1]]
    between = tuple(Stage(start, end, "rise", 1.0) for start, end in pairwise(ends))
    stages = Stages(boundaries, (), between, (), boundary_draws=0.9 * steps[None], onset_draws=steps[None])
    return compare(stages, [CircuitEvent(f"event {k}", float(10.0**x)) for k, x in enumerate(events)])


TIMED = {
    "200 checkpoints": Sampling(points=200),
    "5,000 checkpoints, 10 chains": Sampling(points=5000, chains=10),
    "1,000,000 checkpoints": Sampling(points=1_000_000),
}


def seconds_per_curve(repeats: int = 5) -> dict[str, float]:
    """Median processor time of detect_stages with all defaults, one thread: what a core of its own would need."""
    medians = {}
    for name, sampling in TIMED.items():
        trajectory = smooth_steps(sampling, bursts=4, seed=1).trajectory
        taken = []
        for _ in range(repeats + 1):
            start = time.process_time()
            detect_stages(trajectory)
            taken.append(time.process_time() - start)
        medians[name] = float(np.median(taken[1:]))  # the first warms up
    return medians


@dataclass(frozen=True)
class LinearRun:
    """A linear network's modes and the boundaries of its LLC, in steps."""

    seed: int
    modes: tuple[float, ...]
    boundaries: tuple[float, ...]

    @property
    def one_mode_a_stage(self) -> bool:
        """Exactly one boundary between each two modes, and no other."""
        return [int(np.searchsorted(self.modes, b)) for b in self.boundaries] == list(range(1, len(self.modes)))


def linear_run(seed: int, progress: Callable[[int, int, str], None]) -> LinearRun:
    """Train a linear network, estimate its LLC against its own outputs, detect stages."""
    from estimators.checkpoints import discover
    from estimators.llc import SamplerConfig, estimate_llc
    from estimators.problem import load_problem
    from estimators.problems import train
    from slt.events import read_events

    with tempfile.TemporaryDirectory() as folder:
        train("linear_network", Path(folder) / "run", seed=seed, progress=progress)
        problem = load_problem("linear_network", {}, Path(folder))
        config = SamplerConfig(step_size=1e-4, localization=100, n_beta=10, chains=4, draws=300, reference="self")
        trajectory: Trajectory = estimate_llc(problem, discover(Path(folder) / "run"), config, progress=progress)
        modes = sorted(event.step for event in read_events(Path(folder) / "run" / "events.csv"))
    return LinearRun(seed, tuple(modes), tuple(boundary.step for boundary in detect_stages(trajectory).boundaries))
