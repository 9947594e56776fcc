"""Metric mirages: is a jump in a thresholded metric the model's, or the metric's? For every pair that is at hand."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from estimators.storage import read_from
from slt.errors import SltError, TrajectoryError
from slt.mirage import mirage
from slt.table import numbers, read_table
from slt.trajectory import Floats, Trajectory
from workers.files import remove, write_json
from workers.plan import Plan
from workers.results import Tables
from workers.store import JobFolder

FILE = "mirage.json"
TRAINING = "training.csv"
"""Beside the checkpoints: curves that were recorded while training, and are finer than what checkpoints tell."""

_THRESHOLDED = re.compile(r"(^|_)(accuracy|acc|exact_match)$")
_COUNTERPARTS = ("loss", "log_probability", "log_prob", "nll")


def screen_metrics(plan: Plan, tables: Tables, folder: JobFolder) -> list[dict[str, Any]]:
    """Screen each pair such as test_accuracy and test_loss, among the measures or in training.csv; writes mirage.json.

    Returns:
        Per pair its two names, where they were found, and the screen's verdict and sentence; without a verdict, why.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for source, steps, columns in _sources(plan, tables):
        for sharp, smooth in pairs(columns):
            if "verdict" not in found.get((sharp, smooth), {}):
                screened = _screened(steps, columns[sharp], columns[smooth])
                found[sharp, smooth] = {"sharp": sharp, "smooth": smooth, "source": source, **screened}
    path, screens = folder.path / FILE, list(found.values())
    if screens:
        write_json(path, {"pairs": screens})
    else:
        remove(path)
    return screens


def pairs(names: Iterable[str]) -> list[tuple[str, str]]:
    """Thresholded metrics with their continuous counterparts: what remains of the name is the same, or is `train`."""
    known = tuple(names)
    found = []
    for sharp in known:
        if not _THRESHOLDED.search(sharp):
            continue
        stem = _THRESHOLDED.sub("", sharp)
        wanted = [f"{stem}_{each}" if stem else each for each in _COUNTERPARTS]
        wanted += ["loss"] if stem == "train" else []
        found += [(sharp, smooth) for smooth in wanted if smooth in known][:1]
    return found


def _sources(plan: Plan, tables: Tables) -> Iterator[tuple[str, Floats, dict[str, Floats]]]:
    path = plan.checkpoints.directory / TRAINING
    columns: dict[str, Floats] = {}
    with suppress(OSError, SltError):  # no such file, somebody else's of that name, or one that is being written
        _, table = read_from(path, read_table)
        columns = {name: column for name, column in table.items() if isinstance(column, np.ndarray)}
        columns |= {name: numbers(table[name], name, path) for name in table if name not in columns}
    if "step" in columns:
        yield TRAINING, columns.pop("step"), columns
    yield "measures.csv", tables.trajectory.steps, tables.measures


def _screened(steps: Floats, sharp: Floats, smooth: Floats) -> dict[str, Any]:
    try:
        kept = np.unique(steps, return_index=True)[1]
        result = mirage(Trajectory(steps[kept], sharp[kept]), Trajectory(steps[kept], smooth[kept]))
    except TrajectoryError as error:
        return {"sentence": f"nothing to screen: {error}"}
    return {"verdict": result.verdict, "sentence": result.sentence, "transitions": result.to_dict()}
