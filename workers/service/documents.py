"""What the API hands out of a job's folder: curve, stages, report, log, and the whole of it as a zip."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from slt.errors import SltError
from slt.table import numbers, read_table
from slt.trajectory import Trajectory
from workers.service import jobs

CHUNK = 1 << 18
NOT_HANDED_OUT = frozenset({jobs.SERVICE})


def trajectory(folder: Path) -> dict[str, Any]:
    """The curve as far as it is, with its measures; numbers are finite or None.

    `verdicts` and `sentences` are those of each point, `llc_chains` its chains or None, and `available` names the
    other documents that are there.

    Raises:
        BadInput: the table is damaged.
    """
    path, step_unit = folder / "trajectory.csv", "step"
    document: dict[str, Any] = {"step_unit": step_unit, "steps": [], "llc": [], "llc_std_error": [], "loss": []}
    document |= {"verdicts": [], "sentences": [], "llc_chains": None, "measures": {}}
    document["available"] = [name for name in ("stages", "comparison") if (folder / f"{name}.json").is_file()]
    if not path.is_file():
        return document
    curve = Trajectory.from_csv(path, step_unit=step_unit)
    for name, column in {"steps": curve.steps, "llc": curve.llc}.items():
        document[name] = _finite(column)
    for name in ("llc_std_error", "loss"):
        column = getattr(curve, name)
        document[name] = [None] * len(curve) if column is None else _finite(column)
    document["verdicts"] = [verdict.kind.value for verdict in curve.verdicts or ()]
    document["sentences"] = [verdict.sentence for verdict in curve.verdicts or ()]
    if curve.llc_chains is not None:
        document["llc_chains"] = [_finite(chains) for chains in curve.llc_chains]
    document["measures"] = _measures(folder / "measures.csv", curve.steps)
    return document


def points(folder: Path) -> int:
    """How many rows the curve has so far."""
    try:
        with open(folder / "trajectory.csv", "rb") as file:
            return max(0, sum(1 for _ in file) - 1)
    except OSError:
        return 0


def _measures(path: Path, steps: Any) -> dict[str, list[float | None]]:
    """Measures at the steps of the curve; the two tables are written one after the other and may differ by a row."""
    if not path.is_file():
        return {}
    try:
        header, table = read_table(path)
        columns = {name: numbers(table[name], name, path) for name in header}
    except SltError:
        return {}
    at = {step: row for row, step in enumerate(columns.pop("step", np.empty(0)).tolist())}
    rows = [at.get(step) for step in steps.tolist()]
    return {
        name: _finite([math.nan if row is None else values[row] for row in rows]) for name, values in columns.items()
    }


def _finite(values: Any) -> list[float | None]:
    return [float(value) if math.isfinite(value) else None for value in values]


def zipped(folder: Path) -> Iterator[bytes]:
    """The folder as a zip, piece by piece: no more than a piece of it is ever in memory."""
    buffer = _Pieces()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_symlink() or not path.is_file() or path.name in NOT_HANDED_OUT or path.name.startswith("."):
                continue
            try:
                source = open(path, "rb")  # noqa: SIM115 - closed below; opened here so that a vanished file is skipped
            except OSError:
                continue
            name = f"{folder.name}/{path.relative_to(folder).as_posix()}"
            with source, archive.open(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), "w", force_zip64=True) as target:
                while piece := source.read(CHUNK):
                    target.write(piece)
                    yield buffer.take()
    yield buffer.take()


class _Pieces(io.RawIOBase):
    """A file to write to that is read from as it grows; it cannot seek, so that zipfile writes a stream."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, piece: Any) -> int:
        self._pieces.append(bytes(piece))
        return len(piece)

    def take(self) -> bytes:
        taken, self._pieces = b"".join(self._pieces), []
        return taken
