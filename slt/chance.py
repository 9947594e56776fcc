"""What chance alone would do: the local jitter test, the seed shuffle, Holm's correction. Positions are log10 steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from typing import NamedTuple

import numpy as np

from slt.trajectory import Floats

JITTER = 0.4
"""Decades. Published readings of one boundary by two methods differ by up to as much (Hoogland et al., TMLR 2025)."""
DRAWS = 4999
CLOSE = 0.05
"""Decades between an event and its landmark at which the power of the test is stated."""
MIN_EVENTS = 3


class JitterTest(NamedTuple):
    """Position statistic, its p-value, and the p-value had each event lain CLOSE to a landmark."""

    statistic: float
    p_value: float
    p_if_close: float


@dataclass(frozen=True)
class GroupTest:
    """The jitter test of one group of events.

    Attributes:
        group: the group's name.
        events: how many of its events could be placed.
        landmark: "onset", or "boundary" where the stages have no onset: what the events are tested against.
        statistic: mean distance to the nearest landmark, in decades.
        p_value: of the jitter test; None with fewer than 3 events or without landmarks.
        p_holm: the same, corrected for the number of groups tested.
        note: why there is no p-value, or what the test could have found.
    """

    group: str
    events: int
    landmark: str
    statistic: float | None
    p_value: float | None
    p_holm: float | None
    note: str


def group_tests(
    dates: Mapping[str, Floats], landmark: str, landmarks_M: Floats, low: float, high: float, rng: np.random.Generator
) -> tuple[GroupTest, ...]:
    """The jitter test of each group with enough events, Holm-corrected for the number of groups tested.

    Args:
        dates: per group, log10 steps of its events.
        landmark: what the landmarks are called.
        landmarks_M: log10 steps of the landmarks.
        low, high: the observed range, log10 steps.
        rng: of the jitter.
    """
    tests = [_group_test(group, dates[group], landmark, landmarks_M, low, high, rng) for group in dates]
    corrected = iter(holm([test.p_value for test in tests if test.p_value is not None]))
    return tuple(test if test.p_value is None else replace(test, p_holm=next(corrected)) for test in tests)


def _group_test(
    group: str, dates_E: Floats, landmark: str, landmarks_M: Floats, low: float, high: float, rng: np.random.Generator
) -> GroupTest:
    count = len(dates_E)
    if not len(landmarks_M) or not count:
        missing = f"the stages have no {landmark}" if count else "no event of this group can be placed"
        return GroupTest(group, count, landmark, None, None, None, f"No p-value: {missing}.")
    test = jitter_test(dates_E, landmarks_M, low, high, rng)
    if count < MIN_EVENTS:
        note = f"No p-value: with {count} of the {MIN_EVENTS} events that it takes, a match cannot be told from chance."
        return GroupTest(group, count, landmark, test.statistic, None, None, note)
    note = (
        f"{count} events against {len(landmarks_M)} {landmark} positions; had each event lain {CLOSE} decades from "
        f"one, p would be {test.p_if_close:.2g}"
    )
    note += "." if test.p_if_close <= 0.05 else ": too few, or too crowded, for this test to find anything."
    return GroupTest(group, count, landmark, test.statistic, test.p_value, None, note)


def position_statistic(events_E: Floats, landmarks_RM: Floats) -> Floats:
    """(R,) mean over events of the distance to the nearest of M landmarks, in decades, for R sets of landmarks."""
    return np.asarray(np.abs(events_E[:, None] - landmarks_RM[:, None, :]).min(axis=2).mean(axis=1))


def jitter_test(events_E: Floats, landmarks_M: Floats, low: float, high: float, rng: np.random.Generator) -> JitterTest:
    """Do landmarks lie closer to events than landmarks moved by up to 0.4 decades would?

    Only the exact positions are tested: that both crowd late in training is kept, which uniform permutation
    and circular shift destroy. Moved landmarks are reflected at the ends of the observed range; without that,
    those near the end leave for where no event can be. Measured where both are uniform in the step itself: size
    0.03 to 0.05 (without reflection 0.05 to 0.07), power 0.93 for 4 events within 0.05 decades.
    One-sided; p = (1 + count) / (1 + draws).
    """
    moved = landmarks_M + rng.uniform(-JITTER, JITTER, size=(DRAWS, len(landmarks_M)))
    moved = high - np.abs(high - moved)
    moved = low + np.abs(moved - low)
    by_chance = position_statistic(events_E, moved)
    statistic = float(position_statistic(events_E, landmarks_M[None])[0])

    def p_value(value: float) -> float:
        return (1 + int((by_chance <= value).sum())) / (1 + DRAWS)

    return JitterTest(statistic, p_value(statistic), p_value(CLOSE))


def shuffle_test(distance_RR: Floats, rng: np.random.Generator) -> float:
    """P-value of the diagonal of a runs x runs table of distances being small, against all ways to pair the runs.

    Exact up to 7 runs, 4,999 random pairings above.
    """
    runs = len(distance_RR)
    observed = np.trace(distance_RR)
    exact = math.factorial(runs) <= math.factorial(7)
    pairings = permutations(range(runs)) if exact else (rng.permutation(runs) for _ in range(DRAWS))
    totals = np.array([distance_RR[np.arange(runs), list(pairing)].sum() for pairing in pairings])
    as_small = int((totals <= observed * (1 + 1e-12)).sum())  # sums in another order differ in the last bit
    return as_small / len(totals) if exact else (1 + as_small) / (1 + len(totals))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number (Holm 1979)."""
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def share_near(landmarks_M: Floats, low: float, high: float, tolerance: float) -> float:
    """Share of the range low..high that lies within the tolerance of a landmark: the chance that an event is seen."""
    if high <= low:
        return float("nan")
    covered, reached = 0.0, low
    for position in np.sort(landmarks_M):
        start, end = max(position - tolerance, reached), min(position + tolerance, high)
        covered += max(end - start, 0.0)
        reached = max(reached, end)
    return float(covered / (high - low))
