"""A job from checkpoints to report: prepare, execute what is missing, tabulate, detect, compare, report."""

from __future__ import annotations

import importlib.metadata
import platform
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from slt.comparison import Comparison
from slt.errors import JobError
from slt.gauges import Gauges
from slt.stages import Stages
from slt.trajectory import VerdictKind
from workers.executor import Executor, Failure, Outcome, SerialExecutor
from workers.files import write_text
from workers.job import JobConfig, as_plain
from workers.live import Status
from workers.phase import Phase
from workers.plan import Plan, prepare
from workers.report import write_report
from workers.results import Tables, compare_events, detect, gauge_measures, read_units, write_tables
from workers.store import JobFolder
from workers.units import Unit, UnitResult, code_version, compute_unit, user_code

REPORTED_VERSIONS = ("slt-stages", "torch", "devinterp", "numpy", "scipy", "ray")


def make_executor(job: JobConfig, *, serial: bool, workers: int | None, address: str | None) -> Executor:
    """In this process, or on Ray with what the job's units may use."""
    if serial:
        if job.resources.gpus and not torch.cuda.is_available():
            raise JobError(f"resources.gpus is {job.resources.gpus:g} but this machine has no GPU that torch can use")
        return SerialExecutor()
    from workers.ray_executor import RayExecutor

    resources = job.resources
    return RayExecutor(
        cpus=resources.cpus, gpus=resources.gpus, workers=workers, address=address, user_code=user_code(job.problem)
    )


@dataclass(frozen=True)
class Summary:
    """What a finished job tells its user."""

    out: Path
    report: Path
    tables: Tables
    stages: Stages | None
    gauges: Gauges | None
    comparison: Comparison | None
    units: dict[str, int]
    seconds: dict[str, float]

    @property
    def failed_items(self) -> dict[float, str]:
        """Checkpoints without an estimate by step, and why: sampling raised, or a chain diverged."""
        trajectory = self.tables.trajectory
        no_estimate = (VerdictKind.FAILED, VerdictKind.DIVERGED)
        return {
            float(step): verdict.sentence
            for step, verdict in zip(trajectory.steps, trajectory.verdicts or (), strict=True)
            if verdict.kind in no_estimate
        }

    def to_dict(self) -> dict[str, Any]:
        """The document of `slt run --json`."""
        stages = self.stages.to_dict() if self.stages else {}
        verdicts = Counter(verdict.kind.value for verdict in self.tables.trajectory.verdicts or ())
        return {
            "out": str(self.out),
            "report": str(self.report),
            "checkpoints": len(self.tables.trajectory),
            "units": self.units,
            "verdicts": dict(verdicts),
            "failures": [{"step": step, "error": error} for step, error in self.failed_items.items()],
            "boundaries": stages.get("boundaries", []),
            "tentative": stages.get("tentative", []),
            "warnings": stages.get("warnings", []),
            "seconds": {name: round(seconds, 3) for name, seconds in self.seconds.items()},
        }


def run_job(job: JobConfig, executor: Executor, phase: Phase) -> Summary:
    """Run a job; what an earlier run has finished is not computed again.

    Args:
        job: the checked job file.
        executor: where units are computed; not touched when nothing is missing.
        phase: told of each part of the work.

    Raises:
        BadInput: before any sampling, if an input cannot be used; or OutputError when the disk fills up
            later, with all finished units kept.
    """
    folder = JobFolder(job.out)
    seconds: dict[str, float] = {}
    with Status(folder, phase) as status:
        with _timed(seconds, "prepare"):
            plan = prepare(job, folder, status.phase)
            write_text(folder.path / "job.yaml", _echo(plan))
        with _timed(seconds, "estimate"):
            units = execute(plan, folder, executor, status)
        with _timed(seconds, "tabulate"):
            tables = read_units(plan, folder)
            write_tables(plan, tables, folder)
        with _timed(seconds, "detect"):
            stages = detect(plan, tables, folder)
            gauges = gauge_measures(plan, tables, stages, folder)
        with _timed(seconds, "compare"):
            comparison = compare_events(plan, tables, stages, folder)
        with _timed(seconds, "report"):
            report = write_report(folder.path)
        summary = Summary(job.out, report, tables, stages, gauges, comparison, units, seconds)
        status.tell(message=failed_checkpoints(summary))
    return summary


def execute(plan: Plan, folder: JobFolder, executor: Executor, status: Status) -> dict[str, int]:
    """Compute the units that the folder lacks; returns how many were computed, reused and failed."""
    missing = {unit.key: unit for unit in plan.units if not folder.is_done(unit.key)}
    counts = {"computed": 0, "reused": len(plan.units) - len(missing), "failed": 0}
    total = sum(len(unit.checkpoints) for unit in missing.values())
    done = 0

    def tell() -> None:
        status.tell(units={**counts, "total": len(plan.units)})

    def label(where: str) -> str:
        finished = counts["computed"] + counts["failed"]
        failed = f", {counts['failed']} failed" if counts["failed"] else ""
        return f"unit {finished}/{len(missing)}{failed}{where}"

    def keep(outcome: Outcome[Unit, UnitResult]) -> None:
        nonlocal done
        unit, result = outcome.item, outcome.result
        if isinstance(result, Failure):
            result = UnitResult((result,) * len(unit.checkpoints))
        folder.save_unit(unit.key, result)
        counts["failed" if result.failures else "computed"] += 1
        done += len(unit.checkpoints)
        progress(done, total, label(f", step {unit.checkpoints[-1].step}"))
        tell()

    status.tell(checkpoints=len(plan.checkpoints))
    tell()
    if missing:
        progress = status.phase("estimating")
        progress(0, total, label(""))
        executor.run(compute_unit, missing.values(), keep)
    return counts


def failed_checkpoints(summary: Summary) -> str:
    """What a finished job says of checkpoints without an estimate; nothing if there are none."""
    failed = len(summary.failed_items)
    return f"{failed} checkpoint{'' if failed == 1 else 's'} failed" if failed else ""


def _echo(plan: Plan) -> str:
    content = {
        **as_plain(plan.job),
        "sampler": {name: value for name, value in asdict(plan.sampler).items() if name != "device"},
        "versions": {
            **{name: importlib.metadata.version(name) for name in REPORTED_VERSIONS},
            "python": platform.python_version(),
            "code": code_version().rpartition(" ")[2],
        },
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - started
