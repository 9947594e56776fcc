"""Scores of found landmarks against true ones.

Legend of shapes: F found positions, K true positions, in decades.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

Floats = NDArray[np.float64]

TOLERANCE = 0.10
"""Decades within which a found landmark is the true one: a factor 1.26 in steps."""


def pairs(found_F: ArrayLike, true_K: ArrayLike, tolerance: float = TOLERANCE) -> list[tuple[int, int]]:
    """One-to-one pairs within the tolerance: as many as there can be, then the closest."""
    distance = np.abs(np.subtract.outer(np.asarray(found_F, dtype=float), np.asarray(true_K, dtype=float)))
    near = distance <= tolerance + 1e-12  # a distance of exactly the tolerance may be off in its last bit
    never = 1.0 + tolerance * (1 + distance.size)  # one pair more outweighs any sum of distances
    rows, columns = linear_sum_assignment(np.where(near, distance, never))
    return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if near[i, j]]


@dataclass(frozen=True)
class Counts:
    """How many landmarks are right, how many were found, how many there are; adds up over curves."""

    right: int = 0
    found: int = 0
    true: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.right + other.right, self.found + other.found, self.true + other.true)

    @property
    def precision(self) -> float:
        return self.right / self.found if self.found else 1.0

    @property
    def recall(self) -> float:
        return self.right / self.true if self.true else 1.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 1 where there is nothing and nothing was found."""
        return 2 * self.right / (self.found + self.true) if self.found + self.true else 1.0


def count(found_F: ArrayLike, true_K: ArrayLike, tolerance: float = TOLERANCE) -> Counts:
    """The counts of one curve."""
    return Counts(len(pairs(found_F, true_K, tolerance)), np.size(found_F), np.size(true_K))


def total(counts: Sequence[Counts]) -> Counts:
    """Pooled over curves: every landmark weighs the same."""
    return sum(counts, Counts())


def f1_error(counts: Sequence[Counts]) -> float:
    """Standard error of the pooled F1 over curves, by the jackknife."""
    if len(counts) < 2:
        return float("nan")
    whole = total(counts)
    without = [Counts(whole.right - c.right, whole.found - c.found, whole.true - c.true).f1 for c in counts]
    return float(np.sqrt((len(counts) - 1) * np.var(without)))


def hausdorff(found_F: ArrayLike, true_K: ArrayLike, span: tuple[float, float]) -> float:
    """Largest distance from a cut to the nearest cut of the other list; the ends of the curve are cuts of both."""
    a, b = (np.concatenate([span, np.ravel(cuts)]) for cuts in (found_F, true_K))
    distance = np.abs(np.subtract.outer(a, b))
    return float(max(distance.min(axis=0).max(), distance.min(axis=1).max()))


def covering(found_F: ArrayLike, true_K: ArrayLike, span: tuple[float, float]) -> float:
    """Mean overlap (intersection over union) of each true stage with the found stage that fits it best.

    Weighted by the true stages' lengths: the covering metric of Arbelaez et al. (PAMI 2011), in decades.
    """
    mine, true = (np.concatenate([span[:1], np.sort(np.ravel(cuts)), span[1:]]) for cuts in (found_F, true_K))
    start, end = (np.array(ends) for ends in (mine[:-1], mine[1:]))
    covered = 0.0
    for left, right in pairwise(true):
        common = np.clip(np.minimum(end, right) - np.maximum(start, left), 0.0, None)
        union = (end - start) + (right - left) - common
        covered += (right - left) * (common / np.maximum(union, 1e-12)).max()
    return float(covered / (true[-1] - true[0]))


def inside(low_F: ArrayLike, high_F: ArrayLike, found_F: ArrayLike, true_K: ArrayLike) -> list[bool]:
    """Of the found that are paired within twice the tolerance: does the interval hold the truth?

    Twice, so that a landmark which the score calls wrong by its distance can still be seen to miss its interval.
    """
    low, high, true = (np.asarray(values, dtype=float) for values in (low_F, high_F, true_K))
    return [bool(low[i] <= true[j] <= high[i]) for i, j in pairs(found_F, true_K, 2 * TOLERANCE)]


@dataclass(frozen=True)
class Bin:
    """Claims whose probability lies in low..high: how many, their mean, and the share that was right."""

    low: float
    high: float
    claims: int
    stated: float
    observed: float


def calibration(probability_F: ArrayLike, right_F: ArrayLike, edges: Sequence[float]) -> list[Bin]:
    """Stated against observed, per bin of stated probability; the last bin holds its upper edge. Empty bins: NaN."""
    probability, right = np.asarray(probability_F, dtype=float), np.asarray(right_F, dtype=float)
    bins = []
    for low, high in pairwise(edges):
        member = (probability >= low) & ((probability < high) | ((high == edges[-1]) & (probability == high)))
        size = int(member.sum())
        stated, observed = (float(v[member].mean()) if size else float("nan") for v in (probability, right))
        bins.append(Bin(low, high, size, stated, observed))
    return bins
