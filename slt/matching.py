"""One-to-one matching of events with landmarks, and the lag between the two with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from slt.events import CircuitEvent
from slt.stages import Landmark, Stages
from slt.trajectory import Floats, Trajectory

REACH = 0.4
"""Decades beyond which an event and a landmark are not one happening: as far as published readings of one boundary."""
FIRST_CLASS = 0.5
LAG_DRAWS = 4000


@dataclass(frozen=True)
class Match:
    """An event and the landmark assigned to it.

    Attributes:
        event, group, event_step: the event.
        landmark: "onset" or "boundary".
        landmark_step: the landmark's step.
        lag_decades: log10(landmark_step / event_step); negative if the landmark comes first.
        low, high: 90 % interval of the lag.
        relation: of the landmark to the event. "leads" or "lags" if the interval excludes 0 and the lag exceeds
            half the local gap between checkpoints; else "together" if the interval lies within the tolerance;
            else "undecided".
    """

    event: str
    group: str
    event_step: float
    landmark: str
    landmark_step: float
    lag_decades: float
    low: float
    high: float
    relation: str


@dataclass(frozen=True, eq=False)
class Dated:
    """A probable landmark at a positive step: its draws, and the index of its boundary (None: the first onset)."""

    landmark: Landmark
    draws: Floats
    boundary: int | None


def boundaries_of(stages: Stages) -> list[Dated]:
    """The boundaries of first class, whatever probability that was taken to mean, that a logarithm can place."""
    found = [Dated(b, _column(stages.boundary_draws, i), i) for i, b in enumerate(stages.boundaries)]
    return [dated for dated in found if dated.landmark.step > 0]


def onsets_of(stages: Stages) -> list[Dated]:
    """The probable onsets: of the first burst, and after each boundary of first class."""
    found = [Dated(stages.first_onset, stages.first_onset_draws, None)] if stages.first_onset else []
    found += [Dated(b.onset, _column(stages.onset_draws, i), i) for i, b in enumerate(stages.boundaries) if b.onset]
    return _probable(found)


def positions(landmarks: Sequence[Dated]) -> Floats:
    """(M,) log10 of the landmarks' steps."""
    return np.asarray(np.log10([dated.landmark.step for dated in landmarks]), dtype=float)


def match_events(
    kind: str,
    landmarks: Sequence[Dated],
    events: Sequence[CircuitEvent],
    trajectory: Trajectory | None,
    tolerance: float,
    rng: np.random.Generator,
) -> list[tuple[Match, Dated]]:
    """The assignment with the least total distance in decades; pairs farther than 0.4 decades apart are none.

    Args:
        kind: "onset" or "boundary".
        landmarks: what events are matched with.
        events: at positive steps.
        trajectory: where the gaps between checkpoints are read; without it each landmark's own interval, which
            the detector widened by half the gap, stands for its draws.
        tolerance: decades within which the two are "together".
        rng: of the draws of events' own intervals.
    """
    from scipy.optimize import linear_sum_assignment

    date_E = np.log10(np.array([event.step for event in events], dtype=float))
    lag_EM = positions(landmarks)[None] - date_E[:, None]
    pairs = zip(*linear_sum_assignment(np.minimum(np.abs(lag_EM), REACH)), strict=True)
    result = []
    for e, m in pairs:
        lag, event, dated = float(lag_EM[e, m]), events[e], landmarks[m]
        if abs(lag) >= REACH:
            continue
        half_gap = _half_gap(trajectory, dated.landmark.step)
        draws = _landmark_draws(dated, trajectory, rng) - _spread(event.step, event.low, event.high, rng)
        low, high = (float(q) for q in np.quantile(draws, (0.05, 0.95)) + half_gap * np.array([-1, 1]))
        relation = _relation(lag, low, high, half_gap, tolerance)
        match = Match(event.name, event.group, event.step, kind, dated.landmark.step, lag, low, high, relation)
        result.append((match, dated))
    return result


def _relation(lag: float, low: float, high: float, half_gap: float, tolerance: float) -> str:
    if (low > 0 or high < 0) and abs(lag) > half_gap:
        return "lags" if lag > 0 else "leads"
    return "together" if -tolerance <= low and high <= tolerance else "undecided"


def _half_gap(trajectory: Trajectory | None, step: float) -> float:
    """Half the gap, in decades, between the checkpoints around a step; 0 if they are not known."""
    if trajectory is None:
        return 0.0
    x = np.log10(trajectory.steps[trajectory.steps > 0])
    right = int(np.clip(np.searchsorted(x, np.log10(step)), 1, len(x) - 1))
    return float(x[right] - x[right - 1]) / 2


def _landmark_draws(dated: Dated, trajectory: Trajectory | None, rng: np.random.Generator) -> Floats:
    draws = dated.draws[np.isfinite(dated.draws) & (dated.draws > 0)]
    if trajectory is None or not len(draws):
        return _spread(dated.landmark.step, dated.landmark.low, dated.landmark.high, rng)
    return np.asarray(np.log10(rng.choice(draws, LAG_DRAWS)))


def _spread(step: float, low: float | None, high: float | None, rng: np.random.Generator) -> Floats:
    """Draws of log10(step) from two half normals whose joint 90 % interval is low..high."""
    middle = np.log10(step)
    below = middle - np.log10(max(low, step / 1e3)) if low is not None else 0.0
    above = np.log10(high) - middle if high is not None else 0.0
    z = rng.standard_normal(LAG_DRAWS) / 1.645
    return np.asarray(middle + np.where(z < 0, below, above) * z)


def _column(draws: Floats, index: int) -> Floats:
    return draws[:, index] if len(draws) else np.empty(0)


def _probable(landmarks: Sequence[Dated]) -> list[Dated]:
    return [dated for dated in landmarks if dated.landmark.probability >= FIRST_CLASS and dated.landmark.step > 0]
