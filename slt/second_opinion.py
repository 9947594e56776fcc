"""A second opinion on boundaries: a Gaussian process over the same curve.

The published procedure (Hoogland et al. 2024, code) takes a Gaussian process with an RBF kernel over log time and the
places where its slope is small. It runs through the noise, because it has no noise term, and the places were then
chosen by hand. Here the noise is the detector's own, length and height of the kernel have the greatest marginal
likelihood, and the places are the persistent minima of |slope| of the posterior mean: nothing is chosen by hand.

It shares the detector's noise, its rule for minima and, on smooth curves, the idea of a smooth slope; it has one length
of the kernel, no segments and no draws. At kinks it rings, and on noise alone it sees boundaries everywhere: it can
support the detector, not replace it.

Legend of shapes: T points, G cells of a grid, H heights of the kernel.
"""

from __future__ import annotations

import numpy as np

from slt.curve_draws import CELLS
from slt.curves import curve_of
from slt.noise import curve_noise
from slt.persistence import persistent_minima
from slt.stages import Stages
from slt.trajectory import Floats, Trajectory

AGREEMENT = 0.10  # decades
LENGTHS = np.geomspace(0.08, 1.5, 12)  # decades
HEIGHTS = np.geomspace(0.1, 10.0, 13)  # standard deviations of the kernel, in those of the curve


def second_opinion(trajectory: Trajectory, *, axis: str = "log") -> Floats:
    """(K,) steps at which the Gaussian process sees a boundary, in increasing order.

    Raises:
        TrajectoryError: as `detect_stages`.
    """
    curve = curve_of(trajectory, axis)
    if np.ptp(curve.y_T) == 0:
        return np.empty(0)
    noise_T = curve_noise(curve.x_T, curve.y_T, curve.chains_TC)
    edges = np.linspace(curve.x_T[0], curve.x_T[-1], CELLS + 1)
    x_G = 0.5 * (edges[1:] + edges[:-1])
    slope_G = _slope(curve.x_T, curve.y_T - curve.y_T.mean(), noise_T, x_G)
    middle_M = persistent_minima(slope_G[None]).middle_M
    return np.sort(curve.step(np.interp(middle_M, np.arange(CELLS), x_G)))


def confirmed(stages: Stages, opinion: Floats, *, tolerance: float = AGREEMENT) -> tuple[bool, ...]:
    """For each first-class boundary, whether the second opinion has one within the tolerance, one to one.

    Args:
        stages: of the detector.
        opinion: steps, from `second_opinion`.
        tolerance: decades; on a linear axis, fiftieths of the whole range.
    """
    from scipy.optimize import linear_sum_assignment

    if not stages.boundaries or not len(opinion):
        return (False,) * len(stages.boundaries)
    places = np.array([boundary.step for boundary in stages.boundaries])
    distance = np.abs(np.subtract.outer(_positions(stages, places), _positions(stages, opinion)))
    pairs = zip(*linear_sum_assignment(np.minimum(distance, 2 * tolerance)), strict=True)
    agreed = {int(i) for i, j in pairs if distance[i, j] <= tolerance}
    return tuple(i in agreed for i in range(len(stages.boundaries)))


def _positions(stages: Stages, steps: Floats) -> Floats:
    if stages.axis == "log":
        return np.asarray(np.log10(steps))
    return np.asarray(steps / (stages.stages[-1].end - stages.stages[0].start) * 5.0)


def _slope(x_T: Floats, y_T: Floats, noise_T: Floats, x_G: Floats) -> Floats:
    """(G,) slope of the posterior mean; length and height of the kernel by greatest marginal likelihood."""
    heights_H = HEIGHTS * y_T.std()
    best, weights_T, length_of_best = -np.inf, np.zeros(len(x_T)), 1.0
    for length in LENGTHS:
        values, vectors = np.linalg.eigh(_rbf(x_T, x_T, length) / np.outer(noise_T, noise_T))
        coordinates = vectors.T @ (y_T / noise_T)
        variance_HT = heights_H[:, None] ** 2 * np.maximum(values, 0.0) + 1.0
        evidence_H = -0.5 * (coordinates**2 / variance_HT + np.log(variance_HT)).sum(axis=1)
        h = int(evidence_H.argmax())
        if evidence_H[h] > best:
            best, length_of_best = float(evidence_H[h]), float(length)
            weights_T = heights_H[h] ** 2 * (vectors @ (coordinates / variance_HT[h])) / noise_T
    apart_GT = (x_T - x_G[:, None]) / length_of_best**2
    return np.asarray((apart_GT * _rbf(x_G, x_T, length_of_best)) @ weights_T)  # d k(x, x_T) / d x


def _rbf(a: Floats, b: Floats, length: float) -> Floats:
    return np.asarray(np.exp(-0.5 * np.subtract.outer(a, b) ** 2 / length**2))
