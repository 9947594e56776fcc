"""Where more checkpoints or more draws would sharpen a boundary: a list of steps to estimate, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from slt.caveats import CHAIN_ERROR, FEWEST_NEARBY, NEARBY
from slt.curves import Curve, curve_of
from slt.stages import Boundary, Stages
from slt.trajectory import Floats, Trajectory

SURE = 0.9
MOST_DRAWS = 100.0
"""Times the draws of now; beyond it, other sampler settings are the better advice."""


@dataclass(frozen=True)
class Advice:
    """What to do for one boundary.

    Attributes:
        boundary: its step.
        action: "more checkpoints" (at new steps) or "more draws" (at steps that exist).
        steps: where.
        reason: why, in a sentence.
    """

    boundary: float
    action: str
    steps: tuple[float, ...]
    reason: str


def advise(trajectory: Trajectory, stages: Stages) -> tuple[Advice, ...]:
    """What would sharpen the boundaries of these stages, tentative ones too; nothing for a boundary that is sharp.

    Args:
        trajectory: the curve.
        stages: what `detect_stages` found in it.

    Raises:
        TrajectoryError: a trajectory that has no stages.
    """
    curve = curve_of(trajectory, stages.axis)
    kept = trajectory.select(np.isfinite(trajectory.llc) & ((trajectory.steps > 0) | (stages.axis == "linear")))
    every = sorted((*stages.boundaries, *stages.tentative), key=lambda boundary: boundary.step)
    found = [_checkpoints(kept, curve, boundary) for boundary in every]
    found += [_draws(kept, curve, stages, boundary) for boundary in every]
    return tuple(sorted((advice for advice in found if advice), key=lambda advice: advice.boundary))


def _checkpoints(trajectory: Trajectory, curve: Curve, boundary: Boundary) -> Advice | None:
    x_T, x = curve.position(trajectory.steps), float(curve.position(np.array(boundary.step)))
    sides = [(x - NEARBY, x), (x, x + NEARBY)]
    sides = [(low, high) for low, high in sides if low >= x_T[0] and high <= x_T[-1]]
    counts = [int(((x_T >= low) & (x_T <= high)).sum()) for low, high in sides]
    thin = [side for side, count in zip(sides, counts, strict=True) if count < FEWEST_NEARBY]
    steps = [step for low, high in thin for step in _new_steps(curve, x_T, low, high)]
    if not steps:
        return None
    reason = (
        f"fewer than {FEWEST_NEARBY} checkpoints lie within {curve.words(NEARBY)} "
        f"{'on both sides' if len(thin) == 2 else 'before it' if thin[0][1] == x else 'after it'}: "
        "its place is as coarse as their gaps"
    )
    return Advice(boundary.step, "more checkpoints", tuple(steps), reason)


def _new_steps(curve: Curve, x_T: Floats, low: float, high: float) -> list[float]:
    """Evenly spaced whole steps, five with those that exist, none within half a spacing of one that does."""
    spacing = (high - low) / FEWEST_NEARBY
    wanted = low + spacing * (np.arange(FEWEST_NEARBY) + 0.5)
    free = np.array([x for x in wanted if np.abs(x_T - x).min() > 0.5 * spacing])
    known = {float(step) for step in np.round(curve.step(x_T))}
    return [step for step in dict.fromkeys(np.round(curve.step(free)).tolist()) if step not in known]


def _draws(trajectory: Trajectory, curve: Curve, stages: Stages, boundary: Boundary) -> Advice | None:
    inside = (trajectory.steps >= boundary.low) & (trajectory.steps <= boundary.high)
    near = np.abs(curve.position(trajectory.steps) - curve.position(np.array(boundary.step))) <= NEARBY
    steps = tuple(float(step) for step in trajectory.steps[inside | near])
    if not steps:
        return None
    error, change = _error(trajectory, boundary.step), _smaller_change(stages, boundary)
    if change and error > CHAIN_ERROR * change:
        times = min(error / (CHAIN_ERROR * change), MOST_DRAWS) ** 2
        more = f"{np.ceil(times):.0f} times the draws" if times <= MOST_DRAWS else "more chains, or another sampler"
        reason = f"the standard error over chains, {error:.3g}, is {error / change:.0%} of the change across it; {more}"
        return Advice(boundary.step, "more draws", steps, reason)
    if boundary.probability < SURE:
        reason = f"its probability is {boundary.probability:.2f}: less noise in the curve would settle it"
        return Advice(boundary.step, "more draws", steps, reason)
    return None


def _error(trajectory: Trajectory, step: float) -> float:
    if trajectory.llc_std_error is None or not np.isfinite(trajectory.llc_std_error).any():
        return 0.0
    known = np.isfinite(trajectory.llc_std_error)
    return float(np.interp(step, trajectory.steps[known], trajectory.llc_std_error[known]))


def _smaller_change(stages: Stages, boundary: Boundary) -> float:
    """Of the stages on its two sides; 0 for a tentative boundary, which ends none."""
    sides = [stage for stage in stages.stages if boundary.step in (stage.start, stage.end)]
    return min((abs(stage.change) for stage in sides), default=0.0)
