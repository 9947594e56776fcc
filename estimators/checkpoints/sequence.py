"""A run's checkpoints in the order of training, and what is wrong with the directory that holds them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from estimators.storage import Location
from slt.errors import CheckpointError, NoCheckpoints


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint, on disk or on object storage.

    Attributes:
        step: how far training had come, in `unit`s: "step", "epoch", "token" or "example".
        step_source: where the step was read, for the user to judge.
        path: the file, or the folder or index file of a checkpoint of several files.
        format: name of the format that reads it.
        bytes: size of all its files.
    """

    step: int
    unit: str
    step_source: str
    path: Location
    format: str
    bytes: int


@dataclass(frozen=True)
class CheckpointSequence:
    """What a directory holds.

    Attributes:
        directory: the directory that was searched.
        checkpoints: by step, each step once.
        faults: what makes the sequence wrong: duplicate steps, unreadable files, mixed units.
        notes: what was skipped or looks odd, and does no harm.
    """

    directory: Location
    checkpoints: tuple[Checkpoint, ...]
    faults: tuple[CheckpointError, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.checkpoints)

    def __iter__(self) -> Iterator[Checkpoint]:
        return iter(self.checkpoints)

    @property
    def problems(self) -> tuple[str, ...]:
        """Every fault and note, one sentence each."""
        return (*(str(fault) for fault in self.faults), *self.notes)

    @property
    def unit(self) -> str:
        """The unit of the steps."""
        return self.checkpoints[0].unit if self.checkpoints else "step"

    def require_usable(self) -> None:
        """Raise the first fault (DuplicateStep, UnreadableCheckpoint, CheckpointError), or NoCheckpoints."""
        if self.faults:
            more = f" (and {len(self.faults) - 1} more: slt inspect)" if len(self.faults) > 1 else ""
            raise type(self.faults[0])(f"{self.faults[0]}{more}")
        if not self.checkpoints:
            skipped = f" Skipped there: {'; '.join(self.notes[:3])}." if self.notes else ""
            raise NoCheckpoints(
                f"no checkpoint found in {self.directory}.{skipped} "
                f"Expected are files such as step_000400.safetensors, 400.pth or checkpoint-400/model.safetensors"
            )

    def to_dict(self) -> dict[str, Any]:
        """The document of `slt inspect --json`."""
        return {
            "checkpoints": [
                {
                    "step": checkpoint.step,
                    "unit": checkpoint.unit,
                    "step_source": checkpoint.step_source,
                    "path": str(checkpoint.path),
                    "format": checkpoint.format,
                    "bytes": checkpoint.bytes,
                }
                for checkpoint in self.checkpoints
            ],
            "problems": list(self.problems),
        }
