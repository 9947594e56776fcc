"""The job folder, on disk or object storage: every file is whole or not there, and what is there is not computed again.

job.yaml  units/<key>.npz  failures/step_<step>.json  trajectory.csv  measures.csv  traces.zarr
stages.json  events.csv  comparison.json  report.html  figures/
"""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from upath import UPath

from estimators.storage import Location, in_order, listing, local_copy
from slt.errors import OutputError
from workers.executor import Failure
from workers.files import remove, write_bytes, write_text, writing
from workers.units import CheckpointResult, UnitResult

ARRAYS = ("excess_loss_CD", "loss", "distance_C", "acceptance_C", "step_bias_C", "n_samples")


class JobFolder:
    """Reads and writes one job's results.

    Raises:
        OutputError: from every method that writes, when the disk is full or the folder is not writable.
        StorageError: from every method that reads, when object storage does not answer, or refuses.
    """

    def __init__(self, path: Location) -> None:
        self.path = path
        self.units = path / "units"
        self._opened = False
        # What object storage holds in units/ is asked for once, and not unit by unit.
        self._remote: set[str] | None = None

    @property
    def begun(self) -> bool:
        """Whether the folder is a job's: opened here or by an earlier run, or made by the service for this one."""
        if isinstance(self.path, UPath):
            return self._opened
        self._opened = self._opened or self.units.exists() or (self.path / "job.submitted.yaml").exists()
        return self._opened

    def open(self, bytes_needed: int = 0) -> None:
        """Make the folder, and make sure before anything is computed that results will fit into it."""
        if isinstance(self.path, UPath):
            self._open_remote(self.path)
            return
        units = self.path / "units"
        with writing(self.path):
            self._require_own({path.name for path in self.path.iterdir()} if self.path.is_dir() else set())
            units.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=units) as probe:
                probe.write(b"\0" * 65536)
            free = shutil.disk_usage(self.path).free
        self._opened = True
        if free < bytes_needed:
            raise OutputError(
                f"the results need about {bytes_needed / 1e6:,.0f} MB but {self.path} has {free / 1e6:,.0f} MB free; "
                f"make room, or choose another folder with --out"
            )

    def _open_remote(self, path: UPath) -> None:
        if self._opened:
            return
        with writing(path):
            names = listing(path)
        self._require_own({name.partition("/")[0] for name in names})
        self._remote = {name.removeprefix("units/") for name in names if name.startswith("units/")}
        write_text(self.units / ".writable", "")
        self._opened = True

    def _require_own(self, names: set[str]) -> None:
        foreign = [] if "units" in names else [name for name in ("failures", "traces.zarr") if name in names]
        if foreign:
            raise OutputError(
                f"{self.path} holds a '{foreign[0]}' that no job wrote and this one would replace; choose another "
                f"folder with --out"
            )

    def is_done(self, key: str) -> bool:
        """Whether the unit has been computed for all of its checkpoints; a file damaged since is none."""
        path = self._done(key)
        if isinstance(path, Path):
            return zipfile.is_zipfile(path)
        if self._remote is None:
            self._remote = set(listing(path.parent))
        return path.name in self._remote

    def save_unit(self, key: str, result: UnitResult) -> None:
        """Keep a unit's numbers; one with failures is kept beside, so that the next run tries it again."""
        failures = {position: asdict(failure) for position, failure in result.failures.items()}
        done = [entry for entry in result.entries if isinstance(entry, CheckpointResult)]
        names = list(done[0].measures) if done else []
        # One array for all checkpoints: what a file costs is mostly by the number of arrays in it.
        arrays: dict[str, Any] = {name: np.array([getattr(entry, name) for entry in done]) for name in ARRAYS}
        arrays["measures"] = np.array([[entry.measures[name] for name in names] for entry in done])
        about = {"seconds": result.seconds, "checkpoints": len(result.entries), "measures": names, "failures": failures}
        arrays["about"] = json.dumps(about)
        path = self._partial(key) if failures else self._done(key)
        write_bytes(path, lambda file: np.savez(file, **arrays))
        if self._remote is not None:
            self._remote.add(path.name)
        if not failures and (self._remote is None or self._partial(key).name in self._remote):
            remove(self._partial(key))

    def load_unit(self, key: str) -> UnitResult:
        """A unit's numbers and failures."""
        path = self._done(key) if self.is_done(key) else self._partial(key)
        try:
            with local_copy(path) as file, np.load(file, allow_pickle=False) as arrays:
                about = json.loads(str(arrays["about"]))
                done = _entries({name: arrays[name] for name in (*ARRAYS, "measures")}, about["measures"])
                failures = {int(position): Failure(**each) for position, each in about["failures"].items()}
                entries = tuple(failures.get(position) or next(done) for position in range(about["checkpoints"]))
                return UnitResult(entries, about["seconds"])
        except (zipfile.BadZipFile, EOFError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise OutputError(f"{path} is damaged ({error}); delete it and run again") from None

    def load_units(self, keys: Iterable[str]) -> Iterator[UnitResult]:
        """`load_unit` of one after the other, the next ones on their way while one is used."""
        return in_order(self.load_unit, keys, self.path)

    def _done(self, key: str) -> Location:
        return self.units / f"{key}.npz"

    def _partial(self, key: str) -> Location:
        return self.units / f"{key}.partial.npz"


def _entries(arrays: Mapping[str, Any], measures: Sequence[str]) -> Iterator[CheckpointResult]:
    """One checkpoint after the other, those that have numbers."""
    for row, n_samples in enumerate(arrays["n_samples"].tolist()):
        yield CheckpointResult(
            excess_loss_CD=arrays["excess_loss_CD"][row],
            loss=float(arrays["loss"][row]),
            distance_C=arrays["distance_C"][row],
            acceptance_C=arrays["acceptance_C"][row],
            step_bias_C=arrays["step_bias_C"][row],
            n_samples=n_samples,
            measures=dict(zip(measures, arrays["measures"][row].tolist(), strict=True)),
        )
