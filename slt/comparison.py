"""Stages against circuit events: one-to-one matching, lags with intervals, honest p-values.

Distances are in decades, log10(landmark / event): negative if the LLC's landmark comes first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from slt.caveats import correlation
from slt.chance import GroupTest, group_tests, share_near, shuffle_test
from slt.errors import BadInput, EventsError
from slt.events import CircuitEvent
from slt.matching import Dated, Match, boundaries_of, match_events, onsets_of, positions
from slt.stages import Stage, Stages
from slt.table import as_floats
from slt.trajectory import Trajectory

TOLERANCE = 0.2
"""Decades within which the LLC is said to have seen an event."""
MIN_RUNS = 5
SAME_SIGNAL = 0.99
MIN_STAGE = 5
"""Checkpoints of a stage below which a correlation says nothing."""


@dataclass(frozen=True)
class Sighting:
    """Whether and where the LLC saw one event: its nearest boundary and onset, at any distance, and the sentence."""

    event: str
    group: str
    step: float
    seen: bool
    same_signal: bool
    boundary_step: float | None
    boundary_decades: float | None
    onset_step: float | None
    onset_decades: float | None
    sentence: str


@dataclass(frozen=True)
class Comparison:
    """Stages against events.

    Attributes:
        matches: by optimal one-to-one assignment, each group of events with onsets and with boundaries separately.
        sightings: one per event, in the order given.
        groups: one per group of events.
        unmatched_events: names of events that no landmark was assigned to.
        unmatched_boundaries: steps of boundaries that neither themselves nor by their onset were assigned.
        tolerance: decades within which an event counts as seen.
        chance: share of the range (log steps) in which an event would be seen, wherever it fell.
    """

    matches: tuple[Match, ...]
    sightings: tuple[Sighting, ...]
    groups: tuple[GroupTest, ...]
    unmatched_events: tuple[str, ...]
    unmatched_boundaries: tuple[float, ...]
    tolerance: float
    chance: float | None

    def to_dict(self) -> dict[str, Any]:
        """As JSON, without NaN."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Comparison:
        """The inverse of `to_dict`."""
        return cls(
            matches=tuple(Match(**entry) for entry in document["matches"]),
            sightings=tuple(Sighting(**entry) for entry in document["sightings"]),
            groups=tuple(GroupTest(**entry) for entry in document["groups"]),
            unmatched_events=tuple(document["unmatched_events"]),
            unmatched_boundaries=tuple(document["unmatched_boundaries"]),
            tolerance=document["tolerance"],
            chance=document["chance"],
        )


def compare(
    stages: Stages,
    events: Iterable[CircuitEvent],
    *,
    trajectory: Trajectory | None = None,
    series: Mapping[str, ArrayLike] | None = None,
    seed: int = 0,
    tolerance: float = TOLERANCE,
) -> Comparison:
    """Compare the stages of a run with what happened in it.

    Args:
        stages: the detected stages; their boundaries count, and onsets with probability from 0.5.
        events: what happened; at step 0 nothing can be placed on a logarithmic axis, and such an event is not seen.
        trajectory: the curve that the stages were detected in: tells the gaps between checkpoints.
        series: per group, the measured curve at the trajectory's checkpoints that its events were read from; an
            event in a stage where this is an affine copy of the LLC is the same signal, not a match.
        seed: of the jitter and of the draws of lags.
        tolerance: decades within which an event counts as seen.

    Raises:
        EventsError: two events of one group share a name.
        BadInput: a series without a trajectory, or of another length; a tolerance that is not above 0.
    """
    if not 0 < tolerance < math.inf:
        raise BadInput(f"a tolerance of {tolerance:g} decades sees nothing, or everything; give a number above 0")
    events = tuple(events)
    names = [(event.group, event.name) for event in events]
    for group, name in names:
        if names.count((group, name)) > 1:
            raise EventsError(f"two events of group '{group}' are called '{name}'; give each its own name")
    rng = np.random.default_rng(seed)
    boundaries, onsets = boundaries_of(stages), onsets_of(stages)
    copies = _copies(stages, trajectory, series or {})
    sightings = tuple(_sighting(event, boundaries, onsets, copies, tolerance) for event in events)
    placed = [e for e, s in zip(events, sightings, strict=True) if e.step > 0 and not s.same_signal]
    by_group = {group: [event for event in placed if event.group == group] for group, _ in names}
    matched = [
        (match, dated)
        for kind, landmarks in (("onset", onsets), ("boundary", boundaries))
        for happened in by_group.values()
        for match, dated in match_events(kind, landmarks, happened, trajectory, tolerance, rng)
    ]
    found = {(match.group, match.event) for match, _ in matched}
    used = {dated.boundary for _, dated in matched}
    low, high = _span(stages)
    kind, tested = ("onset", onsets) if onsets else ("boundary", boundaries)
    dates = {group: np.log10([event.step for event in happened]) for group, happened in by_group.items()}
    chance = share_near(positions([*boundaries, *onsets]), low, high, tolerance)
    return Comparison(
        matches=tuple(match for match, _ in matched),
        sightings=sightings,
        groups=group_tests(dates, kind, positions(tested), low, high, rng),
        unmatched_events=tuple(event.name for event in events if (event.group, event.name) not in found),
        unmatched_boundaries=tuple(b.step for index, b in enumerate(stages.boundaries) if index not in used),
        tolerance=tolerance,
        chance=chance if np.isfinite(chance) else None,
    )


def same_signal(trajectory: Trajectory, measure_values: ArrayLike, stages: Stages) -> list[tuple[Stage, float]]:
    """Stages in which a measure is an affine copy of the LLC: (stage, |correlation|) where that exceeds 0.99.

    Raises:
        BadInput: not one number per checkpoint.
    """
    values = as_floats(measure_values, "series")
    if values.shape != trajectory.steps.shape:
        raise BadInput(f"a series of {values.size} values does not fit the {len(trajectory)} checkpoints")
    found = []
    for stage in stages.stages:
        inside = (trajectory.steps >= stage.start) & (trajectory.steps <= stage.end)
        inside &= np.isfinite(values) & np.isfinite(trajectory.llc)
        x, y = trajectory.llc[inside], values[inside]
        alike = abs(correlation(x, y)) if len(x) >= MIN_STAGE else 0.0
        if alike > SAME_SIGNAL:
            found.append((stage, alike))
    return found


def seed_shuffle(runs: Sequence[tuple[Stages, Sequence[CircuitEvent]]], *, seed: int = 0) -> float:
    """P-value over runs: does run i's landmark predict run i's event better than run j's does?

    The table of mean distances from run i's events to run j's nearest onsets (boundaries, where a run has no
    onset) is compared with itself under all pairings of runs. With 5 runs p can be as small as 1/120.

    Raises:
        BadInput: fewer than 5 runs, or a run without landmarks or events.
    """
    if len(runs) < MIN_RUNS:
        raise BadInput(f"the seed shuffle needs at least {MIN_RUNS} runs, there are {len(runs)}")
    landmarks = [positions(onsets_of(stages) or boundaries_of(stages)) for stages, _ in runs]
    happened = [np.log10([event.step for event in events if event.step > 0]) for _, events in runs]
    for number, (marks, dates) in enumerate(zip(landmarks, happened, strict=True), start=1):
        if not len(marks) or not len(dates):
            raise BadInput(f"run {number} has {len(marks)} landmarks and {len(dates)} events; it needs both")
    distance = [[np.abs(dates[:, None] - marks).min(axis=1).mean() for marks in landmarks] for dates in happened]
    return shuffle_test(np.array(distance), np.random.default_rng(seed))


def _copies(
    stages: Stages, trajectory: Trajectory | None, series: Mapping[str, ArrayLike]
) -> dict[str, list[tuple[Stage, float]]]:
    if trajectory is None:
        if series:
            raise BadInput("series were given without the trajectory that tells their checkpoints; give both")
        return {}
    return {group: same_signal(trajectory, values, stages) for group, values in series.items()}


def _sighting(
    event: CircuitEvent,
    boundaries: Sequence[Dated],
    onsets: Sequence[Dated],
    copies: Mapping[str, list[tuple[Stage, float]]],
    tolerance: float,
) -> Sighting:
    """Where the LLC saw an event, if it did, in one sentence."""
    nearest = {kind: _nearest(event, marks) for kind, marks in (("boundary", boundaries), ("onset", onsets))}
    copied = [r for stage, r in copies.get(event.group, ()) if stage.start <= event.step <= stage.end]
    known = {kind: found for kind, found in nearest.items() if found}
    places = [_place(kind, found) for kind, found in sorted(known.items(), key=lambda item: abs(item[1][1]))]
    seen = not copied and any(abs(decades) <= tolerance for _, decades in known.values())
    subject = f"'{event.name}' at step {_number(event.step)}"
    if copied:
        sentence = (
            f"{subject} is not counted: in this stage the series '{event.group}' is the same signal as the LLC "
            f"(|correlation| {copied[0]:.3f})."
        )
    elif seen:
        sentence = f"{subject}: the LLC saw it, with {places[0]}."
    elif event.step == 0:
        sentence = f"{subject}: the LLC did not see it; a logarithmic axis begins after step 0."
    elif places:
        sentence = f"{subject}: the LLC did not see it; the nearest are {' and '.join(places)}."
    else:
        sentence = f"{subject}: the LLC did not see it; it shows no boundary at all."
    boundary_step, boundary_decades = nearest["boundary"] or (None, None)
    onset_step, onset_decades = nearest["onset"] or (None, None)
    return Sighting(
        event=event.name,
        group=event.group,
        step=event.step,
        seen=seen,
        same_signal=bool(copied),
        boundary_step=boundary_step,
        boundary_decades=boundary_decades,
        onset_step=onset_step,
        onset_decades=onset_decades,
        sentence=sentence,
    )


def _nearest(event: CircuitEvent, landmarks: Sequence[Dated]) -> tuple[float, float] | None:
    """(step, signed distance in decades) of the nearest landmark."""
    if event.step == 0 or not landmarks:
        return None
    decades = positions(landmarks) - np.log10(event.step)
    index = int(np.argmin(np.abs(decades)))
    return landmarks[index].landmark.step, float(decades[index])


def _place(kind: str, found: tuple[float, float]) -> str:
    step, decades = found
    article = "an" if kind == "onset" else "a"
    return f"{article} {kind} at {_number(step)} ({abs(decades):.2f} decades {'later' if decades > 0 else 'earlier'})"


def _number(step: float) -> str:
    return f"{step:,.0f}" if step >= 100 else f"{step:.3g}"  # epochs may be fractions


def _span(stages: Stages) -> tuple[float, float]:
    """log10 of the first and last step of the curve."""
    start, end = stages.stages[0].start, stages.stages[-1].end
    marks = [b.step for b in stages.boundaries if b.step > 0]
    return float(np.log10(start if start > 0 else min([*marks, end]))), float(np.log10(end))
