"""Decides what the report's figure shows: the axis, where each label goes, what is left out and said in a note.

Legend of shapes: T checkpoints, C chains.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from slt.events import CircuitEvent
from slt.stages import Boundary, Stages
from slt.trajectory import Floats, Trajectory, VerdictKind
from workers.refined import column
from workers.report.drawing import Axis, Drawing, Flag, Mark, Onset, Panel, Span
from workers.report.folder import JobRecord
from workers.report.words import count, interval, number, probability, step_text

# Labels are placed for the narrowest page (a telephone): what does not overlap there overlaps nowhere.
NARROW_PLOT = 300.0  # pixels
CHARACTER = 6.2  # pixels
LONGEST_LABEL = 28  # characters; the whole name is in the tables and under the pointer
FINEST = 1500  # points across the axis; more cannot be told apart and make the page slow


def prepare(job: JobRecord) -> Drawing | None:
    """Decide what the figure shows; None if the job has no checkpoint to show."""
    if job.trajectory is None:
        return None
    log = job.axis == "log"
    shown = job.trajectory.select(job.trajectory.steps > 0) if log else job.trajectory
    if not len(shown):
        return None
    axis = _axis(shown, log)
    height_range = _height_range(shown)
    curve = shown.select(_visible(shown.steps, axis))
    boundaries = in_lanes(_boundary_marks(job.stages, axis), axis, first_lane=0)
    return Drawing(
        axis=axis,
        curve=curve,
        half_width=_half_width(curve),
        height_range=height_range,
        boundaries=boundaries,
        onsets=_onsets(job.stages, shown, axis),
        events=in_lanes(
            _event_marks(job.given_events, axis), axis, first_lane=1 + max((m.lane for m in boundaries), default=-1)
        ),
        spans=_spans(job.stages, axis),
        flags=_flags(shown, height_range),
        panels=_panels(job, axis),
        notes=tuple(_notes(job, axis, height_range)),
    )


def _axis(shown: Trajectory, log: bool) -> Axis:
    low, high = float(shown.steps[0]), float(shown.steps[-1])
    if log:
        margin = max((high / low) ** 0.015, 1.02)
        return Axis(True, low / margin, high * margin, shown.step_unit)
    margin = max((high - low) * 0.015, 0.02)
    return Axis(False, low - margin, high + margin, shown.step_unit)


def _visible(steps: Floats, axis: Axis) -> NDArray[np.intp]:
    """Indices of points that can be told apart on a screen."""
    _, first = np.unique(np.floor(axis.fraction(steps) * FINEST), return_index=True)
    return np.asarray(first, dtype=np.intp)


def _half_width(curve: Trajectory) -> Floats | None:
    limits = curve.interval()
    return None if limits is None else limits[1] - curve.llc


def _height_range(shown: Trajectory) -> tuple[float, float]:
    """Limits of the LLC's axis: the curve and its chains, but no chain may squash the curve to under half."""
    llc = shown.llc[np.isfinite(shown.llc)]
    if not len(llc):
        return 0.0, 1.0
    low, high = float(llc.min()), float(llc.max())
    span = (high - low) or abs(high) or 1.0
    if shown.llc_chains is not None:
        chains = shown.llc_chains[np.isfinite(shown.llc_chains)]
        low = max(min(low, float(chains.min(initial=low))), low - span / 2)
        high = min(max(high, float(chains.max(initial=high))), high + span / 2)
    return low - 0.05 * span, high + 0.05 * span


def _boundary_marks(stages: Stages | None, axis: Axis) -> list[Mark]:
    def mark(boundary: Boundary, tentative: bool) -> Mark:
        return Mark(
            boundary.step,
            axis.clip(boundary.low),
            axis.clip(boundary.high),
            f"{step_text(boundary.step)} ({probability(boundary.probability)})",
            f"{'tentative ' if tentative else ''}boundary, {boundary.kind}: {axis.unit} {step_text(boundary.step)}, "
            f"90 % interval {interval(boundary.low, boundary.high)}, probability {probability(boundary.probability)}",
            tentative,
        )

    if stages is None:
        return []
    return [mark(boundary, False) for boundary in stages.boundaries] + [mark(each, True) for each in stages.tentative]


def _event_marks(events: Iterable[CircuitEvent], axis: Axis) -> list[Mark]:
    """An event without an interval is a point."""
    return [
        Mark(
            event.step,
            axis.clip(event.step if event.low is None else event.low),
            axis.clip(event.step if event.high is None else event.high),
            _short(event.name),
            f"{event.name}: {axis.unit} {step_text(event.step)}",
        )
        for event in events
        if axis.shows(event.step)
    ]


def in_lanes(marks: Iterable[Mark], axis: Axis, first_lane: int) -> tuple[Mark, ...]:
    """Give each label the first lane in which it overlaps no other, on the side where it fits."""
    ends: list[list[tuple[float, float]]] = []
    placed = []
    for mark in sorted(marks, key=lambda mark: mark.step):
        left, right = float(axis.fraction(mark.low)), float(axis.fraction(mark.high))
        width = (len(mark.label) + 3) * CHARACTER / NARROW_PLOT
        to_left = right + width > 1.0
        left, right = (left - width, right + 0.03) if to_left else (left - 0.03, right + width)
        lane = next((i for i, taken in enumerate(ends) if all(right < a or left > b for a, b in taken)), len(ends))
        if lane == len(ends):
            ends.append([])
        ends[lane].append((left, right))
        placed.append(replace(mark, lane=first_lane + lane, to_left=to_left))
    return tuple(placed)


def _onsets(stages: Stages | None, shown: Trajectory, axis: Axis) -> tuple[Onset, ...]:
    if stages is None or not np.isfinite(shown.llc).any():
        return ()
    after = [boundary.onset for boundary in (*stages.boundaries, *stages.tentative)]
    return tuple(
        Onset(
            onset.step,
            axis.clip(onset.low),
            axis.clip(onset.high),
            _height(onset.step, shown.steps, shown.llc, axis),
            f"onset: {axis.unit} {step_text(onset.step)}, 90 % interval {interval(onset.low, onset.high)}, "
            f"probability {probability(onset.probability)}",
            tentative=onset not in stages.onsets,
        )
        for onset in (stages.first_onset, *after)
        if onset is not None and axis.shows(onset.step)
    )


def _measured_onsets(job: JobRecord, name: str, steps: Floats, values: Floats, axis: Axis) -> tuple[Onset, ...]:
    """The onsets of a measure's own curve, which the job dated with the same detector."""
    return tuple(
        Onset(mark.step, mark.low, mark.high, _height(mark.step, steps, values, axis), mark.detail)
        for mark in _event_marks((event for event in job.measured_events if event.group == name), axis)
    )


def _height(step: float, steps: Floats, values: Floats, axis: Axis) -> float:
    known = np.isfinite(values)
    return float(np.interp(axis.fraction(step), axis.fraction(steps[known]), values[known]))


def _spans(stages: Stages | None, axis: Axis) -> tuple[Span, ...]:
    spans = []
    for i, stage in enumerate(stages.stages if stages else (), start=1):
        start, end = axis.clip(stage.start), axis.clip(stage.end)
        room = float(axis.fraction(end) - axis.fraction(start)) * NARROW_PLOT
        label = next((text for text in (f"{i} {stage.kind}", f"{i}") if len(text) * CHARACTER < room), "")
        detail = f"stage {i}: {stage.kind}, {interval(stage.start, stage.end)}, LLC {number(stage.change, signed=True)}"
        spans.append(Span(start, end, stage.kind, label, detail))
    return tuple(spans)


def _flags(shown: Trajectory, height_range: tuple[float, float]) -> tuple[Flag, ...]:
    """Checkpoints by verdict; one without a finite LLC stands on the lower edge."""
    verdicts = shown.verdicts or ()
    low, high = height_range
    heights = np.where(np.isfinite(shown.llc), shown.llc, low + 0.02 * (high - low))
    flags = []
    for kind in VerdictKind:
        chosen = [i for i, verdict in enumerate(verdicts) if verdict.kind is kind]
        if chosen and kind is not VerdictKind.OK:
            sentences = tuple(verdicts[i].sentence for i in chosen)
            flags.append(Flag(kind, shown.steps[chosen], heights[chosen], sentences))
    return tuple(flags)


def _panels(job: JobRecord, axis: Axis) -> tuple[Panel, ...]:
    shown = np.flatnonzero((job.measure_steps >= axis.low) & (job.measure_steps <= axis.high))
    shown = shown[_visible(job.measure_steps[shown], axis)]
    steps = job.measure_steps[shown]
    panels = [_refined_panel(column(name), curve, axis) for name, curve in job.refined.items()]
    for name, column_of_measure in job.measures.items():
        values = column_of_measure[shown]
        known = values[np.isfinite(values)]
        if len(known):
            log = bool(known.min() > 0 and known.max() > 100 * known.min())
            panels.append(Panel(name, steps, values, log, _measured_onsets(job, name, steps, values, axis)))
    return tuple(panels)


def _refined_panel(name: str, curve: Trajectory, axis: Axis) -> Panel:
    shown = np.flatnonzero((curve.steps >= axis.low) & (curve.steps <= axis.high))
    curve = curve.select(shown[_visible(curve.steps[shown], axis)])
    return Panel(name, curve.steps, curve.llc, False, (), _half_width(curve))


def _notes(job: JobRecord, axis: Axis, height_range: tuple[float, float]) -> Iterable[str]:
    """What the figure could not show, in words."""
    trajectory = job.trajectory
    assert trajectory is not None
    if axis.log and trajectory.steps[0] == 0:
        value = f" (LLC {number(trajectory.llc[0])})" if np.isfinite(trajectory.llc[0]) else ""
        yield f"The checkpoint at {axis.unit} 0{value} has no place on a logarithmic axis and is not drawn."
    missing = int((~np.isfinite(trajectory.llc)).sum())
    if missing:
        yield f"{count(missing, 'checkpoint')} without an estimate {'leaves a gap' if missing == 1 else 'leave gaps'}."
    chains = trajectory.llc_chains
    if chains is not None and _outside(chains, height_range):
        yield "Chains that run far from the mean leave the picture; autoscaling the interactive figure shows them."
    hidden = [event for event in job.given_events if not axis.shows(event.step)]
    if hidden:
        names = ", ".join(f"{event.name} ({step_text(event.step)})" for event in hidden)
        yield f"Outside the checkpoints' range and not drawn: {names}."


def _outside(values: Floats, height_range: tuple[float, float]) -> bool:
    known = values[np.isfinite(values)]
    return bool(((known < height_range[0]) | (known > height_range[1])).any())


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_LABEL else name[: LONGEST_LABEL - 1] + "…"
