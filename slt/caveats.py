"""Warnings: what limits the trust in a curve's stages, in sentences.

Legend of shapes: T points.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from slt.curves import Curve
from slt.noise import lasting_noise, local_noise
from slt.trajectory import Trajectory

Floats = NDArray[np.float64]

SAME_SIGNAL = 0.99
NEARBY = 0.15  # decades
FEWEST_NEARBY = 5
AUTOCORRELATION = 0.3  # seldom reached where there are no replicates: the fit then takes lasting noise for signal
LASTING = 1.4  # ratio that one curve of white noise in ten does not reach, and nine of ten of AR(1) 0.5 exceed
CHAIN_ERROR = 0.1  # of the smaller change on the two sides of a boundary
NEAR_END = 0.1  # decades
NAMED = 5  # steps at most, in one sentence
RANGE_IN_NOISE = 10.0
DIGITS = 1e-13  # of a series' size, below which its changes are rounding


class _Dated(Protocol):
    @property
    def step(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...
    @property
    def kind(self) -> str: ...


class _Span(Protocol):
    @property
    def start(self) -> float: ...
    @property
    def end(self) -> float: ...
    @property
    def change(self) -> float: ...


def warnings_about(
    trajectory: Trajectory,
    curve: Curve,
    fitted_T: Floats,
    outlying_T: NDArray[np.bool_],
    boundaries: Sequence[_Dated],
    stages: Sequence[_Span],
) -> tuple[str, ...]:
    """Every reservation about the boundaries found on `curve`.

    `fitted_T` is the posterior mean at its points, `outlying_T` says which of them no view of the curve follows.
    """
    return (
        *_about_points(trajectory, curve, fitted_T, outlying_T),
        *_about_boundaries(trajectory, curve, boundaries, stages),
        *_about_loss(trajectory, stages),
    )


def range_in_noise(curve: Curve) -> float:
    """The curve's range in standard deviations of its noise; AR(1) 0.5 noise alone stays below 10 in 97 % of curves."""
    return float(np.ptp(curve.y_T) / np.median(local_noise(curve.x_T, curve.y_T)))


def correlation(x_T: Floats, y_T: Floats) -> float:
    """Of two series, whatever their units; 0 where one of them does not change by more than its last digits."""
    centered = []
    for values in (x_T, y_T):
        scaled = values / max(float(np.abs(values).max()), np.finfo(float).smallest_subnormal)
        if np.ptp(scaled) < DIGITS:
            return 0.0
        centered.append(scaled - scaled.mean())
    x_T, y_T = centered
    return float((x_T * y_T).sum() / np.sqrt((x_T**2).sum() * (y_T**2).sum()))


def _about_points(
    trajectory: Trajectory, curve: Curve, fitted_T: Floats, outlying_T: NDArray[np.bool_]
) -> Iterator[str]:
    finite = np.isfinite(trajectory.llc)
    if not finite.all():
        yield f"{(~finite).sum()} of {len(trajectory)} checkpoints have no finite value and were left out"
    if trajectory.llc_chains is not None:
        chains = trajectory.llc_chains.shape[1]
        silent = chains - int(np.isfinite(trajectory.llc_chains[finite]).all(axis=0).sum())
        if silent:
            yield (
                f"{silent} of {chains} chains lack a value where the curve has one: they were not asked "
                "how sure a boundary is"
            )
    noise_T = local_noise(curve.x_T, curve.y_T)
    if range_in_noise(curve) < RANGE_IN_NOISE:
        yield (
            f"the curve's range is {range_in_noise(curve):.1f} times its noise, below {RANGE_IN_NOISE:g}: noise that "
            "lasts over a few checkpoints makes such a curve by itself, so no boundary is more than tentative"
        )
    if curve.chains_TC is not None:
        ratio = float(np.median(lasting_noise(curve.x_T, curve.chains_TC) / noise_T))
        if ratio > LASTING:
            yield (
                f"the chains' noise lasts over several checkpoints ({ratio:.1f} times what single checkpoints show): "
                "boundaries were held against the larger noise"
            )
    if outlying_T.any():
        steps = [f"{step:,.0f}" for step in curve.step(curve.x_T[outlying_T])]
        more = f" and {len(steps) - NAMED} more" if len(steps) > NAMED else ""
        yield (
            f"at {', '.join(steps[:NAMED])}{more} the curve is far off what the checkpoints around it show: a spike of "
            "the model that too few checkpoints saw, or a bad estimate; these counted for less"
        )
    residual = np.where(outlying_T, 0.0, curve.y_T - fitted_T)
    if (residual**2).sum() > 0:
        lasting = float((residual[1:] * residual[:-1]).sum() / (residual**2).sum())
        if lasting > AUTOCORRELATION:
            yield (
                f"neighbouring checkpoints' residuals are correlated ({lasting:.2f} at lag 1): what looks like "
                "a boundary can be noise that lasts; replicate the run or the estimate with other seeds"
            )


def _about_boundaries(
    trajectory: Trajectory, curve: Curve, boundaries: Sequence[_Dated], stages: Sequence[_Span]
) -> Iterator[str]:
    if boundaries and curve.chains_TC is None:
        yield (
            "there are no chains to show how long the curve's noise lasts: noise that carries over from checkpoint to "
            "checkpoint looks like signal, and a boundary between small changes may be no more than that"
        )
    for k, boundary in enumerate(boundaries):
        x = float(curve.position(np.array(boundary.step)))
        name = f"the boundary at {boundary.step:,.0f}"
        before = int(((curve.x_T >= x - NEARBY) & (curve.x_T < x)).sum())
        after = int(((curve.x_T <= x + NEARBY) & (curve.x_T > x)).sum())
        if min(before, after) < FEWEST_NEARBY:
            width = curve.words(NEARBY)
            yield f"{name} has {before} checkpoints within {width} before it and {after} after: its place is coarse"
        if min(x - curve.x_T[0], curve.x_T[-1] - x) < NEAR_END:
            yield f"{name} is close to an end of the curve, where one of its bursts is hardly seen"
        error = _standard_error(trajectory, boundary.step)
        change = min(abs(stages[k].change), abs(stages[k + 1].change))
        if error > CHAIN_ERROR * change:
            yield (
                f"the standard error over chains at the boundary at {boundary.step:,.0f} is {error:.3g}, above "
                f"{CHAIN_ERROR:.0%} of the change across it ({change:.3g}): its shape rests on all chains sharing "
                "their random numbers; more draws or chains would make it sure"
            )


def _standard_error(trajectory: Trajectory, step: float) -> float:
    if trajectory.llc_std_error is None:
        return 0.0
    known = np.isfinite(trajectory.llc_std_error)
    if not known.any():
        return 0.0
    return float(np.interp(step, trajectory.steps[known], trajectory.llc_std_error[known]))


def _about_loss(trajectory: Trajectory, stages: Sequence[_Span]) -> Iterator[str]:
    if trajectory.loss is None:
        return
    for stage in stages:
        inside = (trajectory.steps >= stage.start) & (trajectory.steps <= stage.end)
        inside &= np.isfinite(trajectory.llc) & np.isfinite(trajectory.loss)
        llc, loss = trajectory.llc[inside], trajectory.loss[inside]
        alike = correlation(llc, loss) if len(llc) >= 3 else 0.0
        if abs(alike) > SAME_SIGNAL:
            yield (
                f"from {stage.start:,.0f} to {stage.end:,.0f} the LLC is almost an affine function of the loss "
                f"(correlation {alike:.4f}): it says nothing there that the loss does not"
            )
