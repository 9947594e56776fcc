"""Curves whose boundaries and onsets are known, for tests, examples and the calibration of nulls.

In a smooth curve a boundary is the minimum of |d LLC / d log t| between two bursts of change (the
middle of the rest, where that is flat), and an onset is where the next burst reaches half of its
greatest speed. Curves are made over x, a span of five that stands for log10 of the step from 10 to
1,000,000, or for the step itself on a linear grid.

Legend of shapes: T checkpoints, C chains, K boundaries, G points of a dense grid.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from slt.trajectory import Trajectory

Floats = NDArray[np.float64]

FIRST, SPAN = 1.0, 5.0
DENSE = 5001
LINEAR_STEP = 20_000.0  # steps per unit of x on a linear grid


@dataclass(frozen=True, eq=False)
class SyntheticCurve:
    """A trajectory and the truth about it.

    Attributes:
        trajectory: what a detector may see.
        boundaries, onsets: (K,) steps; each boundary with the onset of the burst after it.
        axis: "log" or "linear", the axis on which the truth holds.
        first_onset: step of the onset of the first burst, which ends no stage; None without a burst.
    """

    trajectory: Trajectory
    boundaries: Floats
    onsets: Floats
    axis: str = "log"
    first_onset: float | None = None


@dataclass(frozen=True)
class Sampling:
    """How a curve is seen.

    Attributes:
        points: checkpoints T.
        noise: standard deviation over the range of the noise-free curve.
        correlation: of neighbouring checkpoints' noise, AR(1).
        growth: the noise's standard deviation at the end over that at the start; `noise` is its root mean square.
        grid: "log", "linear", or "mixed" (half logarithmic, half linear, features over log10 of the step).
        chains: columns of chains whose mean is the curve; 0 for none.
        common_noise: chains share the curve's noise and differ by an offset that stays the same over
            checkpoints (common random numbers); else each has noise of its own, and they are replicates.
    """

    points: int = 100
    noise: float = 0.01
    correlation: float = 0.0
    growth: float = 1.0
    grid: str = "log"
    chains: int = 0
    common_noise: bool = True


OFFSET = 0.05  # sd of a chain's frozen offset, in ranges of the curve


def smooth_steps(
    sampling: Sampling | None = None, *, bursts: int | None = None, signs: str = "mixed", seed: int = 0
) -> SyntheticCurve:
    """Bursts with Gaussian speed, as wide as they are long apart allows: peaks, troughs and shelves.

    Args:
        sampling: how the curve is seen.
        bursts: bursts of change, one more than there are boundaries; default 2 to 5 at random.
        signs: "mixed", "rising" (shelves only) or "alternating" (peaks and troughs only).
        seed: of the curve and its noise.
    """
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 6)) if bursts is None else bursts
    x_G = FIRST + np.linspace(0, SPAN, DENSE)
    while True:
        width = rng.uniform(0.7, 1.3, count)
        apart = rng.uniform(3.8, 6.0, count - 1) * 0.5 * (width[1:] + width[:-1])
        lead, tail = rng.uniform(2.0, 4.0, 2)
        scale = SPAN / (lead + apart.sum() + tail)
        center = FIRST + scale * (lead + np.append(0.0, np.cumsum(apart)))
        height = rng.uniform(0.3, 1.0, count) * _signs(signs, count, rng)
        width *= scale
        z = (x_G[:, None] - center) / width
        slope_G = (height / width * np.exp(-0.5 * z**2)).sum(axis=1)
        rest = _rests(np.abs(slope_G), np.searchsorted(x_G, center))
        if rest is not None:
            break
    onset = _half_speed(np.abs(slope_G), np.append(0, rest))
    values_G = np.cumsum(slope_G)
    return _seen(x_G, values_G, x_G[rest], x_G[onset], sampling or Sampling(), rng)


def ramps(sampling: Sampling | None = None, *, bursts: int = 4, seed: int = 0) -> SyntheticCurve:
    """A staircase of straight rises between level rests; the onset is the foot of a rise."""
    return _staircase(sampling or Sampling(), bursts, (0.15, 0.35), seed)


def jumps(sampling: Sampling | None = None, *, bursts: int = 4, seed: int = 0) -> SyntheticCurve:
    """A staircase of sudden steps between level rests."""
    return _staircase(sampling or Sampling(), bursts, (0.0, 0.0), seed)


def null(sampling: Sampling | None = None, *, seed: int = 0) -> SyntheticCurve:
    """Noise around a constant: no boundary. Its noise has unit standard deviation, whatever `sampling.noise` is."""
    rng = np.random.default_rng(seed)
    x_G = FIRST + np.linspace(0, SPAN, DENSE)
    none = np.empty(0)
    return _seen(x_G, np.zeros(DENSE), none, none, sampling or Sampling(), rng)


def _signs(signs: str, count: int, rng: np.random.Generator) -> Floats:
    if signs == "rising":
        return np.ones(count)
    if signs == "alternating":
        return np.asarray((-1.0) ** np.arange(count), dtype=np.float64)
    return rng.choice(np.array([-1.0, 1.0]), count, p=[0.35, 0.65])


def _rests(speed_G: Floats, center: NDArray[np.intp]) -> NDArray[np.intp] | None:
    """The rest between each two bursts, or None where two bursts blend into one.

    Its middle, within a tenth of its depth: where two tails cross far below, the minimum itself means nothing.
    """
    rests = []
    for left, right in pairwise(center):
        between = speed_G[left : right + 1]
        lower = min(speed_G[left], speed_G[right])
        if between.min() > 0.5 * lower:
            return None
        level = np.flatnonzero(between <= between.min() + 0.1 * (lower - between.min()))
        rests.append(left + int(level[0] + level[-1]) // 2)
    return np.array(rests, dtype=np.intp)


def _half_speed(speed_G: Floats, rest: NDArray[np.intp]) -> NDArray[np.intp]:
    until = np.append(rest[1:], len(speed_G))
    onsets = []
    for start, stop in zip(rest, until, strict=True):
        burst = speed_G[start:stop]
        onsets.append(start + int((burst >= 0.5 * burst.max()).argmax()))
    return np.array(onsets, dtype=np.intp)


def _staircase(sampling: Sampling, bursts: int, ramp: tuple[float, float], seed: int) -> SyntheticCurve:
    rng = np.random.default_rng(seed)
    rest = rng.uniform(0.5, 1.0, bursts + 1)
    length = rng.uniform(*ramp, bursts)
    rest *= (SPAN - length.sum()) / rest.sum()
    foot = FIRST + np.cumsum(rest[:-1]) + np.append(0.0, np.cumsum(length[:-1]))
    height = rng.uniform(0.3, 1.0, bursts) * _signs("mixed", bursts, rng)
    x_G = FIRST + np.linspace(0, SPAN, DENSE)
    share = np.clip((x_G[:, None] - foot) / np.maximum(length, 1e-9), 0.0, 1.0)
    middle = 0.5 * ((foot + length)[:-1] + foot[1:])
    return _seen(x_G, (share * height).sum(axis=1), middle, foot, sampling, rng)


def _seen(
    x_G: Floats, values_G: Floats, boundary: Floats, onset: Floats, sampling: Sampling, rng: np.random.Generator
) -> SyntheticCurve:
    """Evaluate at the checkpoints, add noise and chains. `onset` holds the first burst's too."""
    step_of, x_T = _grid(sampling)
    span = np.ptp(values_G)
    signal = np.interp(x_T, x_G, values_G / span) if span else np.zeros(len(x_T))
    growth_T = np.geomspace(1.0, sampling.growth, len(x_T))
    scale_T = (sampling.noise if span else 1.0) * growth_T / np.sqrt((growth_T**2).mean())

    def noisy() -> Floats:
        return np.asarray(scale_T * _noise(rng, sampling.correlation, len(x_T)))

    axis = "linear" if sampling.grid == "linear" else "log"
    if not sampling.chains:
        curve, chains = signal + noisy(), None
    else:
        columns = sampling.chains
        offset = OFFSET * rng.standard_normal(columns)
        if sampling.common_noise:
            noise = noisy()[:, None]
        else:
            noise = np.sqrt(columns) * np.stack([noisy() for _ in range(columns)], axis=1)
        chains = signal[:, None] + offset + noise
        curve = chains.mean(axis=1)
    error = None if chains is None else chains.std(axis=1, ddof=1) / np.sqrt(sampling.chains)
    trajectory = Trajectory(steps=step_of(x_T), llc=curve, llc_std_error=error, llc_chains=chains)
    onset_steps = step_of(onset)
    return SyntheticCurve(
        trajectory,
        step_of(boundary),
        onset_steps[1:],
        axis,
        first_onset=float(onset_steps[0]) if len(onset) else None,
    )


def _grid(sampling: Sampling) -> tuple[Callable[[Floats], Floats], Floats]:
    if sampling.grid == "linear":
        return (lambda x: (x - FIRST) * LINEAR_STEP), FIRST + np.linspace(0, SPAN, sampling.points)
    if sampling.grid == "mixed":
        half = sampling.points // 2
        even = np.linspace(10.0**FIRST, 10.0 ** (FIRST + SPAN), half + 1)[1:-1]
        log = FIRST + np.linspace(0, SPAN, sampling.points - len(even))
        return _power, np.sort(np.concatenate([log, np.log10(even)]))
    return _power, FIRST + np.linspace(0, SPAN, sampling.points)


def _power(x: Floats) -> Floats:
    return np.asarray(10.0**x)


def _noise(rng: np.random.Generator, correlation: float, points: int) -> Floats:
    """(T,) AR(1) noise of unit variance."""
    fresh = rng.standard_normal(points)
    fresh[1:] *= np.sqrt(1 - correlation**2)
    for i in range(1, points):
        fresh[i] += correlation * fresh[i - 1]
    return fresh
