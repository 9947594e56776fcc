"""Us and the peers behind one signature.

A method's `find` gives one Found per reading: what needs no second fit (a threshold on probabilities, how change
points are read as boundaries) is a reading; what does is a knob. The pair of knob and reading that is best on the
even seeds is the one that is scored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.stages.cells import Floats, Known, decades
from slt.stages import Landmark, detect_stages


def _none() -> Floats:
    return np.empty(0)


@dataclass(frozen=True, eq=False)
class Found:
    """Landmarks in decades.

    Attributes:
        boundaries, onsets: what the method stands for.
        boundary_low, boundary_high, onset_low, onset_high: 90 % intervals, where the method has them.
        claims, probability: also what it thinks less likely, with its probability.
    """

    boundaries: Floats
    onsets: Floats
    boundary_low: Floats = field(default_factory=_none)
    boundary_high: Floats = field(default_factory=_none)
    onset_low: Floats = field(default_factory=_none)
    onset_high: Floats = field(default_factory=_none)
    claims: Floats = field(default_factory=_none)
    probability: Floats = field(default_factory=_none)


Find = Callable[..., tuple[Found, ...]]


@dataclass(frozen=True)
class Method:
    """A method with the values of its knobs that are tried, and the names of its readings."""

    name: str
    find: Find
    knobs: tuple[Mapping[str, Any], ...] = ({},)
    readings: tuple[str, ...] = ("",)

    def setting(self, knob: int, reading: int) -> str:
        """The chosen knob and reading in words."""
        words = [f"{name} {value}" for name, value in self.knobs[knob].items()]
        return ", ".join(word for word in (*words, self.readings[reading]) if word) or "defaults"


def ours(known: Known) -> tuple[Found, ...]:
    """slt.stages.detect_stages with all its defaults."""
    stages = detect_stages(known.trajectory, axis=known.axis)

    def places(landmarks: tuple[Landmark, ...], name: str) -> Floats:
        return decades(np.array([getattr(landmark, name) for landmark in landmarks], dtype=float), known.axis)

    boundaries, onsets = stages.boundaries, stages.onsets
    claims = (*boundaries, *stages.tentative)
    found = Found(
        boundaries=places(boundaries, "step"),
        onsets=places(onsets, "step"),
        boundary_low=places(boundaries, "low"),
        boundary_high=places(boundaries, "high"),
        onset_low=places(onsets, "low"),
        onset_high=places(onsets, "high"),
        claims=places(claims, "step"),
        probability=np.array([claim.probability for claim in claims]),
    )
    return (found,)


OURS = Method("slt detect_stages", ours)
