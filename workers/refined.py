"""The table of a job's refined LLCs, side by side: refinements.csv, and back.

step, and for each refinement NAME: llc_NAME, llc_NAME_std_error, llc_NAME_chain_0.., loss_NAME, verdict_NAME. So
`slt stages refinements.csv --value llc_NAME` finds its chains.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from slt.table import read_table
from slt.trajectory import Trajectory, Verdict, VerdictKind

FILE = "refinements.csv"


def column(name: str) -> str:
    """What the LLC of a refinement is called in tables."""
    return f"llc_{name}"


def write_refined(curves: Mapping[str, Trajectory], path: Path) -> None:
    """Write the table; every curve has the same steps."""
    columns: dict[str, Sequence[str]] = {}
    for name, curve in curves.items():
        assert curve.llc_std_error is not None
        assert curve.llc_chains is not None
        assert curve.loss is not None
        columns["step"] = [format(step, ".0f") for step in curve.steps]
        numbers = {column(name): curve.llc, f"{column(name)}_std_error": curve.llc_std_error}
        numbers |= {f"{column(name)}_chain_{chain}": values for chain, values in enumerate(curve.llc_chains.T)}
        numbers[f"loss_{name}"] = curve.loss
        columns |= {key: [repr(float(value)) for value in values] for key, values in numbers.items()}
        columns[f"verdict_{name}"] = [verdict.kind.value for verdict in curve.verdicts or ()]
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def read_refined(path: Path, names: Sequence[str], step_unit: str) -> dict[str, Trajectory]:
    """The curves of these refinements; their verdicts have a kind and no sentence.

    Raises:
        TrajectoryError: a column is missing, or damaged.
    """
    _, table = read_table(path)
    curves = {}
    for name in names:
        curve = Trajectory.from_csv(path, value=column(name), step_unit=step_unit)
        kinds = [VerdictKind(str(kind)) for kind in table[f"verdict_{name}"]]
        curves[name] = replace(curve, verdicts=tuple(Verdict(kind, np.nan, kind.value) for kind in kinds))
    return curves
