"""The checkpoints that following has met, kept in the job folder: a session that begins anew need not read them again.

It also remembers those that training has deleted since: what was estimated of them stays in the tables.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from estimators.checkpoints import Checkpoint
from estimators.storage import location
from workers.arrivals import Stamp, stamp_of
from workers.files import read_text, write_json
from workers.job import JobConfig
from workers.store import JobFolder

FILE = "followed.json"


@dataclass(frozen=True)
class Met:
    """A complete checkpoint as it was met, with the hash of its weights."""

    checkpoint: Checkpoint
    stamp: Stamp
    weight_hash: str

    @property
    def gone(self) -> bool:
        """Whether it is there no more."""
        return stamp_of(self.checkpoint) is None


class Record:
    """followed.json of a job folder; a record of another directory, or for another problem, is none."""

    def __init__(self, folder: JobFolder, job: JobConfig) -> None:
        self._path = folder.path / FILE
        self._of = {"directory": str(job.checkpoints), "problem": job.problem, "problem_args": job.problem_args}

    def read(self) -> Iterator[Met]:
        """What an earlier session met and what is unchanged since, or gone; a damaged record is as good as none."""
        try:
            document = json.loads(read_text(self._path))
            same = {name: document[name] for name in self._of} == self._of
            known = [_met(entry) for entry in document["checkpoints"]] if same else []
        except (OSError, ValueError, KeyError, TypeError):
            return
        for met in known:
            now = stamp_of(met.checkpoint)
            if now is None or now == met.stamp:
                yield met

    def write(self, known: dict[int, Met]) -> None:
        """Keep what is known, by step."""
        write_json(self._path, self._of | {"checkpoints": [_plain(known[step]) for step in sorted(known)]})


def _plain(met: Met) -> dict[str, Any]:
    checkpoint = met.checkpoint
    return {
        "step": checkpoint.step,
        "unit": checkpoint.unit,
        "step_source": checkpoint.step_source,
        "path": str(checkpoint.path),
        "format": checkpoint.format,
        "bytes": checkpoint.bytes,
        "changed": met.stamp[1],
        "weights": met.weight_hash,
    }


def _met(entry: dict[str, Any]) -> Met:
    names = ("step", "unit", "step_source", "format", "bytes")
    checkpoint = Checkpoint(path=location(entry["path"]), **{name: entry[name] for name in names})
    return Met(checkpoint, (entry["bytes"], entry["changed"]), entry["weights"])
