"""Which curves the bench looks at, and how many of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from benchmarks.stages.cells import PUBLISHED, Spec, changes, grid, harder, nulls, repeated
from benchmarks.stages.methods import OURS
from benchmarks.stages.work import Chosen, Task

REPLICATES = 4
"""Chains of the correlated nulls that have noise of their own, so that it can be told from signal."""


@dataclass(frozen=True)
class Size:
    """Curves per cell (family x noise x number of points), and how often the rest is repeated.

    `peer_nulls` of the `nulls` of each kind are given to the peers too; `tuned` cells choose the knobs.
    """

    smooth: int
    stairs: int
    nulls: int
    peer_nulls: int
    harder: int
    repeated: int
    published: int
    tuned: int
    events: int
    linear: int
    online: int


FULL = Size(
    smooth=40,
    stairs=20,
    nulls=200,
    peer_nulls=60,
    harder=40,
    repeated=15,
    published=10,
    tuned=2,
    events=400,
    linear=3,
    online=50,
)
QUICK = Size(
    smooth=4,
    stairs=2,
    nulls=20,
    peer_nulls=5,
    harder=4,
    repeated=2,
    published=2,
    tuned=1,
    events=60,
    linear=0,
    online=4,
)


@dataclass(frozen=True)
class Plan:
    """The curves, by what they are for."""

    size: Size

    @cached_property
    def tuned(self) -> list[Spec]:
        count = self.size.tuned
        return [
            *grid(("smooth", "ramps", "jumps"), count, half=0),
            *nulls(0.0, 3 * count, half=0),
            *nulls(0.5, 3 * count, half=0),
        ]

    @cached_property
    def smooth(self) -> list[Spec]:
        return grid(("smooth",), self.size.smooth, half=1)

    @cached_property
    def ramps(self) -> list[Spec]:
        return grid(("ramps",), self.size.stairs, half=1)

    @cached_property
    def jumps(self) -> list[Spec]:
        return grid(("jumps",), self.size.stairs, half=1)

    @cached_property
    def white(self) -> list[Spec]:
        return nulls(0.0, self.size.nulls, half=1)

    @cached_property
    def correlated(self) -> list[Spec]:
        return nulls(0.5, self.size.nulls, half=1)

    @cached_property
    def replicated(self) -> list[Spec]:
        return nulls(0.5, self.size.nulls, half=1, chains=REPLICATES)

    @cached_property
    def noise(self) -> dict[str, list[Spec]]:
        """The nulls by what they are called."""
        return {
            "white": self.white,
            "AR(1) 0.5": self.correlated,
            f"AR(1) 0.5, {REPLICATES} chains": self.replicated,
        }

    @cached_property
    def harder(self) -> dict[str, list[Spec]]:
        return harder(self.size.harder)

    @cached_property
    def repeated(self) -> list[Spec]:
        return repeated(self.size.repeated)

    @cached_property
    def published(self) -> list[Spec]:
        """The published curve and its changes; nothing where its file is not at hand."""
        whole = Spec("published")
        return [whole, *changes([whole], self.size.published)] if PUBLISHED.exists() else []

    def for_peers(self, nulls: Sequence[Spec]) -> list[Spec]:
        """The first few of every number of points."""
        per_size = self.size.nulls
        return [spec for k, spec in enumerate(nulls) if k % per_size < self.size.peer_nulls]

    @property
    def shared(self) -> list[Spec]:
        """What every method is scored on."""
        answers = [*self.smooth, *self.ramps, *self.jumps]
        noise = [spec for specs in self.noise.values() for spec in self.for_peers(specs)]
        return [*answers, *noise, *self.repeated, *changes(self.repeated), *self.published[:1]]

    def scoring(self, chosen: Sequence[Chosen]) -> list[Task]:
        """Every method on what is shared, with its chosen knob; us on the rest."""
        tasks = [Task(c.method.name, spec, c.knob) for spec in self.shared for c in chosen]
        groups = (*self.noise.values(), *self.harder.values(), self.published)
        mine = [spec for specs in groups for spec in specs]
        knob = next(c.knob for c in chosen if c.method is OURS)
        return [*tasks, *(Task(OURS.name, spec, knob) for spec in mine)]
