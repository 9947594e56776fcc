"""What a checkpoint format is. A further format is one more module with these names, listed in `discovery.FORMATS`.

A module is the format: it has `NAME`, `claims`, `parts`, `examine` and `read`. The last three are given local files:
those of object storage are copied here first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor

from estimators.storage import Location


@dataclass(frozen=True)
class StepReading:
    """A training step, its unit ("step", "epoch", "token" or "example"), and where it was read."""

    step: int
    unit: str
    source: str
    certain: bool = True


@dataclass(frozen=True)
class Claim:
    """One checkpoint that a format recognises in a folder.

    Attributes:
        path: what `examine` and `read` are given: a file, or the folder itself.
        names: the entries of the folder that belong to it, no other format is asked about them.
    """

    path: Location
    names: frozenset[str]


@dataclass(frozen=True)
class Contents:
    """What a look inside, without reading the weights, found.

    Attributes:
        step: the step written inside, or None.
        bytes: size of all files that belong to the checkpoint.
        not_weights: why this file holds no weights at all (an optimiser's state, say); empty if it does.
    """

    step: StepReading | None
    bytes: int
    not_weights: str = ""


class Format(Protocol):
    """One kind of checkpoint on disk."""

    NAME: str

    def claims(self, folder: Location, names: Sequence[str]) -> list[Claim]:
        """Which of the folder's entries are checkpoints of this format, judged by their names alone."""

    def parts(self, path: Path) -> Sequence[str]:
        """Names of the files beside it that the one at `path` needs; raises UnreadableCheckpoint."""

    def examine(self, path: Path) -> Contents:
        """Look inside without reading the weights; raises UnreadableCheckpoint."""

    def read(self, path: Path) -> dict[str, Tensor]:
        """The weights by name, on the CPU, as they are in the file; raises UnreadableCheckpoint."""
