"""From finished units to the tables, stages and comparison of a job folder. All of it can be made anew from `units/`.

Legend of shapes: T checkpoints, C chains, B burn-in, D draws.
"""

from __future__ import annotations

import csv
import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from estimators.checkpoints import Checkpoint
from estimators.sampler import SamplerConfig
from slt.comparison import Comparison, compare
from slt.diagnostics import compared
from slt.errors import TrajectoryError
from slt.events import CircuitEvent, onset_events, write_events
from slt.gauges import Gauges, gauges
from slt.learning_coefficient import estimates_from_traces
from slt.stages import Stages
from slt.trajectory import Estimate, Floats, Trajectory, Verdict, VerdictKind
from workers.executor import Failure
from workers.files import remove, write_json, write_path, writing
from workers.plan import Plan
from workers.refined import FILE, column, write_refined
from workers.store import JobFolder
from workers.units import CheckpointResult, Unit


@dataclass(frozen=True)
class Row:
    """What one checkpoint adds to the tables."""

    estimate: Estimate
    measures: Mapping[str, float]


@dataclass(frozen=True)
class Tables:
    """What the units hold, by checkpoint in order of step; failed checkpoints are rows of NaN.

    Attributes:
        excess_loss: (T, C, B+D) paired differences, burn-in included; in a file, not in memory.
        distance, acceptance, step_bias: (T, C) of each chain.
        measures: (T,) by name.
        failures: the checkpoints without numbers, and why.
        refined: the tables of each refined LLC by its name, without measures.
    """

    trajectory: Trajectory
    excess_loss: Floats
    distance: Floats
    acceptance: Floats
    step_bias: Floats
    measures: dict[str, Floats]
    failures: tuple[tuple[Checkpoint, Failure], ...]
    refined: Mapping[str, Tables] = field(default_factory=dict)


def read_units(plan: Plan, folder: JobFolder) -> Tables:
    """Put the results of all units together."""
    refined = {name: _read(plan, units, folder) for name, units in plan.refined.items()}
    return replace(_read(plan, plan.units, folder), refined=refined)


def _read(plan: Plan, units: Sequence[Unit], folder: JobFolder) -> Tables:
    sampler = plan.sampler
    excess_loss = _nothing((len(plan.checkpoints), sampler.chains, sampler.burn_in + sampler.draws), folder)
    distance, acceptance, step_bias = np.full((3, *excess_loss.shape[:2]), np.nan)
    rows: list[Row] = []
    failures = []
    results = folder.load_units([unit.key for unit in units])
    for unit, result in zip(units, results, strict=True):
        for checkpoint, entry in zip(unit.checkpoints, result.entries, strict=True):
            if isinstance(entry, Failure):
                failures.append((checkpoint, entry))
            else:
                excess_loss[len(rows)] = entry.excess_loss_CD
                distance[len(rows)], acceptance[len(rows)] = entry.distance_C, entry.acceptance_C
                step_bias[len(rows)] = entry.step_bias_C
            rows.append(row_of(checkpoint, entry, sampler))
    trajectory, measures = curves_of(rows, sampler, plan.checkpoints.unit)
    return Tables(trajectory, excess_loss, distance, acceptance, step_bias, measures, tuple(failures))


def _nothing(shape: tuple[int, ...], folder: JobFolder) -> Floats:
    """NaN in a file that goes when the array does: traces of many checkpoints are more than a driver has memory for."""
    with (
        writing(folder.path),
        tempfile.TemporaryFile(dir=folder.path if isinstance(folder.path, Path) else None) as file,
    ):
        array = np.memmap(file, dtype=float, shape=shape)
    array[:] = np.nan
    return array


def row_of(checkpoint: Checkpoint, entry: CheckpointResult | Failure, sampler: SamplerConfig) -> Row:
    """One checkpoint's estimate, without its traces, and measures."""
    if isinstance(entry, Failure):
        return Row(_no_estimate(checkpoint, entry, sampler.chains), {})
    [estimate] = estimates_from_traces(
        [checkpoint.step],
        entry.excess_loss_CD[None],
        [entry.loss],
        sampler.n_beta,
        burn_in=sampler.burn_in,
        n_samples=entry.n_samples,
        distance_KC=entry.distance_C[None],
        acceptance_KC=entry.acceptance_C[None],
        step_bias_KC=entry.step_bias_C[None],
        compare=False,
    )
    return Row(replace(estimate, excess_loss=None), entry.measures)


def curves_of(rows: Iterable[Row], sampler: SamplerConfig, step_unit: str) -> tuple[Trajectory, dict[str, Floats]]:
    """The trajectory of some checkpoints, and their measures by name: (T,) in order of step."""
    ordered = sorted(rows, key=lambda row: row.estimate.step)
    estimates = compared([row.estimate for row in ordered], sampler.n_beta, sampler.reference)
    names = dict.fromkeys(name for row in ordered for name in row.measures)
    measures = {name: np.array([row.measures.get(name, np.nan) for row in ordered]) for name in names}
    return Trajectory.from_estimates(estimates, step_unit), measures


def write_tables(plan: Plan, tables: Tables, folder: JobFolder) -> None:
    """Write trajectory.csv, measures.csv, refinements.csv, traces.zarr and failures/."""
    trajectory = tables.trajectory
    write_curves(trajectory, tables.measures, folder)
    write_refinements({name: each.trajectory for name, each in tables.refined.items()}, folder)
    traces = xr.Dataset(
        _variables(tables, "")
        | {k: v for name, each in tables.refined.items() for k, v in _variables(each, name).items()},
        coords={"checkpoint": trajectory.steps},
        attrs={"n_beta": plan.sampler.n_beta, "burn_in": plan.sampler.burn_in, "step_unit": trajectory.step_unit},
    )
    write_path(folder.path / "traces.zarr", lambda path: _write_traces(traces, path))
    write_path(folder.path / "failures", lambda path: _write_failures(path, tables))


def _variables(tables: Tables, refinement: str) -> dict[str, Any]:
    """What the chains met, draw by draw, chain by chain and in all; acceptance and step bias if the kernel has them."""
    suffix, trajectory = f"_{refinement}" if refinement else "", tables.trajectory
    variables: dict[str, Any] = {
        "excess_loss": (("checkpoint", "chain", "draw"), tables.excess_loss, {"units": "nats per sample"}),
        "distance": (("checkpoint", "chain"), tables.distance, {"units": "parameters"}),
    }
    for name in ("acceptance", "step_bias"):
        if np.isfinite(values := getattr(tables, name)).any():
            variables[name] = (("checkpoint", "chain"), values)
    for name in ("wbic", "heat_capacity"):
        if (values := getattr(trajectory, name)) is not None:
            variables[name] = (("checkpoint",), values)
    return {f"{name}{suffix}": variable for name, variable in variables.items()}


def write_curves(trajectory: Trajectory, measures: Mapping[str, Floats], folder: JobFolder) -> None:
    """Write trajectory.csv and measures.csv."""
    write_path(folder.path / "trajectory.csv", trajectory.to_csv)
    write_path(folder.path / "measures.csv", lambda path: _write_measures(path, trajectory.steps, measures))


def write_refinements(curves: Mapping[str, Trajectory], folder: JobFolder) -> None:
    """Write refinements.csv, or remove an earlier job's."""
    if curves:
        write_path(folder.path / FILE, lambda path: write_refined(curves, path))
    else:
        remove(folder.path / FILE)


def gauge_measures(plan: Plan, tables: Tables, stages: Stages | None, folder: JobFolder) -> Gauges | None:
    """Which boundaries the LLC shares with refined ones and measures; writes gauges.json. None without stages."""
    path = folder.path / "gauges.json"
    if stages is None:
        remove(path)
        return None
    settings, trajectory = plan.job.stages, tables.trajectory
    curves = {column(name): each.trajectory.finite() for name, each in tables.refined.items()}
    curves |= {
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
            remove(folder.path / name)
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


def _no_estimate(checkpoint: Checkpoint, failure: Failure, chains: int) -> Estimate:
    verdict = Verdict(VerdictKind.FAILED, np.nan, f"no estimate: {failure.error}")
    nothing = float("nan")
    return Estimate(
        checkpoint.step, nothing, nothing, np.full(chains, np.nan), nothing, nothing, nothing, verdict=verdict
    )


def _write_measures(path: Path, steps: Floats, measures: Mapping[str, Floats]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["step", *measures])
        for row, step in enumerate(steps):
            writer.writerow([format(step, ".0f"), *(repr(float(values[row])) for values in measures.values())])


def _write_traces(traces: xr.Dataset, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr 3 announces format changes that do not touch plain float arrays
        traces.to_zarr(path, mode="w", consolidated=False)


def _write_failures(path: Path, tables: Tables) -> None:
    path.mkdir()
    for name, table in {"": tables, **tables.refined}.items():
        for checkpoint, failure in table.failures:
            document = {
                "steps": [checkpoint.step],
                "kind": failure.kind,
                "error": f"refinement '{name}': {failure.error}" if name else failure.error,
                "traceback": failure.traceback,
            }
            write_json(path / f"step_{checkpoint.step}{'.' if name else ''}{name}.json", document)
