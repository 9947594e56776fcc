"""What the report's figure shows: plain values that the interactive and the printed drawer share.

Legend of shapes: T checkpoints, C chains.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from slt.trajectory import Floats, Trajectory, VerdictKind


@dataclass(frozen=True)
class Axis:
    """The shared axis of training steps."""

    log: bool
    low: float
    high: float
    unit: str

    def fraction(self, steps: Floats | float) -> Floats:
        """Where steps stand on the axis: 0 at its left end, 1 at its right."""
        scale = np.log10 if self.log else np.asarray
        low, high = scale(self.low), scale(self.high)
        with np.errstate(divide="ignore"):
            return np.asarray((scale(np.asarray(steps, dtype=float)) - low) / (high - low))

    def shows(self, step: float) -> bool:
        """Whether a step lies within the axis."""
        return self.low <= step <= self.high

    def clip(self, step: float) -> float:
        """A step brought back to the axis."""
        return float(min(max(step, self.low), self.high))


@dataclass(frozen=True)
class Mark:
    """A boundary or an event: a vertical line, its interval, and its label in the strip above the curves."""

    step: float
    low: float
    high: float
    label: str
    detail: str
    tentative: bool = False
    lane: int = 0
    to_left: bool = False

    @property
    def label_step(self) -> float:
        """Where the label begins: at the end of the interval on its side."""
        return self.low if self.to_left else self.high


@dataclass(frozen=True)
class Onset:
    """The start of a burst of change, drawn on its curve at the height it has there."""

    step: float
    low: float
    high: float
    height: float
    detail: str
    tentative: bool = False


@dataclass(frozen=True)
class Span:
    """One stage in the ribbon."""

    start: float
    end: float
    kind: str
    label: str
    detail: str


@dataclass(frozen=True, eq=False)
class Flag:
    """The checkpoints that share one verdict other than ok."""

    kind: VerdictKind
    steps: Floats
    heights: Floats
    sentences: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Panel:
    """One refined LLC or measure below the LLC, on the same axis, with the onsets of its own bursts.

    `half_width` is that of a refined LLC's 90 % interval.
    """

    name: str
    steps: Floats
    values: Floats
    log: bool
    onsets: tuple[Onset, ...]
    half_width: Floats | None = None


@dataclass(frozen=True, eq=False)
class Drawing:
    """Everything that a drawer draws; `curve` holds only the checkpoints that the axis can show.

    `half_width` is that of the LLC's 90 % interval over chains, at the curve's steps.
    """

    axis: Axis
    curve: Trajectory
    height_range: tuple[float, float]
    boundaries: tuple[Mark, ...]
    onsets: tuple[Onset, ...]
    events: tuple[Mark, ...]
    spans: tuple[Span, ...]
    flags: tuple[Flag, ...]
    panels: tuple[Panel, ...]
    notes: tuple[str, ...]
    half_width: Floats | None = None

    @property
    def lanes(self) -> int:
        """Rows of the strip above the curves that the labels need."""
        return max((mark.lane + 1 for mark in (*self.boundaries, *self.events)), default=0)


def finite_runs(values: Floats) -> list[slice]:
    """Where values are finite without a gap; a band is filled over each run."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], np.isfinite(values), [False]]).astype(int)))
    return [slice(start, end) for start, end in edges.reshape(-1, 2)]
