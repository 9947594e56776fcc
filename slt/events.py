"""Circuit events: dated happenings that stage boundaries are compared with. From a file, or found on a measured curve.

An events file is a CSV table with the columns `name, step` and, optional, `low, high, group`.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from slt.errors import EventsError
from slt.table import as_floats
from slt.trajectory import Floats, Trajectory

COLUMNS = ("name", "step", "low", "high", "group")
SPIKE_WINDOW = 5
"""Checkpoints on either side of the running median: a spike may last as many, or half of this on both sides."""
SPIKE_NOISE = 6.0
"""Local noise levels that a spike rises above; fewer than 1 in 1,000 curves of 100 noisy points has one by chance."""


@dataclass(frozen=True)
class CircuitEvent:
    """Something that happened in training, found without the LLC.

    Attributes:
        name: what happened.
        step: when, in the trajectory's unit; not negative.
        low, high: 90 % interval of the step, or None if it is exact.
        group: the series it was read from; p-values are per group.

    Raises:
        EventsError: a step that is negative or not finite, or outside of its interval.
    """

    name: str
    step: float
    low: float | None = None
    high: float | None = None
    group: str = "events"

    def __post_init__(self) -> None:
        for label, value in (("step", self.step), ("low", self.low), ("high", self.high)):
            if value is None and label != "step":
                continue
            try:
                sound = math.isfinite(value) and value >= 0  # type: ignore[arg-type,operator]
            except TypeError:
                sound = False
            if not sound:
                raise EventsError(f"event '{self.name}' has {label} {value}; it must be a number from 0 up")
        low = self.step if self.low is None else self.low
        high = self.step if self.high is None else self.high
        if low > high:
            raise EventsError(f"event '{self.name}' has low {low:g} above high {high:g}")
        if not low <= self.step <= high:
            raise EventsError(f"event '{self.name}' at step {self.step:g} is not within {low:g}..{high:g}")


def read_events(path: str | os.PathLike[str]) -> tuple[CircuitEvent, ...]:
    """The events of a file, in its order; other columns are ignored, and a header alone means that nothing happened.

    Raises:
        EventsError: no such file, an empty one, a missing column, text in a number column, a negative
            step, low above high, a ragged row or an event without a name; the message names the row.
    """
    header, rows = _read_rows(Path(path))
    for column in ("name", "step"):
        if column not in header:
            raise EventsError(
                f"no column '{column}' in {path}; its columns are {', '.join(header)}. An events file needs name, step"
            )
    return tuple(_event(dict(zip(header, row, strict=True)), f"row {number} of {path}") for number, row in rows)


def write_events(path: str | os.PathLike[str], events: Iterable[CircuitEvent]) -> None:
    """Write a file that `read_events` gives back as it was."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for event in events:
            steps = ("" if step is None else repr(float(step)) for step in (event.step, event.low, event.high))
            writer.writerow([event.name, *steps, event.group])


def crossing(
    steps: ArrayLike, values: ArrayLike, level: float, name: str, *, rising: bool = True, group: str = "events"
) -> CircuitEvent | None:
    """Where a measured curve first passes a level, interpolated in the logarithm of the step; None if it never does.

    Values that are not finite are left out. A curve that begins beyond the level has to come back
    first: that it was passed before the first checkpoint is not an event that can be dated.

    Args:
        steps: (T,) increasing, from 0 up.
        values: (T,) the measured curve.
        level: what is passed; reaching it counts.
        name: the event's name.
        rising: upwards, or downwards.
        group: the event's group.
    """
    t, y = _finite(steps, values)
    beyond = y >= level if rising else y <= level
    passed = np.flatnonzero(~beyond[:-1] & beyond[1:])
    if not len(passed):
        return None
    i = int(passed[0])
    share = (level - y[i]) / (y[i + 1] - y[i])
    left, right = t[i], t[i + 1]
    step = left + share * right if left == 0 else left * (right / left) ** share
    return CircuitEvent(name, float(np.clip(step, left, right)), float(left), float(right), group)


def onset_events(steps: ArrayLike, values: ArrayLike, name: str, group: str) -> tuple[CircuitEvent, ...]:
    """Where the bursts of change of a measured curve begin, by the detector that finds the LLC's own onsets.

    Args:
        steps: (T,) increasing, from 0 up.
        values: (T,) the measured curve; values that are not finite are left out.
        name: the event's name; numbered where there are several.
        group: the events' group.

    Raises:
        TrajectoryError: too few checkpoints.
    """
    from slt.stages import detect_stages

    t, y = _finite(steps, values)
    onsets = detect_stages(Trajectory(t, y)).onsets
    return tuple(
        CircuitEvent(label, onset.step, min(onset.low, onset.step), max(onset.high, onset.step), group)
        for label, onset in zip(_numbered(name, len(onsets)), onsets, strict=True)
    )


def spikes(
    steps: ArrayLike, values: ArrayLike, name: str, *, group: str = "events", factor: float = 1.5
) -> tuple[CircuitEvent, ...]:
    """Where a positive curve, such as a loss, jumps up for a moment.

    A spike rises, in the logarithm, above the running median of the 11 surrounding checkpoints by 6 times
    the local noise and at least by `factor`; noise is what neighbouring checkpoints differ by. A step that stays
    and a steep stretch are none: the running median follows them. The ends of the curve cannot be judged.

    Args:
        steps: (T,) increasing.
        values: (T,) the measured curve; values that are not finite are left out, and zeros (a loss that
            underflowed) count as the smallest positive value.
        name: the events' name; numbered where there are several.
        group: the events' group.
        factor: least ratio of spike to surroundings.
    """
    t, y = _finite(steps, values)
    if len(y) < 3 or not (y > 0).any():
        return ()
    log_y = np.log(np.maximum(y, y[y > 0].min()))
    residual = log_y - _running_median(log_y)
    noise = _local_change(log_y)
    high = residual > np.maximum(SPIKE_NOISE * noise, np.log(factor))
    found = np.flatnonzero(high)
    runs = np.split(found, np.flatnonzero(np.diff(found) > 1) + 1)
    tops = [int(run[np.argmax(residual[run])]) for run in runs if len(run)]
    return tuple(
        CircuitEvent(label, float(t[i]), float(t[max(i - 1, 0)]), float(t[min(i + 1, len(t) - 1)]), group)
        for label, i in zip(_numbered(name, len(tops)), tops, strict=True)
    )


def _running_median(values: Floats) -> Floats:
    """Over a window that shrinks towards the ends but stays symmetric, so that a slope there is no residual."""
    length = len(values)
    reach = [min(i, length - 1 - i, SPIKE_WINDOW) for i in range(length)]
    return np.array([np.median(values[i - k : i + k + 1]) for i, k in enumerate(reach)])


def _local_change(values: Floats) -> Floats:
    """Standard deviation of the noise with the median |change| of the 30 changes around; a steep stretch adds to it."""
    change = np.abs(np.diff(values))
    first = np.clip(np.arange(len(values)) - 3 * SPIKE_WINDOW, 0, max(len(change) - 6 * SPIKE_WINDOW, 0))
    return np.array([1.4826 / np.sqrt(2) * np.median(change[i : i + 6 * SPIKE_WINDOW]) for i in first])


def _finite(steps: ArrayLike, values: ArrayLike) -> tuple[Floats, Floats]:
    t, y = as_floats(steps, "steps"), as_floats(values, "values")
    if len(t) != len(y):
        raise EventsError(f"a curve needs one value per step, but there are {len(t)} steps and {len(y)} values")
    keep = np.isfinite(t) & np.isfinite(y)
    return t[keep], y[keep]


def _read_rows(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = [(number, row) for number, row in enumerate(csv.reader(file), start=1) if row]
    except FileNotFoundError:
        raise EventsError(f"no such file: {path}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise EventsError(f"{path} cannot be read as a CSV table: {error}") from None
    if not rows:
        raise EventsError(f"{path} is empty; it needs a header with the columns name, step")
    header = [" ".join(name.split()) for name in rows[0][1]]
    for name in header:
        if header.count(name) > 1:
            raise EventsError(f"{path} has two columns '{name}'; keep one")
    for number, row in rows[1:]:
        if len(row) != len(header):
            raise EventsError(f"row {number} of {path} has {len(row)} fields but the header has {len(header)}")
    return header, rows[1:]


def _event(cells: dict[str, str], where: str) -> CircuitEvent:
    name = " ".join(cells["name"].split())
    if not name:
        raise EventsError(f"{where} has no name")
    step, low, high = (_number(cells.get(column, ""), column, where) for column in ("step", "low", "high"))
    if step is None:
        raise EventsError(f"event '{name}' in {where} has no step")
    try:
        return CircuitEvent(name, step, low, high, cells.get("group", "").strip() or "events")
    except EventsError as error:
        raise EventsError(f"{error} ({where})") from None


def _number(cell: str, column: str, where: str) -> float | None:
    if not cell.strip():
        return None
    try:
        return float(cell)
    except ValueError:
        raise EventsError(f"{cell!r} in column '{column}', {where}, is not a number") from None


def _numbered(name: str, count: int) -> list[str]:
    return [name] if count == 1 else [f"{name} {number}" for number in range(1, count + 1)]
