"""A small job folder with a known story, written as the pipeline writes one, for the tests of the report."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml

from slt.comparison import compare
from slt.events import CircuitEvent, write_events
from slt.gauges import gauges
from slt.stages import detect_stages
from slt.trajectory import Trajectory, Verdict, VerdictKind

HOSTILE = "<script>alert('x')</script> & $x_1$ <b>bold</b>"
OUTSIDE = "long before the first checkpoint"
STEPS = np.concatenate([[0], np.unique(np.geomspace(10, 100_000, 90).astype(int))]).astype(float)


def trajectory(axis: str = "log") -> Trajectory:
    """Two bursts of change with a rest between them, four chains with frozen offsets, one diverged checkpoint."""
    rng = np.random.default_rng(1)
    steps = STEPS if axis == "log" else np.linspace(0, 100_000, 91)
    x = np.log10(np.maximum(steps, 1)) if axis == "log" else steps / 20_000
    llc = 20 / (1 + np.exp(-8 * (x - 2))) + 30 / (1 + np.exp(-8 * (x - 4))) + rng.normal(0, 0.05, len(x))
    chains = llc[:, None] + np.array([-1.0, -0.3, 0.4, 0.9])
    kinds = [VerdictKind.OK] * len(x)
    kinds[1:4] = [VerdictKind.BELOW_CHECKPOINT] * 3
    kinds[40:44] = [VerdictKind.SATURATED] * 4
    kinds[60] = VerdictKind.DIVERGED
    llc[60], chains[60, 2] = np.nan, np.nan
    return Trajectory(
        steps=steps,
        llc=llc,
        llc_std_error=np.where(np.isfinite(llc), 0.4, np.nan),
        llc_chains=chains,
        loss=3 / (1 + x),
        verdicts=tuple(Verdict(kind, 1.0, f"the reason for {kind.value} <i>") for kind in kinds),
    )


def write_job(
    folder: Path,
    *,
    curve: Trajectory | None = None,
    axis: str = "log",
    measures: bool = True,
    events: bool = True,
    stages: bool = True,
    failures: bool = True,
) -> Path:
    """Write the parts asked for."""
    curve = trajectory(axis) if curve is None else curve
    (folder / "failures").mkdir(parents=True)
    settings = {"name": "a <run> & more", "problem": "toy", "sampler": {"chains": 4}, "out": "results/a run"}
    (folder / "job.yaml").write_text(yaml.safe_dump({**settings, "stages": {"axis": axis}, "versions": {"numpy": "2"}}))
    curve.to_csv(folder / "trajectory.csv")
    series = {"weight_norm": np.sqrt(curve.steps + 1), "<loss>": np.exp(-np.log1p(curve.steps))} if measures else {}
    if measures:
        with open(folder / "measures.csv", "w", newline="") as file:
            csv.writer(file).writerows([["step", *series], *zip(curve.steps, *series.values(), strict=True)])
    happened = [CircuitEvent("first", 95.0, 80.0, 110.0), CircuitEvent(HOSTILE, 1_000.0), CircuitEvent("late", 9_000.0)]
    happened += [CircuitEvent(OUTSIDE, 2.0), CircuitEvent("onset of weight_norm", 700.0, group="weight_norm")]
    if events:
        write_events(folder / "events.csv", happened)
    if stages:
        found = detect_stages(curve.finite(), axis=axis, draws=60)
        (folder / "stages.json").write_text(json.dumps(found.to_dict(with_draws=True)))
        others = {name: Trajectory(curve.steps, values) for name, values in series.items()}
        table = gauges(
            {**others, "broken": Trajectory(curve.steps[:3], curve.llc[:3])}, known={"LLC": found}, axis=axis
        )
        (folder / "gauges.json").write_text(json.dumps(table.to_dict()))
        if events:
            (folder / "comparison.json").write_text(json.dumps(compare(found, happened).to_dict()))
    if failures:
        item = {"steps": [17, 18], "kind": "application", "error": "a NaN in '<w>'", "traceback": "Traceback ..."}
        (folder / "failures" / "step_17.json").write_text(json.dumps(item))
    return folder


def bare(curve: Trajectory) -> Trajectory:
    """The same curve as a table from elsewhere would hold it: steps and values alone."""
    return replace(curve, llc_std_error=None, llc_chains=None, loss=None, verdicts=None)
