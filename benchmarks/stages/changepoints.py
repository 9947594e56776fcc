"""Classical change-point methods, read as kindly as can be: their cuts are not boundaries by themselves.

A cut may be the boundary itself ("cuts"); or a step, with the boundary in the middle of the rest between two
("middles"); or the end of a straight piece, with boundaries in the middle of pieces slower than both neighbours
("slow pieces"). Onsets are the cuts in the first two readings, the ends of slow pieces in the third.

Legend of shapes: T points, K cuts (index of the first point after the cut).
"""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np

from benchmarks.stages.cells import Floats, Known, decades, second_differences
from benchmarks.stages.methods import Found, Method

READINGS = ("cuts", "middles", "slow pieces")


def read(x_T: Floats, y_T: Floats, cuts_K: list[int]) -> tuple[Found, ...]:
    """The three readings of one list of cuts."""
    place = np.array([0.5 * (x_T[cut - 1] + x_T[cut]) for cut in cuts_K])
    middles = 0.5 * (place[1:] + place[:-1])
    bounds = [0, *cuts_K, len(x_T)]
    speed = np.array([_speed(x_T[a:b], y_T[a:b]) for a, b in pairwise(bounds)])
    slow = [k for k in range(1, len(speed) - 1) if speed[k] < min(speed[k - 1], speed[k + 1])]
    ends = ([0] if len(speed) > 1 and speed[0] < speed[1] else []) + slow
    pieces = Found(middles[[k - 1 for k in slow]], place[ends])
    return Found(place, place), Found(middles, place), pieces


def _speed(x: Floats, y: Floats) -> float:
    return abs(float(np.polyfit(x, y, 1)[0])) if len(x) > 1 else float("inf")


def _scaled(known: Known) -> tuple[Floats, Floats]:
    """Decades, and the curve in units of its noise (robust, from second differences)."""
    x_T, y_T = decades(known.trajectory.steps, known.axis), known.trajectory.llc
    return x_T, y_T / (1.4826 * np.median(np.abs(second_differences(x_T, y_T))))


def pelt(known: Known, cost: str, penalty: float) -> tuple[Found, ...]:
    """ruptures.Pelt; the penalty is in units of log n for a curve of unit noise."""
    import ruptures

    x_T, y_T = _scaled(known)
    search = ruptures.Pelt(model=cost, min_size=2 if cost == "l2" else 3, jump=1).fit(y_T[:, None])
    return read(x_T, y_T, search.predict(pen=penalty * np.log(len(y_T)))[:-1])


def kernel(known: Known, kernel: str, penalty: float) -> tuple[Found, ...]:
    """ruptures.KernelCPD; the penalty is in units of log n."""
    import ruptures

    x_T, y_T = _scaled(known)
    search = ruptures.KernelCPD(kernel=kernel, min_size=2).fit(y_T[:, None])
    return read(x_T, y_T, search.predict(pen=penalty * np.log(len(y_T)))[:-1])


PROBABILITIES = (0.2, 0.5, 0.8, 0.95)
MOST_CUTS = 12
SAMPLES = 2000


def rbeast(known: Known, order: int) -> tuple[Found, ...]:
    """Rbeast's trend change points: Bayesian averaging over piecewise polynomials (Zhao et al. 2019), even grid."""
    import Rbeast

    x_T, y_T = decades(known.trajectory.steps, known.axis), known.trajectory.llc
    trend = Rbeast.beast(
        y_T,
        season="none",
        tcp_minmax=[0, MOST_CUTS],
        torder_minmax=[0, order],
        tseg_minlength=2,
        mcmc_seed=1,
        mcmc_samples=SAMPLES,
        quiet=True,
        print_progress=False,
    ).trend
    probable = np.nan_to_num(np.ravel(trend.cpPr))
    readings: list[Found] = []
    for least in PROBABILITIES:
        cuts = np.ravel(trend.cp)[(probable >= least)]
        readings += read(x_T, y_T, sorted({int(cut) - 1 for cut in cuts if 1 < cut <= len(x_T)}))  # it counts from 1
    return tuple(readings)


PELT = Method(
    "ruptures Pelt",
    pelt,
    tuple({"cost": cost, "penalty": p} for cost, p in product(("l2", "clinear"), (1.0, 3.0, 10.0, 30.0, 100.0))),
    READINGS,
)
KERNEL = Method(
    "ruptures KernelCPD",
    kernel,
    (
        *({"kernel": "rbf", "penalty": p} for p in (0.1, 0.3, 1.0, 2.0)),
        *({"kernel": "linear", "penalty": p} for p in (3.0, 10.0, 30.0, 100.0)),
    ),
    READINGS,
)
RBEAST = Method(
    "Rbeast",
    rbeast,
    ({"order": 0}, {"order": 1}, {"order": 2}),
    tuple(f"probability from {least}, {reading}" for least, reading in product(PROBABILITIES, READINGS)),
)
