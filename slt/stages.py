"""Developmental stages of a curve: detect_stages(trajectory) -> Stages.

A boundary is a persistent local minimum of |d LLC / d log t| between two bursts of change: a peak, a
trough, or a shelf where the slope only dips (Hoogland et al., "Loss landscape degeneracy and
stagewise development in transformers", TMLR 2025). The onset of the next burst is another landmark.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slt.caveats import warnings_about
from slt.clusters import by_draw, clusters
from slt.curve_draws import CELLS, CurveDraws, draw_curves
from slt.curves import Curve, curve_of
from slt.errors import TrajectoryError
from slt.persistence import Minima
from slt.trajectory import Trajectory

Floats = NDArray[np.float64]

FIRST_CLASS = 0.5
TENTATIVE = 0.2
BANDWIDTH = 0.03  # decades; positions closer than about this are one landmark
SIGN_CHANGE = 0.9  # share of draws in which a peak or trough must change the slope's sign
FLAT = 0.02  # share of the range below which a stage's change is none


@dataclass(frozen=True)
class Landmark:
    """A dated event of the curve: median step over draws, 90 % interval, and the share of draws that have it.

    The share counts less than half where the curve's range is within what lasting noise does by itself.
    """

    step: float
    low: float
    high: float
    probability: float

    def __post_init__(self) -> None:
        if not (0 <= self.low <= self.step <= self.high < math.inf and 0 <= self.probability <= 1):
            raise TrajectoryError(
                f"a landmark at step {self.step} with interval {self.low} to {self.high} and probability "
                f"{self.probability} makes no sense; make the stages anew with `slt stages` or `slt run`"
            )


@dataclass(frozen=True)
class Boundary(Landmark):
    """The end of a stage. `onset` is where the next burst reaches half of its greatest speed."""

    kind: str
    onset: Landmark | None = None


@dataclass(frozen=True)
class Stage:
    """What lies between two boundaries: kind "rise", "fall" or "flat", and the change of the curve."""

    start: float
    end: float
    kind: str
    change: float

    def __post_init__(self) -> None:
        if not (0 <= self.start <= self.end < math.inf and self.end > 0 and math.isfinite(self.change)):
            raise TrajectoryError(
                f"a stage from step {self.start} to {self.end} that changes the curve by {self.change} makes no sense; "
                "make the stages anew with `slt stages` or `slt run`"
            )


def _no_draws() -> Floats:
    return np.empty((0, 0))


@dataclass(frozen=True, eq=False)
class Stages:
    """The stages of one trajectory.

    Attributes:
        boundaries: probability at least 0.5 (or what `detect_stages` was told), in order of step.
        tentative: probability from 0.2 up to that.
        stages: one more than there are boundaries.
        warnings: sentences about what limits the trust in them.
        axis: "log" or "linear": the axis of time on which slopes were taken.
        boundary_draws: (R, boundaries) joint draws of the steps, NaN where a draw lacks the boundary.
        onset_draws: (R, boundaries) likewise, the onset after each boundary.
        first_onset: where the first burst begins, if the curve starts at rest; it ends no stage.
        first_onset_draws: (R,) its draws.
    """

    boundaries: tuple[Boundary, ...]
    tentative: tuple[Boundary, ...]
    stages: tuple[Stage, ...]
    warnings: tuple[str, ...]
    axis: str = "log"
    boundary_draws: Floats = field(default_factory=_no_draws)
    onset_draws: Floats = field(default_factory=_no_draws)
    first_onset: Landmark | None = None
    first_onset_draws: Floats = field(default_factory=lambda: np.empty(0))

    @property
    def onsets(self) -> tuple[Landmark, ...]:
        """Onsets of all bursts that are probable, in order of step, the first burst's included."""
        after = [boundary.onset for boundary in self.boundaries]
        return tuple(onset for onset in (self.first_onset, *after) if onset and onset.probability >= FIRST_CLASS)

    def to_dict(self, with_draws: bool = False) -> dict[str, Any]:
        """As JSON: steps as numbers, NaN draws as null."""
        document: dict[str, Any] = {
            "boundaries": [asdict(boundary) for boundary in self.boundaries],
            "tentative": [asdict(boundary) for boundary in self.tentative],
            "stages": [asdict(stage) for stage in self.stages],
            "warnings": list(self.warnings),
            "axis": self.axis,
            "first_onset": None if self.first_onset is None else asdict(self.first_onset),
        }
        if with_draws:
            document["draws"] = {
                name: np.where(np.isnan(draws), None, draws).tolist()  # type: ignore[call-overload]
                for name, draws in (
                    ("boundaries", self.boundary_draws),
                    ("onsets", self.onset_draws),
                    ("first_onset", self.first_onset_draws),
                )
            }
        return document

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Stages:
        """The inverse of `to_dict`; without "draws" the draws are empty."""
        draws = document.get("draws", {"boundaries": [[]], "onsets": [[]], "first_onset": []})
        columns = len(document["boundaries"])
        if len(document["stages"]) != columns + 1:
            raise TrajectoryError(f"{columns} boundaries part {columns + 1} stages, not {len(document['stages'])}")
        first_onset = document.get("first_onset")
        return cls(
            boundaries=tuple(_boundary(entry) for entry in document["boundaries"]),
            tentative=tuple(_boundary(entry) for entry in document.get("tentative", ())),
            stages=tuple(Stage(**entry) for entry in document["stages"]),
            warnings=tuple(document["warnings"]),
            axis=document.get("axis", "log"),
            boundary_draws=_rows(draws["boundaries"], columns),
            onset_draws=_rows(draws["onsets"], columns),
            first_onset=None if first_onset is None else Landmark(**first_onset),
            first_onset_draws=np.array(draws["first_onset"], dtype=float),
        )


def _boundary(entry: Mapping[str, Any]) -> Boundary:
    onset = entry.get("onset")
    known = {each.name: entry[each.name] for each in fields(Boundary) if each.name in entry}  # a document may say more
    return Boundary(**{**known, "onset": None if onset is None else Landmark(**onset)})


def _rows(draws: list[list[float | None]], columns: int) -> Floats:
    return np.array(draws, dtype=float).reshape(-1 if columns else len(draws), columns)


def detect_stages(
    trajectory: Trajectory, *, axis: str = "log", draws: int = 400, seed: int = 0, probability: float = FIRST_CLASS
) -> Stages:
    """Find the stage boundaries of a trajectory.

    Draws curves of straight pieces and curves whose slope changes smoothly from their posteriors (chains resampled
    whole where there are at least four), takes the persistent minima of each draw's |slope|, and clusters them.

    Args:
        trajectory: the curve; checkpoints without a finite value are left out with a warning.
        axis: "log" for slopes against log10 of the step, "linear" against the step.
        draws: posterior draws; a multiple of 10 uses all of them.
        seed: of the draws; the result depends on nothing else.
        probability: from which a boundary is first class; `slt.sensitivity` gives it by what it costs on noise.

    Raises:
        TrajectoryError: fewer than 8 usable checkpoints, an unknown axis, no draws, or a probability that is none.
    """
    if not (draws >= 1 and 0 <= probability <= 1):
        raise TrajectoryError(
            f"{draws} draws and probability {probability} cannot be had; take a draw or more, and a number from 0 to 1"
        )
    curve = curve_of(trajectory, axis)
    if np.ptp(curve.y_T) == 0:
        whole = Stage(float(curve.step(curve.x_T[0])), float(curve.step(curve.x_T[-1])), "flat", 0.0)
        return Stages((), (), (whole,), ("the curve is constant: there is nothing to divide into stages",), axis)
    drawn = draw_curves(curve, draws, np.random.default_rng(seed))
    minima = drawn.minima()
    least = min(TENTATIVE, probability)
    found = [candidate for candidate in _candidates(curve, drawn, minima) if candidate[0].probability >= least]
    sure = [candidate for candidate in found if candidate[0].probability >= probability]
    boundaries = tuple(boundary for boundary, _, _ in sure)
    first_onset, first_onset_draws = _first_onset(curve, drawn, minima)
    stages = _stages_between(curve, drawn, boundaries)
    count = len(drawn)
    return Stages(
        boundaries=boundaries,
        tentative=tuple(boundary for boundary, _, _ in found if boundary.probability < probability),
        stages=stages,
        warnings=warnings_about(trajectory, curve, drawn.fitted_T, drawn.outlying_T, boundaries, stages),
        axis=axis,
        boundary_draws=np.stack([draws for _, draws, _ in sure], axis=1) if sure else np.empty((count, 0)),
        onset_draws=np.stack([draws for _, _, draws in sure], axis=1) if sure else np.empty((count, 0)),
        first_onset=first_onset,
        first_onset_draws=first_onset_draws,
    )


def _candidates(curve: Curve, drawn: CurveDraws, minima: Minima) -> list[tuple[Boundary, Floats, Floats]]:
    """Boundaries of any probability, with their draws and those of their onsets, in steps."""
    count = len(drawn)
    position_M = drawn.middle(minima.middle_M)
    onset_M = drawn.onset(minima.draw_M, minima.cell_M, minima.until_M, curve)
    before_M = np.sign(drawn.smooth_DG[minima.draw_M, minima.before_M])
    after_M = np.sign(drawn.smooth_DG[minima.draw_M, minima.after_M])
    candidates = []
    for members in clusters(position_M, BANDWIDTH):
        turns = before_M[members] != after_M[members]
        kind = "shelf"
        if turns.mean() >= SIGN_CHANGE:
            kind = "peak" if before_M[members][turns].sum() > 0 else "trough"
        position_D = by_draw(position_M, minima.draw_M, members, count)
        agreed = max(clusters(onset_M[members], BANDWIDTH), key=len)
        onset_D = by_draw(onset_M, minima.draw_M, members[agreed], count)
        landmark, onset = _landmark(curve, drawn, position_D, 0.5 * drawn.cell), _onset_landmark(curve, drawn, onset_D)
        boundary = Boundary(landmark.step, landmark.low, landmark.high, landmark.probability, kind, onset)
        candidates.append((boundary, curve.step(position_D), curve.step(onset_D)))
    return candidates


def _first_onset(curve: Curve, drawn: CurveDraws, minima: Minima) -> tuple[Landmark | None, Floats]:
    """The onset of the first burst, where the curve does not start in the midst of it."""
    count = len(drawn)
    until_D = np.full(count, CELLS)
    np.minimum.at(until_D, minima.draw_M, minima.cell_M)
    every = np.arange(count)
    position_D = drawn.onset(every, np.zeros(count, dtype=np.intp), until_D, curve)
    from_rest = np.flatnonzero(position_D > curve.x_T[1])
    nowhere = np.full(count, np.nan)
    if not len(from_rest):
        return None, nowhere
    position_M = position_D[from_rest]
    agreed = max(clusters(position_M, BANDWIDTH), key=len)
    position_D = by_draw(position_M, from_rest, agreed, count)
    landmark = _onset_landmark(curve, drawn, position_D)
    if landmark.probability < TENTATIVE:
        return None, nowhere
    return landmark, curve.step(position_D)


def _landmark(curve: Curve, drawn: CurveDraws, position_D: Floats, blur: float) -> Landmark:
    """Median and 90 % interval, widened (errors add in squares) by what cannot be resolved."""
    present = position_D[np.isfinite(position_D)]
    low, median, high = np.quantile(present, (0.05, 0.5, 0.95))
    first, last = curve.x_T[0], curve.x_T[-1]
    ends = curve.step(
        np.clip(
            np.array([median, median - np.hypot(median - low, blur), median + np.hypot(high - median, blur)]),
            first,
            last,
        )
    )
    step, low, high = (float(end) for end in ends)
    return Landmark(step, low, high, drawn.trust * len(present) / len(position_D))


def _onset_landmark(curve: Curve, drawn: CurveDraws, position_D: Floats) -> Landmark:
    """Where in its gap between two checkpoints a burst begins, nobody saw; a rest is dated by many checkpoints."""
    right = int(np.clip(np.searchsorted(curve.x_T, np.nanmedian(position_D)), 1, len(curve.x_T) - 1))
    return _landmark(curve, drawn, position_D, max(drawn.cell, 0.5 * (curve.x_T[right] - curve.x_T[right - 1])))


def _stages_between(curve: Curve, drawn: CurveDraws, boundaries: tuple[Boundary, ...]) -> tuple[Stage, ...]:
    ends = curve.step(curve.x_T[[0, -1]])
    steps = np.array([ends[0], *(boundary.step for boundary in boundaries), ends[1]])
    value = np.interp(curve.position(steps), curve.x_T, drawn.fitted_T)
    flat = FLAT * np.ptp(curve.y_T)
    stages = []
    for start, end, change in zip(steps[:-1], steps[1:], np.diff(value), strict=True):
        kind = "flat" if abs(change) < flat else "rise" if change > 0 else "fall"
        stages.append(Stage(float(start), float(end), kind, float(change)))
    return tuple(stages)
