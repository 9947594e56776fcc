"""Exact posterior over the ways to cut a curve into straight segments, and draws from it.

A segment of at least three points is `y = m + b (x - xbar) + N(0, s^2)` with `m ~ N(0, R^2)` and
`b ~ N(0, tau^2)`, independent of the other segments; each gap between points holds a knot with
probability 8/T. Recursions of Fearnhead, "Exact and efficient Bayesian inference for multiple
changepoint problems", Statistics and Computing 16 (2006), in log space, O(T^2).

Legend of shapes: B curves, T points, D draws, S segments of all draws one after the other.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

SHORTEST = 3
KNOTS_EXPECTED = 8.0
STEEPEST = 5.0  # prior sd of the slope, in ranges of y per range of x


class SegmentSums(NamedTuple):
    """Weighted sums over a segment, weights 1/s^2: A, xbar, A ybar, Sxx and Sxy."""

    weight: Floats
    center: Floats
    level: Floats
    spread: Floats
    product: Floats


class Segments(NamedTuple):
    """The segments of D drawn partitions, one after the other; half-open ranges of points."""

    draw_S: Ints
    first_S: Ints
    stop_S: Ints


class PartitionPosterior:
    """Posterior over partitions of B curves on one grid.

    Args:
        x_T: strictly increasing positions.
        y_BT: curves; they are centred here.
        noise_BT: standard deviation of each point's noise.
        knot_probability: prior probability of a knot in each gap; default 8/T, at most one half.

    Attributes:
        log_evidence_B: log of p(y) summed over all partitions (prior weights not normalised for the
            shortest length).
    """

    def __init__(self, x_T: Floats, y_BT: Floats, noise_BT: Floats, *, knot_probability: float | None = None) -> None:
        self.x_T = x_T - x_T.mean()
        self.offset_B = y_BT.mean(axis=1)
        self.y_BT = y_BT - self.offset_B[:, None]
        self.noise_BT = noise_BT
        points = len(x_T)
        knot = min(0.5, KNOTS_EXPECTED / points) if knot_probability is None else knot_probability
        self.log_knot, self.log_no_knot = np.log(knot), np.log1p(-knot)
        value_range_B = np.ptp(y_BT, axis=1)
        self.level_precision_B = value_range_B**-2.0
        self.slope_precision_B = (np.ptp(x_T) / (STEEPEST * value_range_B)) ** 2
        weight = noise_BT**-2.0
        x = np.broadcast_to(self.x_T, weight.shape)
        terms = np.stack([weight, weight * x, weight * x**2, weight * self.y_BT, weight * x * self.y_BT])
        self._prefix = np.concatenate([np.zeros((5, len(y_BT), 1)), np.cumsum(terms, axis=2)], axis=2)
        self._forward()

    def sums(self, curve: Ints | slice, first: Ints | slice, stop: Ints | slice) -> SegmentSums:
        """Sums over the points first..stop-1; the indices are broadcast against each other."""
        weight, wx, wxx, wy, wxy = self._prefix[:, curve, stop] - self._prefix[:, curve, first]
        center = wx / weight
        return SegmentSums(weight, center, wy, wxx - center * wx, wxy - center * wy)

    def segment_log_evidence(self, curve: Ints | slice, first: Ints | slice, stop: Ints | slice) -> Floats:
        """Log of p(y of one segment) over p(y | pure noise around the curve's mean)."""
        s = self.sums(curve, first, stop)
        level_precision = self.level_precision_B[curve]
        slope_precision = self.slope_precision_B[curve]
        if isinstance(curve, slice):  # keep the axis of curves in front
            level_precision, slope_precision = level_precision[:, None], slope_precision[:, None]
        level, slope = s.weight + level_precision, s.spread + slope_precision
        gain = s.level**2 / level + s.product**2 / slope
        return np.asarray(0.5 * (gain - np.log(level / level_precision * (slope / slope_precision))))

    def _forward(self) -> None:
        """Fill `_last_BTT[b, e, s]`, the joint log weight of a last segment s..e-1 and all before it."""
        curves, points = self.y_BT.shape
        self._last_BTT = np.full((curves, points + 1, points + 1), -np.inf)
        self._total_BT = np.full((curves, points + 1), -np.inf)
        self._total_BT[:, 0] = 0.0
        knot = np.full(points + 1, self.log_knot)
        knot[0] = 0.0
        everything = slice(None)
        for stop in range(SHORTEST, points + 1):
            first = np.arange(stop - SHORTEST + 1)
            evidence = self.segment_log_evidence(everything, slice(0, len(first)), slice(stop, stop + 1))
            last = evidence + self._total_BT[:, first] + (knot[first] + (stop - 1 - first) * self.log_no_knot)
            self._last_BTT[:, stop, : len(first)] = last
            top = last.max(axis=1)
            self._total_BT[:, stop] = top + np.log(np.exp(last - top[:, None]).sum(axis=1))

    @property
    def log_evidence_B(self) -> Floats:
        """(B,) log p(y), all constants included."""
        noise_only = -0.5 * ((self.y_BT / self.noise_BT) ** 2 + np.log(2 * np.pi * self.noise_BT**2)).sum(axis=1)
        return np.asarray(self._total_BT[:, -1] + noise_only)

    @cached_property
    def knot_probability_BT(self) -> Floats:
        """(B, T) posterior probability that a segment begins at each point (1 at the first), by backward recursion."""
        curves, points = self.y_BT.shape
        after = np.full((curves, points + 1), -np.inf)
        after[:, points] = 0.0
        for first in range(points - SHORTEST, -1, -1):
            stops = np.arange(first + SHORTEST, points + 1)
            with np.errstate(invalid="ignore"):
                conditional = self._last_BTT[:, stops, first] - self._total_BT[:, first, None] + after[:, stops]
            conditional = np.where(np.isfinite(conditional), conditional, -np.inf)
            top = conditional.max(axis=1)
            finite = np.isfinite(top)
            shifted = conditional[finite] - top[finite, None]
            after[finite, first] = top[finite] + np.log(np.exp(shifted).sum(axis=1))
        return np.asarray(np.exp(self._total_BT + after - self._total_BT[:, -1:])[:, :points])

    def draw(self, rng: np.random.Generator, count: int) -> Segments:
        """`count` partitions of each curve, drawn backwards; draw d belongs to curve d // count."""
        curves, points = self.y_BT.shape
        curve = np.repeat(np.arange(curves), count)
        begins_DT = np.zeros((len(curve), points), dtype=bool)
        open_D, stop_D = np.arange(len(curve)), np.full(len(curve), points)
        while len(open_D):
            log_weight = self._last_BTT[curve[open_D], stop_D] - self._total_BT[curve[open_D], stop_D][:, None]
            cumulative = np.cumsum(np.exp(log_weight), axis=1)
            target = rng.random(len(open_D)) * cumulative[:, -1]
            first_D = (cumulative <= target[:, None]).sum(axis=1)
            begins_DT[open_D, first_D] = True
            open_D, stop_D = open_D[first_D > 0], first_D[first_D > 0]
        draw_S, first_S = np.nonzero(begins_DT)
        follows = np.append(draw_S[1:] == draw_S[:-1], False)
        return Segments(draw_S, first_S, np.where(follows, np.append(first_S[1:], 0), points))
