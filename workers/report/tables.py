"""The rows of the report's tables, as text."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from slt.comparison import Comparison
from slt.events import CircuitEvent
from slt.matching import Match
from slt.stages import Boundary, Landmark
from slt.trajectory import Floats, Verdict, VerdictKind
from workers.refined import column
from workers.report.folder import JobRecord
from workers.report.words import decades, exact_step, interval, number, p_value, probability, step_text


@dataclass(frozen=True)
class StageRow:
    """One stage with the change of the LLC in it and that change's share of all changes."""

    start: str
    end: str
    kind: str
    change: str
    share: str


@dataclass(frozen=True)
class BoundaryRow:
    """One boundary with its onset."""

    step: str
    interval: str
    probability: str
    kind: str
    onset: str
    onset_interval: str
    onset_probability: str
    tentative: bool
    confirmed: str


@dataclass(frozen=True)
class EventRow:
    """One event against the LLC's landmarks; `lags` has a line for each landmark assigned to it."""

    name: str
    group: str
    step: str
    boundary: str
    onset: str
    lags: tuple[str, ...]
    seen: str
    sentence: str


@dataclass(frozen=True)
class GroupRow:
    """The position test of one group of events."""

    group: str
    events: int
    landmark: str
    statistic: str
    p_value: str
    p_holm: str
    note: str


@dataclass(frozen=True)
class VerdictRow:
    """One checkpoint that is not ok."""

    step: str
    llc: str
    verdict: Verdict


def stage_rows(job: JobRecord) -> list[StageRow]:
    """The stages in order."""
    stages = job.stages.stages if job.stages else ()
    changes = _with_shares(np.array([stage.change for stage in stages]))
    return [
        StageRow(step_text(stage.start), step_text(stage.end), stage.kind, change, share)
        for stage, (change, share) in zip(stages, changes, strict=True)
    ]


def measure_rows(job: JobRecord) -> list[tuple[str, list[tuple[str, str]]]]:
    """Each measure's name with its (change, share) in every stage."""
    stages = job.stages.stages if job.stages else ()
    if not stages:
        return []
    edges = np.array([stages[0].start, *(stage.end for stage in stages)])
    return [
        (name, _with_shares(np.diff(_at(edges, job.measure_steps, values, job.axis == "log"))))
        for name, values in job.measures.items()
    ]


def _at(where: Floats, steps: Floats, values: Floats, log: bool) -> Floats:
    """A measure at given steps, interpolated on the axis between its finite values; NaN outside them."""
    known = np.isfinite(values) & ((steps > 0) | (not log))
    if not known.any():
        return np.full(len(where), np.nan)
    scale = np.log10 if log else np.asarray
    return np.interp(scale(where), scale(steps[known]), values[known], left=np.nan, right=np.nan)


def _with_shares(changes: Floats) -> list[tuple[str, str]]:
    """Changes as text, each with its share of the summed absolute changes."""
    total = float(np.nansum(np.abs(changes)))
    return [
        (number(change, signed=True), f"{abs(change) / total:.0%}" if total and np.isfinite(change) else "")
        for change in changes
    ]


def boundary_rows(job: JobRecord) -> list[BoundaryRow]:
    """First-class and tentative boundaries together, by step."""
    if job.stages is None:
        return []

    def row(boundary: Boundary, tentative: bool, confirmed: str) -> BoundaryRow:
        onset = boundary.onset
        return BoundaryRow(
            step_text(boundary.step),
            interval(boundary.low, boundary.high),
            probability(boundary.probability),
            boundary.kind,
            "" if onset is None else step_text(onset.step),
            "" if onset is None else interval(onset.low, onset.high),
            "" if onset is None else probability(onset.probability),
            tentative,
            confirmed,
        )

    words = ["yes" if flag else "no" for flag in job.confirmed] or [""] * len(job.stages.boundaries)
    every = [(boundary, False, word) for boundary, word in zip(job.stages.boundaries, words, strict=True)]
    every += [(boundary, True, "") for boundary in job.stages.tentative]
    return [row(*entry) for entry in sorted(every, key=lambda entry: entry[0].step)]


def advice_rows(job: JobRecord) -> list[tuple[str, str, str, str]]:
    """(boundary, what to do, at which steps, why), by boundary."""
    return [
        (step_text(each.boundary), each.action, ", ".join(exact_step(step) for step in each.steps), each.reason)
        for each in job.advice
    ]


def gauge_rows(job: JobRecord) -> list[tuple[str, list[tuple[str, str]]]]:
    """Each boundary with (step, probability) in every gauge; nothing where the LLC is the only gauge."""
    if job.gauges is None or len(job.gauges.names) < 2:
        return []

    def cell(mark: Landmark | None) -> tuple[str, str]:
        return ("", "") if mark is None else (step_text(mark.step), probability(mark.probability))

    return [
        (step_text(boundary.step), [cell(boundary.seen.get(name)) for name in job.gauges.names])
        for boundary in job.gauges.boundaries
    ]


def event_rows(comparison: Comparison, events: Iterable[CircuitEvent]) -> list[EventRow]:
    """The chosen events in the order given, each with its nearest landmarks and the lags of those assigned to it."""
    chosen = {(event.group, event.name) for event in events}

    def nearest(step: float | None, distance: float | None) -> str:
        return "" if step is None or distance is None else f"{step_text(step)} ({decades(distance)})"

    def lag(match: Match) -> str:
        limits = f"{decades(match.low)} to {decades(match.high)}"
        return f"{match.landmark} {match.relation}: {decades(match.lag_decades)} ({limits})"

    return [
        EventRow(
            sighting.event,
            sighting.group,
            step_text(sighting.step),
            nearest(sighting.boundary_step, sighting.boundary_decades),
            nearest(sighting.onset_step, sighting.onset_decades),
            tuple(
                lag(match)
                for match in comparison.matches
                if (match.group, match.event) == (sighting.group, sighting.event)
            ),
            "same signal" if sighting.same_signal else "yes" if sighting.seen else "no",
            sighting.sentence,
        )
        for sighting in comparison.sightings
        if (sighting.group, sighting.event) in chosen
    ]


def group_rows(comparison: Comparison) -> list[GroupRow]:
    """The position test per group of events."""
    return [
        GroupRow(
            test.group,
            test.events,
            test.landmark,
            "" if test.statistic is None else f"{test.statistic:.2f}",
            "none" if test.p_value is None else p_value(test.p_value),
            "none" if test.p_holm is None else p_value(test.p_holm),
            test.note,
        )
        for test in comparison.groups
    ]


def verdict_counts(job: JobRecord) -> list[tuple[VerdictKind, int]]:
    """How many checkpoints got each verdict, in the order of the kinds."""
    verdicts = job.trajectory.verdicts if job.trajectory else None
    counts = Counter(verdict.kind for verdict in verdicts or ())
    return [(kind, counts[kind]) for kind in VerdictKind if counts[kind]]


def refined_rows(job: JobRecord) -> list[tuple[str, str, str, str, list[str]]]:
    """Each refined LLC: column, what moves, its data, the range of its LLC, and its verdicts with their counts."""
    rows = []
    for name, curve in job.refined.items():
        asked = job.settings["refinements"][name]
        known = curve.llc[np.isfinite(curve.llc)]
        counts = Counter(verdict.kind for verdict in curve.verdicts or ())
        rows.append(
            (
                column(name),
                ", ".join(asked.get("parameters") or ()) or "all",
                asked.get("data") or "the problem's",
                f"{number(known.min())} to {number(known.max())}" if len(known) else "",
                [f"{counts[kind]} {kind.value}" for kind in VerdictKind if counts[kind]],
            )
        )
    return rows


def verdict_rows(job: JobRecord) -> list[VerdictRow]:
    """The checkpoints whose verdict is not ok."""
    trajectory = job.trajectory
    if trajectory is None or trajectory.verdicts is None:
        return []
    return [
        VerdictRow(exact_step(float(step)), number(llc), verdict)
        for step, llc, verdict in zip(trajectory.steps, trajectory.llc, trajectory.verdicts, strict=True)
        if verdict.kind is not VerdictKind.OK
    ]


def setting_rows(settings: Any, prefix: str = "") -> Iterable[tuple[str, str]]:
    """Nested settings as (dotted name, value)."""
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            yield from setting_rows(value, f"{name}.")
        else:
            yield name, value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def steps_listed(steps: Sequence[float]) -> str:
    """Steps of a failed item."""
    return ", ".join(exact_step(float(step)) for step in steps)
