"""One .safetensors file is one checkpoint; the step may stand in its metadata."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from estimators.checkpoints.format import Claim, Contents
from estimators.checkpoints.step_names import step_from_values
from estimators.storage import Location
from slt.errors import UnreadableCheckpoint

NAME = "safetensors"


def claims(folder: Location, names: Sequence[str]) -> list[Claim]:
    """Every file that ends in .safetensors."""
    return [Claim(folder / name, frozenset([name])) for name in names if name.endswith(".safetensors")]


def parts(path: Path) -> Sequence[str]:
    """None: it is one file."""
    return ()


def examine(path: Path) -> Contents:
    """Read the header, which also shows whether the file is as long as it must be."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise unreadable(path, error) from None
    return Contents(step_from_values(metadata), path.stat().st_size)


def read(path: Path) -> dict[str, Tensor]:
    """The weights, copied out of the file: a file replaced later changes nothing here."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
    except (SafetensorError, OSError) as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: Exception) -> UnreadableCheckpoint:
    """The sentence for a file that is empty, cut short or something else."""
    if not path.exists():
        return UnreadableCheckpoint(f"{path} does not exist any more. Put it back, or run again without it")
    size = path.stat().st_size
    what = "is empty (0 bytes)" if size == 0 else f"is cut short or is not a safetensors file ({size:,} bytes; {error})"
    return UnreadableCheckpoint(f"{path} {what}. Copy or save it again, or move it out of the directory")
