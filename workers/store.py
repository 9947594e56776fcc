"""The job folder: every file appears complete or not at all, and what is there need not be computed again.

job.yaml  units/<key>.npz  failures/step_<step>.json  trajectory.csv  measures.csv  traces.zarr
stages.json  events.csv  comparison.json  report.html  figures/
"""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from slt.errors import OutputError
from workers.executor import Failure
from workers.files import write_bytes, writing
from workers.units import CheckpointResult, UnitResult


class JobFolder:
    """Reads and writes one job's results.

    Raises:
        OutputError: from every method that writes, when the disk is full or the folder is not writable.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.units = path / "units"
        self._opened = False

    @property
    def begun(self) -> bool:
        """Whether the folder is a job's: opened here or by an earlier run, or made by the service for this one."""
        self._opened = self._opened or self.units.exists() or (self.path / "job.submitted.yaml").exists()
        return self._opened

    def open(self, bytes_needed: int = 0) -> None:
        """Make the folder, and make sure before anything is computed that results will fit into it."""
        mine = ("failures", "traces.zarr")
        foreign = [name for name in mine if (self.path / name).exists() and not self.units.exists()]
        if foreign:
            raise OutputError(
                f"{self.path} holds a '{foreign[0]}' that no job wrote and this one would replace; choose another "
                f"folder with --out"
            )
        with writing(self.path):
            self.units.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.units) as probe:
                probe.write(b"\0" * 65536)
            free = shutil.disk_usage(self.path).free
        self._opened = True
        if free < bytes_needed:
            raise OutputError(
                f"the results need about {bytes_needed / 1e6:,.0f} MB but {self.path} has {free / 1e6:,.0f} MB free; "
                f"make room, or choose another folder with --out"
            )

    def is_done(self, key: str) -> bool:
        """Whether the unit has been computed for all of its checkpoints; a file damaged since is none."""
        return zipfile.is_zipfile(self._done(key))

    def save_unit(self, key: str, result: UnitResult) -> None:
        """Keep a unit's numbers; one with failures is kept beside, so that the next run tries it again."""
        failures = {position: asdict(failure) for position, failure in result.failures.items()}
        arrays: dict[str, Any] = {
            "seconds": result.seconds,
            "checkpoints": len(result.entries),
            "failures": json.dumps(failures),
        }
        for position, entry in enumerate(result.entries):
            if isinstance(entry, CheckpointResult):
                arrays[f"excess_loss_CD.{position}"] = entry.excess_loss_CD
                arrays[f"loss.{position}"] = entry.loss
                arrays[f"distance_C.{position}"] = entry.distance_C
                for name, value in entry.measures.items():
                    arrays[f"measure.{position}.{name}"] = value
        write_bytes(self._partial(key) if failures else self._done(key), lambda file: np.savez(file, **arrays))
        if not failures:
            self._partial(key).unlink(missing_ok=True)

    def load_unit(self, key: str) -> UnitResult:
        """A unit's numbers and failures."""
        path = self._done(key) if self.is_done(key) else self._partial(key)
        with np.load(path, allow_pickle=False) as arrays:
            failures = json.loads(str(arrays["failures"]))
            entries = [
                Failure(**failures[str(position)]) if str(position) in failures else _read_entry(arrays, position)
                for position in range(int(arrays["checkpoints"]))
            ]
            return UnitResult(tuple(entries), float(arrays["seconds"]))

    def _done(self, key: str) -> Path:
        return self.units / f"{key}.npz"

    def _partial(self, key: str) -> Path:
        return self.units / f"{key}.partial.npz"


def _read_entry(arrays: Mapping[str, Any], position: int) -> CheckpointResult:
    prefix = f"measure.{position}."
    return CheckpointResult(
        excess_loss_CD=arrays[f"excess_loss_CD.{position}"],
        loss=float(arrays[f"loss.{position}"]),
        distance_C=arrays[f"distance_C.{position}"],
        measures={name.removeprefix(prefix): float(arrays[name]) for name in arrays if name.startswith(prefix)},
    )
