"""Several gauges of one training run, or one gauge of several runs: which of them sees which boundary.

A gauge is a curve over training: the LLC, an LLC restricted to a part of the model, a measure, another seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from slt.errors import TrajectoryError
from slt.stages import FIRST_CLASS, Landmark, Stages, detect_stages
from slt.trajectory import Trajectory

TOLERANCE = 0.10
"""Decades that the boundaries of different gauges may span and still be one: a factor 1.26 in steps."""


@dataclass(frozen=True)
class SharedBoundary:
    """One boundary and who sees it.

    Attributes:
        step: median over the gauges that see it with a probability of at least one half.
        seen: per gauge, its own boundary; gauges that see none are missing.
    """

    step: float
    seen: Mapping[str, Landmark]

    @property
    def alone(self) -> str | None:
        """The only gauge that sees it, or None if several do."""
        return next(iter(self.seen)) if len(self.seen) == 1 else None


@dataclass(frozen=True)
class Gauges:
    """The table: a row per boundary in order of step, a column per gauge.

    Attributes:
        names: gauges that stages could be detected in.
        boundaries: those that at least one gauge sees with a probability of one half.
        unusable: gauges without stages, and why.
        tolerance: decades within which boundaries of different gauges are one.
    """

    names: tuple[str, ...]
    boundaries: tuple[SharedBoundary, ...]
    unusable: Mapping[str, str]
    tolerance: float = TOLERANCE

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Gauges:
        """The inverse of `to_dict`."""
        rows = (
            SharedBoundary(entry["step"], {name: Landmark(**seen) for name, seen in entry["seen"].items()})
            for entry in document["boundaries"]
        )
        return cls(tuple(document["names"]), tuple(rows), dict(document["unusable"]), document["tolerance"])


def gauges(
    trajectories: Mapping[str, Trajectory],
    *,
    known: Mapping[str, Stages] | None = None,
    axis: str = "log",
    draws: int = 400,
    seed: int = 0,
) -> Gauges:
    """Detect the stages of each curve, and put the boundaries together.

    Args:
        trajectories: by gauge.
        known: gauges whose stages are known already; their columns come first.
        axis, draws, seed: as for `detect_stages`.
    """
    found, unusable = dict(known or {}), {}
    for name, trajectory in trajectories.items():
        try:
            found[name] = detect_stages(trajectory, axis=axis, draws=draws, seed=seed)
        except TrajectoryError as error:
            unusable[name] = str(error)
    return compare_gauges(found, unusable)


def compare_gauges(
    stages: Mapping[str, Stages], unusable: Mapping[str, str] | None = None, *, tolerance: float = TOLERANCE
) -> Gauges:
    """Put boundaries of different gauges together, the closest first.

    A row takes at most one boundary of each gauge and spans at most the tolerance. Tentative boundaries
    support a row, but make none.

    Args:
        stages: by gauge.
        unusable: gauges that have no stages, and why.
        tolerance: decades.
    """
    rows = [
        {name: Landmark(each.step, each.low, each.high, each.probability)}
        for name, found in stages.items()
        for each in (*found.boundaries, *found.tentative)
        if each.step > 0
    ]
    while pairs := [(_span(a | b), i, j) for (i, a), (j, b) in combinations(enumerate(rows), 2) if not a.keys() & b]:
        span, i, j = min(pairs)
        if span > tolerance:
            break
        rows[i] |= rows.pop(j)
    shared = []
    for row in rows:
        sure = [mark.step for mark in row.values() if mark.probability >= FIRST_CLASS]
        if sure:
            shared.append(SharedBoundary(float(np.median(sure)), {name: row[name] for name in stages if name in row}))
    shared.sort(key=lambda boundary: boundary.step)
    return Gauges(tuple(stages), tuple(shared), dict(unusable or {}), tolerance)


def _span(row: Mapping[str, Landmark]) -> float:
    return float(np.ptp(np.log10([mark.step for mark in row.values()])))
