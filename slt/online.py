"""Stages of a run that still goes on: checkpoints as they arrive, boundaries once they are settled.

A boundary is the rest between two bursts of change, so it cannot be known before the next burst has begun;
and while that burst has hardly moved the curve, the place of the rest still shifts. A boundary is settled when

- its probability has been at least 0.9 for 0.03 decades and 2 checkpoints without a gap,
- its place has not moved by more than 0.1 decades meanwhile,
- the stages on its two sides each changed the curve by at least 0.03 of its range so far, and 8 times its noise.

What costs time is the burst itself: about 0.1 decades after its onset it has moved the curve enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from slt.curves import check_axis, curve_of
from slt.errors import TrajectoryError
from slt.noise import local_noise
from slt.stages import Boundary, Stages, detect_stages
from slt.table import as_floats
from slt.trajectory import Floats, Trajectory

SURE = 0.9
HELD = 0.03  # decades
FEWEST = 2  # checkpoints
STEADY = 0.1  # decades; so far apart, or with intervals that overlap, two boundaries are the same
CHANGE = 0.03  # of the range so far
CLEAR = 8.0  # times the noise; at its start a curve may show nothing but noise


@dataclass(frozen=True)
class Settled:
    """A boundary that will not be taken back, as it was seen when it settled, and the step of that checkpoint."""

    boundary: Boundary
    at: float

    @property
    def delay(self) -> float:
        """Decades between the boundary and its settling; NaN for a boundary at step 0."""
        return float(np.log10(self.at / self.boundary.step)) if self.boundary.step > 0 else float("nan")


class OnlineDetector:
    """Feed checkpoints in order of step; each update tells the boundaries that are settled.

    Attributes:
        settled: in the order in which they settled; only ever grows.
        stages: of everything so far, settled or not; None while there are too few checkpoints.
    """

    def __init__(self, *, axis: str = "log", draws: int = 100, seed: int = 0) -> None:
        check_axis(axis)
        self.settled: tuple[Settled, ...] = ()
        self.stages: Stages | None = None
        self._axis, self._draws, self._seed = axis, draws, seed
        self._steps: list[float] = []
        self._values: list[float] = []
        self._chains: list[Floats] = []
        self._tracks: list[list[tuple[float, float]]] = []  # (checkpoint, place) in steps, of what is not settled

    def update(self, step: float, value: float, chains: Sequence[float] | Floats | None = None) -> tuple[Settled, ...]:
        """Take in one checkpoint.

        Args:
            step: after the last one.
            value: the LLC or any other curve; NaN if there is no estimate.
            chains: (C,) each chain's own value; always or never.

        Returns:
            All boundaries settled so far.

        Raises:
            TrajectoryError: a step that does not follow the last one, what is no number, or chains that come and go.
        """
        steps, values = [*self._steps, step], [*self._values, value]
        rows = [*self._chains, *(() if chains is None else (as_floats(chains, "chains"),))]
        trajectory = _trajectory(steps, values, rows)
        self._steps, self._values, self._chains = steps, values, rows
        try:
            self.stages = detect_stages(trajectory, axis=self._axis, draws=self._draws, seed=self._seed)
        except TrajectoryError:  # too few checkpoints, or too close together, to have stages yet
            return self.settled
        self._follow(trajectory, self.stages)
        return self.settled

    def _follow(self, trajectory: Trajectory, stages: Stages) -> None:
        curve = curve_of(trajectory, self._axis)
        now = float(trajectory.steps[-1])
        tracks: list[list[tuple[float, float]]] = []

        enough = max(CHANGE * np.ptp(curve.y_T), CLEAR * np.median(local_noise(curve.x_T, curve.y_T)))

        def apart(first: float, second: float) -> float:
            ends = curve.position(np.array([first, second]))
            return float(abs(ends[1] - ends[0]))

        for index, boundary in enumerate(stages.boundaries):
            known = any(
                apart(old.step, boundary.step) <= STEADY or (old.low <= boundary.high and boundary.low <= old.high)
                for old in (settled.boundary for settled in self.settled)
            )
            if boundary.probability < SURE or known:
                continue
            before = (track for track in self._tracks if apart(track[-1][1], boundary.step) <= STEADY)
            track = [*next(before, ()), (now, boundary.step)]
            tracks.append(track)
            changed = min(abs(stage.change) for stage in stages.stages[index : index + 2]) >= enough
            places = [place for checkpoint, place in track[-FEWEST:]]
            places += [place for checkpoint, place in track if apart(checkpoint, now) <= HELD]
            held = len(track) >= FEWEST and apart(track[0][0], now) >= HELD
            if held and apart(min(places), max(places)) <= STEADY and changed:
                self.settled += (Settled(boundary, now),)
        self._tracks = tracks


def _trajectory(steps: Sequence[float], values: Sequence[float], chains: Sequence[Floats]) -> Trajectory:
    if chains and (len(chains) != len(steps) or len({len(row) for row in chains}) > 1):
        raise TrajectoryError(
            f"the checkpoint at step {steps[-1]} does not come with the same chains as those before it; "
            "give every checkpoint all chains, NaN for one without a value, or none"
        )
    return Trajectory(
        as_floats(steps, "step"), as_floats(values, "value"), llc_chains=np.array(chains) if chains else None
    )
