"""A Gaussian process on the slope of a curve: its evidence, and draws of slopes that change smoothly.

The other view of a curve than straight pieces (`slt/partitions.py`): it knows shelves and peaks that no straight piece
follows, and rings at kinks, where its evidence is far below that of pieces. The slope is `sum_k a_k phi_k(x)` with
`phi_k(x) = sin(w_k (x - left)) / sqrt(L)`, `w_k = k pi / (2 L)` and `a_k ~ N(0, S(w_k))`, S the spectral density of
a squared-exponential kernel (Solin & Sarkka, "Hilbert space methods for reduced-rank Gaussian process regression",
Statistics and Computing 30, 2020). The curve is its integral and a level `m ~ N(0, R^2)`, R its range. Length and
height of the kernel are drawn with their posterior on a grid, all equally probable before.

Legend of shapes: B curves, T points, I gaps between points, D draws, H pairs of length and height, K functions
(the level first).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

SHORTEST = 0.08  # decades; the shortest length of the kernel
OVER_SPAN = 0.01  # of the span, below which no length is tried: bounds the number of functions
LENGTHS = np.geomspace(1.0, 10.0, 10)  # in the shortest
HEIGHTS = np.geomspace(0.5, 8.0, 7)  # sd of the slope, in ranges of y per span of x
MARGIN = 0.5  # decades beyond the ends, where the slope is held at zero
HIGHEST = 3.0  # frequency times length, beyond which the kernel has no power (1e-2 of its greatest)


class SlopeProcess:
    """Posterior of B curves on one grid.

    Args:
        x_T: strictly increasing positions, decades.
        y_BT: curves; they are centred here.
        noise_T: standard deviation of each point's noise, for all curves.

    Attributes:
        log_evidence_B: log of p(y), over all lengths and heights.
        deviation_T: posterior standard deviation of the curve at the points, in units of y.
    """

    def __init__(self, x_T: Floats, y_BT: Floats, noise_T: Floats) -> None:
        span, unit = float(np.ptp(x_T)), float(np.ptp(y_BT, axis=1).mean())
        self._x_T, self._unit = x_T, unit
        self._left, self._reach = float(x_T[0]) - MARGIN, 0.5 * span + MARGIN
        shortest = max(SHORTEST, OVER_SPAN * span)
        count = int(np.ceil(HIGHEST / shortest * 2 * self._reach / np.pi))
        self._frequency_K = np.arange(1, count + 1) * np.pi / (2 * self._reach)
        self._offset_B = y_BT.mean(axis=1)
        weight_T = unit / noise_T
        seen_TK = self._values(x_T) * weight_T[:, None]
        y_TB = (y_BT - self._offset_B[:, None]).T / unit * weight_T[:, None]
        self._prior_HK = self._prior(shortest * LENGTHS, HEIGHTS / span)
        product_HKK = self._prior_HK[:, :, None] * (seen_TK.T @ seen_TK) * self._prior_HK[:, None, :]
        # coefficients are measured in prior sd: precision I + product, whose Cholesky factor exists whatever the data
        self._factor_HKK = np.linalg.cholesky(product_HKK + np.eye(count + 1))
        self._half_HKB = np.linalg.solve(self._factor_HKK, self._prior_HK[:, :, None] * (seen_TK.T @ y_TB))
        volume_H = np.log(np.diagonal(self._factor_HKK, axis1=1, axis2=2)).sum(axis=1)
        noise_only_B = -0.5 * (y_TB**2).sum(axis=0) - np.log(np.sqrt(2 * np.pi) * noise_T).sum()
        self._log_HB = 0.5 * (self._half_HKB**2).sum(axis=1) - volume_H[:, None] + noise_only_B
        top_B = self._log_HB.max(axis=0)
        self.log_evidence_B = top_B + np.log(np.exp(self._log_HB - top_B).mean(axis=0))
        best = int(self._log_HB.sum(axis=1).argmax())
        scaled_KT = np.linalg.solve(self._factor_HKK[best], (self._prior_HK[best] * self._values(x_T)).T)
        self.deviation_T = unit * np.sqrt((scaled_KT**2).sum(axis=0))

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Floats, Floats]:
        """`count` draws of each curve; draw d belongs to curve d // count.

        Returns:
            value_DT: the curve at the points; slope_DI: its mean slope in each gap between points.
        """
        curves = len(self._offset_B)
        weight_HB = np.exp(self._log_HB - self._log_HB.max(axis=0))
        cumulative_HB = np.cumsum(weight_HB / weight_HB.sum(axis=0), axis=0)
        curve_D = np.repeat(np.arange(curves), count)
        pair_D = (cumulative_HB[:, curve_D] < rng.random(len(curve_D)) * cumulative_HB[-1, curve_D]).sum(axis=0)
        noise_DK = rng.standard_normal((len(curve_D), self._prior_HK.shape[1]))
        coefficient_DK = np.empty_like(noise_DK)
        for pair in np.unique(pair_D):
            drawn = pair_D == pair
            target_KD = self._half_HKB[pair][:, curve_D[drawn]] + noise_DK[drawn].T
            coefficient_DK[drawn] = (np.linalg.solve(self._factor_HKK[pair].T, target_KD)).T * self._prior_HK[pair]
        value_DT = self._unit * coefficient_DK @ self._values(self._x_T).T + self._offset_B[curve_D, None]
        return value_DT, self._unit * coefficient_DK[:, 1:] @ self._slopes().T

    def _prior(self, lengths: Floats, heights: Floats) -> Floats:
        """(H, K) prior sd of the level and of each coefficient."""
        length_H, height_H = (values.ravel() for values in np.meshgrid(lengths, heights, indexing="ij"))
        power_HK = np.sqrt(2 * np.pi) * length_H[:, None] * np.exp(-0.5 * (self._frequency_K * length_H[:, None]) ** 2)
        return np.concatenate([np.ones((len(length_H), 1)), height_H[:, None] * np.sqrt(power_HK)], axis=1)

    def _values(self, x: Floats) -> Floats:
        """(T, K) the level and the integrals of the functions."""
        wave = -np.cos(self._frequency_K * (x[:, None] - self._left)) / (self._frequency_K * np.sqrt(self._reach))
        return np.concatenate([np.ones((len(x), 1)), wave], axis=1)

    def _slopes(self) -> Floats:
        """(I, K) mean of each function over each gap; the product is exact where a gap is tiny."""
        middle, half = 0.5 * (self._x_T[1:] + self._x_T[:-1]), 0.5 * np.diff(self._x_T)
        wave = np.sin(self._frequency_K * (middle[:, None] - self._left)) / np.sqrt(self._reach)
        return np.asarray(wave * np.sinc(self._frequency_K * half[:, None] / np.pi))
