"""Draws of a curve and its slope under two views of it: straight pieces, and a slope that changes smoothly.

Either view alone is wrong somewhere: pieces miss shelves where noise is large, a smooth slope rings at kinks and
between rests of unequal length. The evidence of the two says which is the better; pieces keep a share of the draws in
any case, so that no boundary which the smooth slope sees alone is certain. A spike that neither view can follow would
have the smooth slope ring all over the curve; where neither does, points count less, as under heavy-tailed noise.

Legend of shapes: B curves, T points, I gaps between points, D draws, G cells of a uniform grid, M landmarks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slt.caveats import RANGE_IN_NOISE, range_in_noise
from slt.curves import Curve
from slt.noise import curve_noise
from slt.partitions import PartitionPosterior
from slt.persistence import Minima, burst_maxima, burst_onsets, persistent_minima
from slt.slope_process import SlopeProcess
from slt.slopes import draw_lines, hann, on_grid

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

RESAMPLES = 10
CELLS = 300
WINDOW = 0.06  # decades; half-width of the window on the slope
SMOOTH_SHARE = 0.6  # most of the draws that a smooth slope may have
SURE_CHANGE = 8.0  # posterior sd of the curve that a burst must amount to: less is how a draw wanders
OUTLYING = 5.0  # noise by which neither view's mean follows a point
TAIL = 4.0  # degrees of freedom of the Student's t that such a point's noise has
REFITS = 4
NOISE_ALONE = 0.45  # factor on probabilities where noise that lasts makes such a curve by itself: below one half


@dataclass(frozen=True, eq=False)
class CurveDraws:
    """D draws from the posterior of a curve.

    Attributes:
        fitted_T: the posterior mean at the points.
        outlying_T: the points that neither view follows in most resampled curves; they count for less.
        slope_DI: slopes in the gaps between points.
        smooth_DG: slopes on the grid, windowed.
        edges_G1: edges of the grid's cells.
        smallest_DG: change of the curve that counts as a burst, by where it is.
        trust: probability that the curve is more than noise, as a factor on that of its landmarks.
    """

    fitted_T: Floats
    outlying_T: NDArray[np.bool_]
    slope_DI: Floats
    smooth_DG: Floats
    edges_G1: Floats
    smallest_DG: Floats
    trust: float

    def __len__(self) -> int:
        return len(self.smooth_DG)

    @property
    def cell(self) -> float:
        """Width of a cell."""
        return float(self.edges_G1[1] - self.edges_G1[0])

    def minima(self) -> Minima:
        """The persistent minima of each draw's speed."""
        return persistent_minima(self.smooth_DG, self.smallest_DG / self.cell)

    def middle(self, cell: Floats | Ints) -> Floats:
        """Positions of (possibly fractional) cells' middles."""
        return np.interp(cell + 0.5, np.arange(len(self.edges_G1)), self.edges_G1)

    def onset(self, draw_M: Ints, from_M: Ints, until_M: Ints, curve: Curve) -> Floats:
        """The middle of the gap between checkpoints in which the bursts begin: where in the gap, nobody saw."""
        greatest_M = burst_maxima(np.abs(self.smooth_DG), draw_M, from_M, until_M)
        middle_I = curve.middle_I
        first_M, stop_M = (np.searchsorted(middle_I, self.edges_G1[cell]) for cell in (from_M, until_M))
        first_M = np.minimum(first_M, len(middle_I) - 1)
        return np.asarray(middle_I[burst_onsets(np.abs(self.slope_DI), greatest_M, draw_M, first_M, stop_M)])


def draw_curves(curve: Curve, draws: int, rng: np.random.Generator) -> CurveDraws:
    """Draw from the posterior; chains are resampled whole where there are at least four."""
    y_BT = curve.resampled(RESAMPLES, rng)
    per_curve = max(1, draws // len(y_BT))
    noise_BT = curve_noise(curve.x_T, y_BT, curve.chains_TC)
    usual_BT = noise_BT
    parts = _of_both_views(curve.x_T, y_BT, noise_BT, per_curve, rng)
    for _ in range(REFITS):
        off_BT = np.min([np.abs(y_BT - _means(value_DT, len(y_BT))) for value_DT, _, _ in parts], axis=0)
        outlying_BT = off_BT > OUTLYING * noise_BT
        if not outlying_BT.any():
            break
        noise_BT = np.where(outlying_BT, np.sqrt((TAIL * noise_BT**2 + off_BT**2) / (TAIL + 1)), noise_BT)
        parts = _of_both_views(curve.x_T, y_BT, noise_BT, per_curve, rng)
    value_DT, slope_DI, deviation_DT = (np.concatenate(column) for column in zip(*parts, strict=True))
    # a resampled curve is off by its chains' offsets: its residuals are its own
    fitted_T = curve.y_T + value_DT.mean(axis=0) - y_BT.mean(axis=0)
    edges = np.linspace(curve.x_T[0], curve.x_T[-1], CELLS + 1)
    smooth_DG = hann(on_grid(curve.x_T, slope_DI, edges), edges[1] - edges[0], WINDOW)
    trust = NOISE_ALONE if range_in_noise(curve) < RANGE_IN_NOISE else 1.0
    outlying_T = (noise_BT > usual_BT).mean(axis=0) > 0.5
    # where the curve is noisy, and there alone, a change must be larger
    nearest_G = np.searchsorted(curve.middle_I, 0.5 * (edges[1:] + edges[:-1]))
    smallest_DG = SURE_CHANGE * deviation_DT[:, nearest_G]
    return CurveDraws(fitted_T, outlying_T, slope_DI, smooth_DG, edges, smallest_DG, trust)


def _of_both_views(
    x_T: Floats, y_BT: Floats, noise_BT: Floats, per_curve: int, rng: np.random.Generator
) -> list[tuple[Floats, Floats, Floats]]:
    """Draws of each view that has a share: values at points (D, T), slopes in gaps (D, I), posterior sd (D, T)."""
    pieces = PartitionPosterior(x_T, y_BT, noise_BT)
    process = SlopeProcess(x_T, y_BT, noise_BT.mean(axis=0))
    advantage = float((process.log_evidence_B - pieces.log_evidence_B).mean())
    smooth = round(per_curve * SMOOTH_SHARE * 0.5 * (1 + np.tanh(advantage / 2)))
    parts = []
    if smooth < per_curve:
        parts.append(draw_lines(pieces, pieces.draw(rng, per_curve - smooth), per_curve - smooth, rng))
    if smooth:
        value_DT, slope_DI = process.draw(rng, smooth)
        parts.append((value_DT, slope_DI, np.broadcast_to(process.deviation_T, value_DT.shape)))
    return parts


def _means(value_DT: Floats, curves: int) -> Floats:
    """(B, T) of the draws of each curve."""
    return np.asarray(value_DT.reshape(curves, -1, value_DT.shape[1]).mean(axis=1))
