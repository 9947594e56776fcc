"""From finished units to the tables, stages and comparison of a job folder. All of it can be made anew from `units/`.

Legend of shapes: T checkpoints, C chains, B burn-in, D draws.
"""

from __future__ import annotations

import csv
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from estimators.checkpoints import Checkpoint
from slt.comparison import Comparison, compare
from slt.errors import TrajectoryError
from slt.events import CircuitEvent, onset_events, write_events
from slt.gauges import Gauges, gauges
from slt.learning_coefficient import estimates_from_traces
from slt.stages import Stages, detect_stages
from slt.trajectory import Estimate, Floats, Trajectory, Verdict, VerdictKind
from workers.executor import Failure
from workers.files import write_json, write_path
from workers.plan import Plan
from workers.store import JobFolder
from workers.units import CheckpointResult

Entry = CheckpointResult | Failure


@dataclass(frozen=True)
class Tables:
    """What the units hold, by checkpoint in order of step; failed checkpoints are rows of NaN.

    Attributes:
        excess_loss: (T, C, B+D) paired differences, burn-in included.
        measures: (T,) by name.
        failures: the checkpoints without numbers, and why.
    """

    trajectory: Trajectory
    excess_loss: Floats
    measures: dict[str, Floats]
    failures: tuple[tuple[Checkpoint, Failure], ...]


def read_units(plan: Plan, folder: JobFolder) -> Tables:
    """Put the results of all units together."""
    entries: list[Entry] = [entry for unit in plan.units for entry in folder.load_unit(unit.key).entries]
    checkpoints = plan.checkpoints.checkpoints
    sampler = plan.sampler
    shape = (len(entries), sampler.chains, sampler.burn_in + sampler.draws)
    excess_loss = np.full(shape, np.nan)
    for row, entry in enumerate(entries):
        if isinstance(entry, CheckpointResult):
            excess_loss[row] = entry.excess_loss_CD
    good = [row for row, entry in enumerate(entries) if isinstance(entry, CheckpointResult)]
    results = [entry for entry in entries if isinstance(entry, CheckpointResult)]
    estimates = estimates_from_traces(
        [checkpoints[row].step for row in good],
        excess_loss[good],
        [result.loss for result in results],
        sampler.n_beta,
        burn_in=sampler.burn_in,
        reference=sampler.reference,
    )
    failures = tuple(
        (checkpoint, entry)
        for checkpoint, entry in zip(checkpoints, entries, strict=True)
        if isinstance(entry, Failure)
    )
    estimates += [_no_estimate(checkpoint, failure, sampler.chains) for checkpoint, failure in failures]
    names = list(dict.fromkeys(name for result in results for name in result.measures))
    measures = {name: np.array([_measure(entry, name) for entry in entries]) for name in names}
    return Tables(Trajectory.from_estimates(estimates, plan.checkpoints.unit), excess_loss, measures, failures)


def write_tables(plan: Plan, tables: Tables, folder: JobFolder) -> None:
    """Write trajectory.csv, measures.csv, traces.zarr and failures/."""
    trajectory = tables.trajectory
    write_path(folder.path / "trajectory.csv", trajectory.to_csv)
    write_path(folder.path / "measures.csv", lambda path: _write_measures(path, tables))
    traces = xr.Dataset(
        {"excess_loss": (("checkpoint", "chain", "draw"), tables.excess_loss, {"units": "nats per sample"})},
        coords={"checkpoint": trajectory.steps},
        attrs={"n_beta": plan.sampler.n_beta, "burn_in": plan.sampler.burn_in, "step_unit": trajectory.step_unit},
    )
    write_path(folder.path / "traces.zarr", lambda path: _write_traces(traces, path))
    write_path(folder.path / "failures", lambda path: _write_failures(path, tables))


def detect(plan: Plan, tables: Tables, folder: JobFolder) -> Stages | None:
    """Detect stages and write stages.json; None if too many checkpoints failed."""
    settings = plan.job.stages
    try:
        stages = detect_stages(tables.trajectory.finite(), axis=settings.axis, draws=settings.draws, seed=settings.seed)
    except TrajectoryError:
        (folder.path / "stages.json").unlink(missing_ok=True)
        return None
    write_json(folder.path / "stages.json", stages.to_dict(with_draws=True))
    return stages


def gauge_measures(plan: Plan, tables: Tables, stages: Stages | None, folder: JobFolder) -> Gauges | None:
    """Which boundaries the LLC shares with the measures; writes gauges.json. None without stages."""
    path = folder.path / "gauges.json"
    if stages is None:
        path.unlink(missing_ok=True)
        return None
    settings, trajectory = plan.job.stages, tables.trajectory
    curves = {
        name: Trajectory(trajectory.steps, values, step_unit=trajectory.step_unit)
        for name, values in tables.measures.items()
    }
    table = gauges(curves, known={"LLC": stages}, axis=settings.axis, draws=settings.draws, seed=settings.seed)
    write_json(path, table.to_dict())
    return table


def compare_events(plan: Plan, tables: Tables, stages: Stages | None, folder: JobFolder) -> Comparison | None:
    """Compare the stages with the job's events, or, if it names none, with the onsets of its measures.

    Writes events.csv and comparison.json; None without stages.
    """
    if stages is None:
        for name in ("events.csv", "comparison.json"):
            (folder.path / name).unlink(missing_ok=True)
        return None
    trajectory = tables.trajectory
    kept = np.flatnonzero(np.isin(trajectory.steps, trajectory.finite().steps))
    trajectory, events, series = trajectory.select(kept), plan.events, {}
    if plan.job.events is None:
        series = {name: values[kept] for name, values in tables.measures.items()}
        events = tuple(
            event for name, values in series.items() for event in _onsets_of_measure(trajectory.steps, values, name)
        )
    write_path(folder.path / "events.csv", lambda path: write_events(path, events))
    comparison = compare(stages, events, trajectory=trajectory, series=series, seed=plan.job.stages.seed)
    write_json(folder.path / "comparison.json", comparison.to_dict())
    return comparison


def _onsets_of_measure(steps: Floats, values: Floats, name: str) -> tuple[CircuitEvent, ...]:
    try:
        return onset_events(steps, values, f"onset of {name}", group=name)
    except TrajectoryError:  # too few finite values: nothing can be dated
        return ()


def _measure(entry: Entry, name: str) -> float:
    return entry.measures.get(name, np.nan) if isinstance(entry, CheckpointResult) else np.nan


def _no_estimate(checkpoint: Checkpoint, failure: Failure, chains: int) -> Estimate:
    verdict = Verdict(VerdictKind.FAILED, np.nan, f"no estimate: {failure.error}")
    nothing = float("nan")
    return Estimate(
        checkpoint.step, nothing, nothing, np.full(chains, np.nan), nothing, nothing, nothing, verdict=verdict
    )


def _write_measures(path: Path, tables: Tables) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["step", *tables.measures])
        for row, step in enumerate(tables.trajectory.steps):
            writer.writerow([format(step, ".0f"), *(repr(float(values[row])) for values in tables.measures.values())])


def _write_traces(traces: xr.Dataset, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr 3 announces format changes that do not touch plain float arrays
        traces.to_zarr(path, mode="w", consolidated=False)


def _write_failures(path: Path, tables: Tables) -> None:
    path.mkdir()
    for checkpoint, failure in tables.failures:
        document = {
            "steps": [checkpoint.step],
            "kind": failure.kind,
            "error": failure.error,
            "traceback": failure.traceback,
        }
        write_json(path / f"step_{checkpoint.step}.json", document)
