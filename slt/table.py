"""CSV tables with a header, read column by column; a million rows of numbers take half a second."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slt.errors import TrajectoryError

Floats = NDArray[np.float64]
Table = dict[str, Floats] | dict[str, list[str]]


def read_table(path: Path) -> tuple[list[str], Table]:
    """The names of a table's columns, and the columns: as numbers if they are nothing else, or as cells.

    Raises:
        TrajectoryError: no such file, not a CSV table, a ragged row, two columns of one name.
    """
    return _read_numbers(path) or _read_cells(path)


def _read_numbers(path: Path) -> tuple[list[str], Table] | None:
    """A table of numbers and nothing else, in a quarter of the time; None for any other, or to let cells say why."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file, warnings.catch_warnings():
            warnings.simplefilter("error")  # numpy warns of a table without rows
            header = _names(next(csv.reader([file.readline()])))
            columns = np.loadtxt(file, delimiter=",", comments=None, ndmin=2).T
    except (OSError, ValueError, StopIteration, csv.Error, UserWarning):
        return None
    return (
        (header, dict(zip(header, columns, strict=True))) if len(columns) == len(set(header)) == len(header) else None
    )


def _read_cells(path: Path) -> tuple[list[str], Table]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except FileNotFoundError:
        raise TrajectoryError(f"no such file: {path}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TrajectoryError(f"{path} cannot be read as a CSV table: {error}") from None
    if not rows:
        raise TrajectoryError(f"{path} is empty; it needs a header with the columns 'step' and 'llc'")
    header = _names(rows[0])
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise TrajectoryError(f"two columns of {path} are called '{twice}'; give each its own name")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise TrajectoryError(f"row {number} of {path} has {len(row)} fields but the header has {len(header)}")
    return header, {name: [row[i] for row in rows[1:]] for i, name in enumerate(header)}


def _names(cells: Iterable[str]) -> list[str]:
    return [" ".join(cell.split()) for cell in cells]


def numbers(cells: Floats | list[str], name: str, path: object) -> Floats:
    """A column as numbers, NaN for an empty cell.

    Raises:
        TrajectoryError: a cell is not a number; the message names it, its column and its row.
    """
    if isinstance(cells, np.ndarray):
        return np.ascontiguousarray(cells)
    try:
        return np.array([float(cell.strip() or "nan") for cell in cells], dtype=float)
    except ValueError:
        row = next(i for i, cell in enumerate(cells) if not _is_number(cell))
        raise TrajectoryError(f"{cells[row]!r} in column '{name}', row {row + 2} of {path}, is not a number") from None


def as_floats(values: object, name: str, axes: int = 1) -> Floats:
    """What a user has (a list, a series, integers, masked values) as an array of numbers; what is masked is NaN.

    Raises:
        TrajectoryError: not numbers, or not along so many axes.
    """
    try:
        array: Floats = np.asarray(np.ma.filled(np.ma.asarray(values, dtype=float), np.nan))
    except (TypeError, ValueError, RuntimeError) as error:
        raise TrajectoryError(f"'{name}' is not an array of numbers: {error}") from None
    if array.ndim != axes:
        raise TrajectoryError(f"'{name}' has shape {array.shape}; it needs {axes} {'axis' if axes == 1 else 'axes'}")
    return array


def _is_number(cell: str) -> bool:
    try:
        float(cell.strip() or "nan")
    except ValueError:
        return False
    return True
