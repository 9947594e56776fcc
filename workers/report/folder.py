"""What a finished job left in its folder, read back for the report. Nothing is computed here."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from slt.advice import Advice
from slt.comparison import Comparison
from slt.errors import JobError
from slt.events import CircuitEvent, read_events
from slt.gauges import Gauges
from slt.stages import Stages
from slt.trajectory import Floats, Trajectory
from workers.refined import FILE, read_refined


@dataclass(frozen=True)
class FailedItem:
    """One item of work that failed while the others went on: its checkpoints, and why in a sentence."""

    steps: tuple[float, ...]
    kind: str
    error: str
    traceback: str


@dataclass(frozen=True, eq=False)
class JobRecord:
    """The files of one job folder; a part that the job did not produce is None or empty.

    Attributes:
        folder: the job folder.
        settings: the job as run, defaults resolved (`job.yaml`).
        trajectory: LLC per checkpoint, or None if no checkpoint was estimated.
        measures: (T',) values per measure name, at `measure_steps`.
        measure_steps: (T',) steps of the measures, increasing.
        refined: the refined LLCs by name, at the trajectory's steps; their verdicts have no sentences.
        confirmed: per boundary, whether the second opinion has it too; empty if it was not asked.
        advice: where more checkpoints or draws would sharpen a boundary.
        mirage: the screens of pairs of metrics, with their sentences.
        calibration: why the sampler's settings are what they are, in sentences, if calibration chose them.
    """

    folder: Path
    settings: Mapping[str, Any]
    trajectory: Trajectory | None
    measure_steps: Floats
    measures: Mapping[str, Floats]
    stages: Stages | None
    gauges: Gauges | None
    comparison: Comparison | None
    events: tuple[CircuitEvent, ...]
    failures: tuple[FailedItem, ...]
    calibration: tuple[str, ...] = ()
    refined: Mapping[str, Trajectory] = field(default_factory=dict)
    confirmed: tuple[bool, ...] = ()
    advice: tuple[Advice, ...] = ()
    mirage: tuple[Mapping[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """The job's name, or its folder's."""
        return str(self.settings.get("name") or self.folder.name)

    @property
    def axis(self) -> str:
        """The axis of time, "log" or "linear": the detector's, or the one that the job asked for."""
        return self.stages.axis if self.stages else str((self.settings.get("stages") or {}).get("axis", "log"))

    @property
    def given_events(self) -> tuple[CircuitEvent, ...]:
        """The events that the user named."""
        return tuple(event for event in self.events if event.group not in self.measures)

    @property
    def measured_events(self) -> tuple[CircuitEvent, ...]:
        """The onsets that the job itself dated in its measures: their group is the measure's name."""
        return tuple(event for event in self.events if event.group in self.measures)


def read_job(folder: Path) -> JobRecord:
    """Read a job folder.

    Raises:
        JobError: the folder has no `job.yaml`, or one of its files is damaged.
        TrajectoryError, EventsError: a table of the folder cannot be read.
    """
    if not (folder / "job.yaml").is_file():
        raise JobError(f"no job.yaml in {folder}; give the folder named by 'out' in a job file that was run")
    settings = _parsed(folder / "job.yaml", yaml.safe_load)
    if not isinstance(settings, dict):
        raise JobError(f"{folder / 'job.yaml'} is not a mapping of settings; run the job again to write it anew")
    measure_steps, measures = _measures(folder / "measures.csv")
    step_unit = str(settings.get("step_unit", "step"))
    return JobRecord(
        folder=folder,
        settings=settings,
        trajectory=_trajectory(folder / "trajectory.csv", step_unit),
        measure_steps=measure_steps,
        measures=measures,
        stages=_optional(folder / "stages.json", Stages.from_dict),
        confirmed=_optional(folder / "stages.json", _confirmed) or (),
        advice=_optional(folder / "stages.json", _advice) or (),
        mirage=_optional(folder / "mirage.json", lambda document: tuple(document["pairs"])) or (),
        gauges=_optional(folder / "gauges.json", Gauges.from_dict),
        comparison=_optional(folder / "comparison.json", Comparison.from_dict),
        events=read_events(folder / "events.csv") if (folder / "events.csv").is_file() else (),
        failures=tuple(_parsed(path, _failed_item) for path in sorted((folder / "failures").glob("*.json"))),
        calibration=_optional(folder / "calibration.json", partial(_calibration, settings)) or (),
        refined=_refined(folder / FILE, settings.get("refinements") or {}, step_unit),
    )


def _confirmed(document: Mapping[str, Any]) -> tuple[bool, ...]:
    flags = [boundary.get("confirmed") for boundary in document["boundaries"]]
    return () if None in flags else tuple(flags)


def _advice(document: Mapping[str, Any]) -> tuple[Advice, ...]:
    return tuple(Advice(**{**entry, "steps": tuple(entry["steps"])}) for entry in document.get("advice", ()))


def _calibration(settings: Mapping[str, Any], document: Mapping[str, Any]) -> tuple[str, ...]:
    """The sentences, unless the job ran with other settings than those that were chosen."""
    sampler = settings.get("sampler") or {}
    used = all(sampler.get(name) == value for name, value in document["chosen"].items())
    return tuple(document["sentences"]) if used else ()


def _trajectory(path: Path, unit: str) -> Trajectory | None:
    if not path.is_file():
        return None
    trajectory = Trajectory.from_csv(path, step_unit=unit)
    return trajectory if len(trajectory) else None


def _refined(path: Path, refinements: Mapping[str, Any], step_unit: str) -> dict[str, Trajectory]:
    try:
        return read_refined(path, tuple(refinements), step_unit) if refinements and path.is_file() else {}
    except (ValueError, KeyError) as error:
        raise JobError(f"{path} is damaged ({error}); run the job again to write it anew") from error


def _measures(path: Path) -> tuple[Floats, dict[str, Floats]]:
    if not path.is_file():
        return np.empty(0), {}

    def table(text: str) -> dict[str, Floats]:
        header, *rows = [row for row in csv.reader(text.splitlines()) if row]
        cells = np.array([[float(cell or "nan") for cell in row] for row in rows], dtype=float)
        return dict(zip(header, cells.reshape(len(rows), len(header)).T, strict=True))

    columns = _parsed(path, table)
    if "step" not in columns:
        raise JobError(f"no column 'step' in {path}; its columns are {', '.join(columns)}")
    order = np.argsort(columns["step"])
    steps = columns.pop("step")[order]
    return steps, {name: values[order] for name, values in columns.items()}


def _optional(path: Path, build: Any) -> Any:
    return _parsed(path, lambda text: build(json.loads(text))) if path.is_file() else None


def _failed_item(text: str) -> FailedItem:
    item = json.loads(text)
    return FailedItem(tuple(item.get("steps", ())), item["kind"], item["error"], item.get("traceback", ""))


def _parsed(path: Path, parse: Any) -> Any:
    """Parse a text file; whatever the parser objects to becomes one sentence that names the file."""
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise JobError(f"{path} is damaged ({error}); run the job again to write it anew") from error
