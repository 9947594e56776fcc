"""A trajectory as the detector sees it: a curve over log10 of the step, at most 300 points, its chains resampled.

Legend of shapes: T points, I gaps between points, C chains, B resampled curves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slt.errors import TrajectoryError
from slt.trajectory import Trajectory

Floats = NDArray[np.float64]

FEWEST_POINTS = 8
MOST_POINTS = 300
FEWEST_CHAINS = 4
NARROWEST = 0.1  # decades; narrower than the window on the slope, a curve has one slope
CLOSEST = 1e-12  # of the span; third differences divide by products of three gaps
LARGEST = 1e100
LINEAR_SPAN = 5.0  # a linear axis counts as this many decades, so that widths in decades mean something there


@dataclass(frozen=True, eq=False)
class Curve:
    """Points of a curve in increasing order.

    Attributes:
        x_T: log10 of the step ("log"), or the step scaled to a span of 5 ("linear").
        y_T: the curve.
        chains_TC: its chains, or None where there are fewer than four.
        axis, origin, scale: how x comes from the step.
    """

    x_T: Floats
    y_T: Floats
    chains_TC: Floats | None
    axis: str
    origin: float
    scale: float

    @property
    def middle_I(self) -> Floats:
        """Middles of the gaps between points."""
        return np.asarray(0.5 * (self.x_T[1:] + self.x_T[:-1]))

    def step(self, x: Floats) -> Floats:
        """The training steps at positions x."""
        return 10.0**x if self.axis == "log" else self.origin + x * self.scale

    def position(self, step: Floats) -> Floats:
        """The positions of training steps."""
        return np.log10(step) if self.axis == "log" else (step - self.origin) / self.scale

    def words(self, width: float) -> str:
        """A distance between positions, as people say it."""
        return f"{width:g} decades" if self.axis == "log" else f"{width * self.scale:,.0f} steps"

    def resampled(self, count: int, rng: np.random.Generator) -> Floats:
        """(B, T) the curve with its chains drawn with replacement, whole: the same for all points.

        Whole, because with common random numbers a chain keeps its offset over all checkpoints.
        """
        if self.chains_TC is None:
            return self.y_T[None]
        chains = self.chains_TC.shape[1]
        weights = rng.multinomial(chains, np.full(chains, 1 / chains), size=count) / chains
        return np.asarray(self.y_T + (weights - 1 / chains) @ self.chains_TC.T)


def curve_of(trajectory: Trajectory, axis: str) -> Curve:
    """The finite checkpoints of a trajectory on their axis of time; step 0 has no logarithm and is left out.

    A chain without a value at one of them says nothing about the others, and is left out whole.

    Raises:
        TrajectoryError: unknown axis, fewer than 8 checkpoints remain, they lie too close together for the axis,
            or values are beyond what squares can hold.
    """
    check_axis(axis)
    kept = trajectory.select(np.isfinite(trajectory.llc) & ((trajectory.steps > 0) | (axis == "linear")))
    if len(kept) < FEWEST_POINTS:
        raise TrajectoryError(
            f"{len(kept)} checkpoints with a finite value{' at a step above 0' if axis == 'log' else ''} "
            f"(of {len(trajectory)}) are too few to detect stages; give at least {FEWEST_POINTS}"
        )
    origin, scale = 0.0, 1.0
    if axis == "log":
        x_T = np.log10(kept.steps)
    else:
        origin, scale = float(kept.steps[0]), float(np.ptp(kept.steps)) / LINEAR_SPAN
        x_T = (kept.steps - origin) / scale
    chains = _complete_chains(kept)
    check_size(kept.llc, *([] if chains is None else [chains]))
    if len(x_T) > MOST_POINTS:
        x_T, y_T, chains = _averaged(x_T, kept.llc, chains)
    else:
        y_T = kept.llc
    _check_positions(x_T, kept.steps, axis)
    return Curve(x_T, y_T, chains, axis, origin, scale)


def check_axis(axis: str) -> None:
    """The axes of time that there are.

    Raises:
        TrajectoryError: another one.
    """
    if axis not in ("log", "linear"):
        raise TrajectoryError(f"axis '{axis}' is not one of: log, linear")


def _complete_chains(trajectory: Trajectory) -> Floats | None:
    """(T, C') the chains with a value at every checkpoint of the trajectory; None if fewer than four."""
    if trajectory.llc_chains is None:
        return None
    complete = trajectory.llc_chains[:, np.isfinite(trajectory.llc_chains).all(axis=0)]
    return complete if complete.shape[1] >= FEWEST_CHAINS else None


def check_size(*curves: Floats) -> None:
    """Squares of the values must be neither infinite nor zero.

    Raises:
        TrajectoryError: the largest value is beyond that.
    """
    for values in curves:
        largest = float(np.abs(values).max())
        if largest > LARGEST or 0 < largest < 1 / LARGEST:
            raise TrajectoryError(
                f"the curve's largest value is {largest:g} in size, which cannot be squared; "
                f"scale the values to between {1 / LARGEST:g} and {LARGEST:g}"
            )


def _check_positions(x_T: Floats, steps: Floats, axis: str) -> None:
    span = float(x_T[-1] - x_T[0])
    if span < NARROWEST:
        raise TrajectoryError(
            f"steps {steps[0]:,.0f} to {steps[-1]:,.0f} span {span:.2g} decades, less than the {NARROWEST:g} "
            "in which a logarithmic axis can show a stage; choose the linear axis"
        )
    closest = int(np.diff(x_T).argmin())
    if x_T[closest + 1] - x_T[closest] < CLOSEST * span:
        raise TrajectoryError(
            f"two neighbouring checkpoints, after {np.searchsorted(x_T, x_T[closest])} others, lie so close together "
            f"that they cannot be told apart on the {axis} axis; keep one of them"
        )


def _averaged(x_T: Floats, y_T: Floats, chains: Floats | None) -> tuple[Floats, Floats, Floats | None]:
    """Means in 300 equal cells of the axis, empty ones left out."""
    edges = np.linspace(x_T[0], x_T[-1], MOST_POINTS + 1)[:-1]
    first = np.unique(np.searchsorted(x_T, edges))
    size = np.diff(np.append(first, len(x_T)))

    def cell_means(values: Floats) -> Floats:
        return np.asarray(np.add.reduceat(values, first, axis=0) / size.reshape(-1, *[1] * (values.ndim - 1)))

    return cell_means(x_T), cell_means(y_T), None if chains is None else cell_means(chains)
