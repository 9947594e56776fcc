"""Detectors that smooth the curve and take its rests: where the slope crosses zero or is close to it.

The published procedure (Hoogland et al. 2024, code): a Gaussian process with an RBF kernel over log time, and the
places where its slope is small. Here its noise is fitted too (without, the process runs through the noise), and
its slope's own uncertainty may widen what counts as zero.

Legend of shapes: T points, G a uniform grid.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy.interpolate import make_smoothing_spline

from benchmarks.stages.cells import Floats, Known, decades
from benchmarks.stages.methods import Found, Method

CELLS = 500
HALF = 0.5  # an onset is where the slope reaches half of the next burst's greatest


def rests(x_G: Floats, slope_G: Floats, level_G: Floats) -> Found:
    """Boundaries in the middle of every inner run with |slope| <= level or a change of sign; onsets after the runs."""
    speed = np.abs(slope_G)
    turn = np.append(slope_G[1:] * slope_G[:-1] <= 0, False)
    calm = (speed <= level_G) | turn
    edge = np.flatnonzero(np.diff(np.concatenate([[0], calm.astype(int), [0]])))
    starts, stops = edge[::2], edge[1::2]
    inner = (starts > 0) & (stops < len(x_G))
    middles = [0.5 * (x_G[start] + x_G[stop - 1]) for start, stop in zip(starts[inner], stops[inner], strict=True)]
    onsets = []
    for burst, until in zip(np.append(0, stops), np.append(starts, len(x_G)), strict=True):
        if until > burst:
            first = burst + int((speed[burst:until] >= HALF * speed[burst:until].max()).argmax())
            if first > 0:  # at the first point the curve starts in the midst of a burst
                onsets.append(x_G[first])
    return Found(np.array(middles), np.array(onsets))


THRESHOLDS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)  # of the greatest |slope|
STANDARD_DEVIATIONS = (0.0, 1.0, 2.0, 3.0, 4.0, 6.0)  # of the slope's posterior
GP_READINGS = tuple(product(THRESHOLDS, STANDARD_DEVIATIONS))
LENGTHS = np.geomspace(0.08, 3.0, 16)  # decades
NOISE_SHARES = np.geomspace(1e-6, 1e2, 33)  # noise variance over signal variance


def gaussian_process(known: Known, length: str | float) -> tuple[Found, ...]:
    """RBF over decades plus white noise; by greatest marginal likelihood, or with the length given."""
    x_T, y_T = decades(known.trajectory.steps, known.axis), known.trajectory.llc - known.trajectory.llc.mean()
    fits = [_fit(x_T, y_T, each) for each in (LENGTHS if length == "fitted" else [float(length)])]
    _, length, share, variance = max(fits)
    x_G = np.linspace(x_T[0], x_T[-1], CELLS)
    inverse = np.linalg.inv(_rbf(x_T, x_T, length) + share * np.eye(len(x_T)))
    gap = x_T - x_G[:, None]
    slope_GT = gap / length**2 * _rbf(x_G, x_T, length)  # d k(x, x_T) / d x
    slope_G = slope_GT @ inverse @ y_T
    explained = ((slope_GT @ inverse) * slope_GT).sum(axis=1)
    sd_G = np.sqrt(variance * np.maximum(1 / length**2 - explained, 0.0))
    top = np.abs(slope_G).max()
    return tuple(rests(x_G, slope_G, np.maximum(share * top, z * sd_G)) for share, z in GP_READINGS)


def _rbf(a: Floats, b: Floats, length: float) -> Floats:
    return np.asarray(np.exp(-0.5 * np.subtract.outer(a, b) ** 2 / length**2))


def _fit(x_T: Floats, y_T: Floats, length: float) -> tuple[float, float, float, float]:
    """(log marginal likelihood, length, noise share, signal variance) of the best noise share, variance profiled."""
    values, vectors = np.linalg.eigh(_rbf(x_T, x_T, length))
    weight = (vectors.T @ y_T) ** 2
    scale = np.maximum(values, 0.0) + NOISE_SHARES[:, None]
    variance = (weight / scale).mean(axis=1)
    evidence = -0.5 * (len(y_T) * np.log(variance) + np.log(scale).sum(axis=1))
    best = int(evidence.argmax())
    return float(evidence[best]), length, float(NOISE_SHARES[best]), float(variance[best])


def spline(known: Known, penalty: str | float) -> tuple[Found, ...]:
    """Natural cubic smoothing spline; penalty by generalised cross-validation, or as given (decades^3)."""
    x_T, y_T = decades(known.trajectory.steps, known.axis), known.trajectory.llc
    fitted = make_smoothing_spline(x_T, y_T, lam=None if penalty == "cross-validated" else float(penalty))
    x_G = np.linspace(x_T[0], x_T[-1], CELLS)
    slope_G = fitted.derivative()(x_G)
    top = np.abs(slope_G).max()
    return tuple(rests(x_G, slope_G, np.full(CELLS, share * top)) for share in THRESHOLDS)


GAUSSIAN_PROCESS = Method(
    "Gaussian process",
    gaussian_process,
    tuple({"length": length} for length in ("fitted", 0.1, 0.15, 0.3, 0.5, 1.0)),
    tuple(f"rest below {share:g} of the greatest slope or {z:g} sd" for share, z in GP_READINGS),
)
SPLINE = Method(
    "smoothing spline",
    spline,
    tuple({"penalty": penalty} for penalty in ("cross-validated", 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)),
    tuple(f"rest below {share:g} of the greatest slope" for share in THRESHOLDS),
)
