"""Hugging Face's shards: `model.safetensors.index.json` names the files that together are one checkpoint."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from estimators.checkpoints import safetensors_file
from estimators.checkpoints.format import Claim, Contents
from estimators.storage import Location
from slt.errors import UnreadableCheckpoint

NAME = "safetensors shards"


def claims(folder: Location, names: Sequence[str]) -> list[Claim]:
    """Each index file, with the shards of its series, present in the index or not."""
    found = []
    for name in names:
        if name.endswith(".safetensors.index.json"):
            series = name.removesuffix(".safetensors.index.json") + "-"
            shards = [other for other in names if other.startswith(series) and other.endswith(".safetensors")]
            found.append(Claim(folder / name, frozenset([name, *shards])))
    return found


def parts(path: Path) -> Sequence[str]:
    """The shards that the index names."""
    try:
        names = sorted(set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        raise UnreadableCheckpoint(f"{path} is not a shard index: it has no 'weight_map'. Save it again") from None
    elsewhere = [name for name in names if not isinstance(name, str) or Path(name).name != name]
    if elsewhere:
        raise UnreadableCheckpoint(f"{path} names {elsewhere[0]!r}, which is not a file beside it. Save it again")
    return names


def examine(path: Path) -> Contents:
    """Look into every shard that the index names."""
    parts = [safetensors_file.examine(shard) for shard in _shards(path)]
    return Contents(parts[0].step, sum(part.bytes for part in parts))


def read(path: Path) -> dict[str, Tensor]:
    """The weights of all shards together."""
    weights: dict[str, Tensor] = {}
    for shard in _shards(path):
        weights |= safetensors_file.read(shard)
    return weights


def _shards(index: Path) -> list[Path]:
    names = parts(index)
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing or not names:
        raise UnreadableCheckpoint(
            f"{index} names {len(names)} shards but {', '.join(missing) or 'all of them'} "
            f"{'is' if len(missing) == 1 else 'are'} missing. Copy the missing files, or move the folder away"
        )
    return [index.parent / name for name in names]
