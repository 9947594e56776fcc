"""From outcomes to figures: one method's scores, and the rows that DESIGN section 3 asks for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.stages.cells import OTHER_FIRST, SPAN, Spec, changes
from benchmarks.stages.methods import Found
from benchmarks.stages.plan import Plan
from benchmarks.stages.scores import (
    Bin,
    Counts,
    calibration,
    count,
    covering,
    f1_error,
    hausdorff,
    inside,
    pairs,
    total,
)
from benchmarks.stages.work import Chosen, Outcome, Task, counts, landmarks

EDGES = (0.2, 0.35, 0.5, 0.75, 0.9, 1.0)
SURE = 0.75


@dataclass(frozen=True)
class Figure:
    """A measured value with its standard error over curves (NaN where it has none)."""

    value: float
    error: float = float("nan")


@dataclass(frozen=True, eq=False)
class Scores:
    """The scores of one chosen method."""

    plan: Plan
    chosen: Chosen
    outcomes: Mapping[Task, Outcome]

    def outcome(self, spec: Spec) -> Outcome:
        return self.outcomes[Task(self.chosen.method.name, spec, self.chosen.knob)]

    def found(self, spec: Spec) -> Found:
        return self.outcome(spec).found[self.chosen.reading]

    def counts(self, specs: Iterable[Spec]) -> list[Counts]:
        return [counts(spec, self.outcome(spec), self.chosen.reading) for spec in specs]

    def f1(self, specs: Iterable[Spec]) -> Figure:
        each = self.counts(specs)
        return Figure(total(each).f1, f1_error(each))

    def false_alarms(self, specs: Sequence[Spec]) -> Figure:
        """Share of curves with a boundary."""
        return share([len(self.found(spec).boundaries) > 0 for spec in specs])

    def partition(self, specs: Iterable[Spec]) -> tuple[float, float]:
        """Means over curves of Hausdorff distance (decades) and covering."""
        lists = [landmarks(spec, self.outcome(spec), self.chosen.reading) for spec in specs]
        return (
            float(np.mean([hausdorff(found, true, SPAN) for found, true in lists])),
            float(np.mean([covering(found, true, SPAN) for found, true in lists])),
        )

    def agreement(self, whole: Iterable[Spec], change: str, draws: int = 1) -> Figure:
        """Pooled F1 of the boundaries after a change against those before it."""
        changed = [spec for spec in changes(whole, draws) if spec.change == change]
        each = [count(self.found(spec).boundaries, self.found(spec.whole).boundaries) for spec in changed]
        return Figure(total(each).f1, f1_error(each))

    def coverage(self, specs: Sequence[Spec], kind: str) -> Figure:
        """Share of 90 % intervals that hold the truth; kind "boundary" or "onset"."""
        held: list[bool] = []
        for spec in specs:
            found, outcome = self.found(spec), self.outcome(spec)
            if kind == "boundary":
                held += inside(found.boundary_low, found.boundary_high, found.boundaries, outcome.boundaries)
            else:
                held += inside(found.onset_low, found.onset_high, found.onsets, outcome.onsets)
        return share(held)

    def calibration(self, specs: Iterable[Spec], edges: Sequence[float] = EDGES) -> list[Bin]:
        """Stated probability of boundaries against the share that are near a true one, one to one."""
        stated, right = [np.empty(0)], [np.empty(0)]
        for spec in specs:
            found = self.found(spec)
            hit = np.zeros(len(found.claims))
            hit[[i for i, _ in pairs(found.claims, self.outcome(spec).boundaries)]] = 1.0
            stated.append(found.probability)
            right.append(hit)
        return calibration(np.concatenate(stated), np.concatenate(right), edges)

    def published(self, spec: Spec) -> Counts:
        """Against the published stage ends, the first in whichever of the authors' readings is nearer."""
        found, true = self.found(spec).boundaries, self.outcome(spec).boundaries
        other = np.concatenate([[np.log10(OTHER_FIRST)], true[1:]])
        return max((count(found, reading) for reading in (true, other)), key=lambda c: c.right)

    def milliseconds(self, specs: Iterable[Spec]) -> float:
        """Median over curves, of the fit."""
        return 1000 * float(np.median([self.outcome(spec).seconds for spec in specs]))


def share(flags: Sequence[bool]) -> Figure:
    """A proportion and its standard error."""
    if not flags:
        return Figure(float("nan"))
    p = float(np.mean(flags))
    return Figure(p, float(np.sqrt(p * (1 - p) / len(flags))))
