"""Runs fed point by point: when boundaries settle, and whether the whole curve has them too."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from multiprocessing import get_context

import numpy as np

from benchmarks.stages.cells import Floats, seed
from benchmarks.stages.figures import Figure, share
from benchmarks.stages.scores import TOLERANCE, pairs
from slt.online import OnlineDetector
from slt.stages import detect_stages
from slt.synthetic import Sampling, smooth_steps

MARK = 0.15  # decades that a boundary may take to settle, in the median
DENSE = 2001
SAMPLINGS = tuple(Sampling(points=points, noise=noise) for points, noise in product((100, 200), (0.002, 0.01)))


@dataclass(frozen=True, eq=False)
class OnlineRun:
    """One run, in decades: boundaries when settled and where, those of the whole curve, and the truth.

    `missing` settled boundaries were not among those found at some later checkpoint; `hidden` is, for each true one,
    how little there is to see 0.15 decades after it (`_hidden`).
    """

    places: Floats
    settled: Floats
    whole: Floats
    boundaries: Floats
    onsets: Floats
    missing: int
    hidden: Floats


@dataclass(frozen=True, eq=False)
class Online:
    """Several runs.

    Attributes:
        count, taken_back: settled boundaries, and those that the whole curve has not within 0.10 decades, one to one.
        missing: those that the curve had not at some later checkpoint.
        precision, recall: share of the settled near a true boundary, and of the true that settled.
        after_boundary, after_onset: decades from the true boundary, and from the true onset after it, to settling.
    """

    runs: tuple[OnlineRun, ...]

    @cached_property
    def taken_back(self) -> int:
        return sum(len(run.places) - len(pairs(run.places, run.whole)) for run in self.runs)

    @cached_property
    def missing(self) -> int:
        return sum(run.missing for run in self.runs)

    @cached_property
    def count(self) -> int:
        return sum(len(run.places) for run in self.runs)

    @cached_property
    def _right(self) -> list[tuple[OnlineRun, int, int]]:
        return [(run, i, j) for run in self.runs for i, j in pairs(run.places, run.boundaries)]

    @property
    def precision(self) -> Figure:
        return share([True] * len(self._right) + [False] * (self.count - len(self._right)))

    @property
    def recall(self) -> Figure:
        true = sum(len(run.boundaries) for run in self.runs)
        return share([True] * len(self._right) + [False] * (true - len(self._right)))

    @property
    def after_boundary(self) -> float:
        return float(np.median([run.settled[i] - run.boundaries[j] for run, i, j in self._right]))

    @property
    def after_onset(self) -> float:
        return float(np.median([run.settled[i] - run.onsets[j] for run, i, j in self._right]))

    @property
    def wait(self) -> float:
        """What nobody can be spared: from a boundary to the onset that makes it one."""
        return float(np.median([run.onsets[j] - run.boundaries[j] for run, _, j in self._right]))

    @property
    def hidden(self) -> float:
        """Noise levels, median over true boundaries."""
        return float(np.median(np.concatenate([run.hidden for run in self.runs])))


def online(runs: int, processes: int) -> Online:
    """Feed smooth curves with odd seeds, 100 and 200 checkpoints, noise 0.2 and 1 % of the range, in turn."""
    with get_context("spawn").Pool(processes) as pool:
        return Online(tuple(pool.map(_run, range(runs), chunksize=1)))


def _run(number: int) -> OnlineRun:
    sampling, of = SAMPLINGS[number % len(SAMPLINGS)], seed(number, 1)
    made = smooth_steps(sampling, seed=of)
    detector, missing = OnlineDetector(), set[int]()
    for step, value in zip(made.trajectory.steps, made.trajectory.llc, strict=True):
        settled = detector.update(float(step), float(value))
        if settled and detector.stages:
            now = np.log10([boundary.step for boundary in detector.stages.boundaries])
            found = {i for i, _ in pairs(np.log10([each.boundary.step for each in settled]), now)}
            missing |= set(range(len(settled))) - found
    whole = [boundary.step for boundary in detect_stages(made.trajectory).boundaries]
    lists = (
        [settled.boundary.step for settled in detector.settled],
        [settled.at for settled in detector.settled],
        whole,
        made.boundaries,
        made.onsets,
    )
    known = (np.log10(np.array(steps, dtype=float)) for steps in lists)
    return OnlineRun(*known, len(missing), _hidden(sampling, of))


def _hidden(sampling: Sampling, of: int) -> Floats:
    """(K,) noise levels by which the curve has left the straight line through its rest, 0.15 decades after it."""
    clean = smooth_steps(replace(sampling, points=DENSE, noise=0.0), seed=of)
    x_G, y_G, rest = np.log10(clean.trajectory.steps), clean.trajectory.llc, np.log10(clean.boundaries)
    line = np.interp(rest, x_G, y_G) + MARK * np.interp(rest, x_G, np.gradient(y_G, x_G))
    return np.asarray(np.abs(np.interp(rest + MARK, x_G, y_G) - line) / sampling.noise)


def sentence(result: Online) -> str:
    """The section of the report."""
    return (
        f"{len(result.runs)} smooth curves with 0.2 and 1 % noise, 100 and 200 checkpoints, fed point by point to "
        f"`slt.online.OnlineDetector`: {result.count} boundaries settled. A settled boundary stays reported, so what "
        f"counts is whether it is still found, within {TOLERANCE:.2f} decades: {result.missing} were missing at some "
        f"later checkpoint, {result.taken_back} on the whole curve (`detect_stages`, all defaults). "
        f"{result.precision.value:.1%} are near a true boundary, and "
        f"{result.recall.value:.1%} of the true ones settled before the curve ended. Median delay: "
        f"{result.after_onset:.2f} decades after the next burst reached half of its speed, {result.after_boundary:.2f} "
        "after the true boundary itself. The mark is held against the first: a boundary is the rest before a burst, "
        "and until that burst comes it cannot be told from the end of all development. The burst's onset alone comes "
        f"{result.wait:.2f} decades after the boundary (median); {MARK} decades after it, the curve without noise has "
        f"left the straight line through its rest by {result.hidden:.1f} noise levels (median)."
    )
