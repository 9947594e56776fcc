"""A job from checkpoints to report: prepare, execute what is missing, tabulate, detect, compare, report."""

from __future__ import annotations

import importlib.metadata
import platform
import time
from collections import Counter
from collections.abc import Iterator, Sequence
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
from workers.so_far import TablesSoFar
from workers.store import JobFolder
from workers.units import Unit, UnitResult, code_version, compute_unit, largest_first, require_seen, user_code

REPORTED_VERSIONS = ("slt-stages", "torch", "devinterp", "numpy", "scipy", "ray")


def make_executor(job: JobConfig, *, serial: bool, workers: int | None, address: str | None) -> Executor:
    """In this process, or on Ray with what the job's units may use."""
    resources = job.resources
    limit = None if resources.unit_seconds == "auto" else resources.unit_seconds
    if serial:
        if resources.gpus not in (0, "auto") and not torch.cuda.is_available():
            raise JobError(f"resources.gpus is {resources.gpus:g} but this machine has no GPU that torch can use")
        if limit is not None:
            raise JobError(
                f"resources.unit_seconds is {limit:g} but --serial computes in this process, where a unit that hangs "
                f"cannot be stopped; leave out --serial, or set resources.unit_seconds=auto"
            )
        return SerialExecutor()
    from workers.ray_executor import RayExecutor

    return RayExecutor(
        cpus=resources.cpus,
        gpus=resources.gpus,
        workers=workers,
        address=address,
        user_code=user_code(job.problem),
        seconds=limit,
        card_bytes=lambda unit: unit.card_bytes,
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
            stages = detect(job.stages, tables.trajectory, folder)
            gauges = gauge_measures(plan, tables, stages, folder)
        with _timed(seconds, "compare"):
            comparison = compare_events(plan, tables, stages, folder)
        with _timed(seconds, "report"):
            report = write_report(folder.path)
        summary = Summary(job.out, report, tables, stages, gauges, comparison, units, seconds)
        status.tell(message=failed_checkpoints(summary))
    return summary


class Ledger:
    """Keeps what comes out of an executor, counts it, and tells whoever watches.

    Attributes:
        counts: units computed, reused and failed.
    """

    def __init__(self, folder: JobFolder, so_far: TablesSoFar) -> None:
        self.counts = {"computed": 0, "reused": 0, "failed": 0}
        self._folder, self._so_far = folder, so_far
        self._waiting: dict[str, list[Unit]] = {}

    def missing(self, units: Sequence[Unit]) -> list[Unit]:
        """The units that have to be computed: not those that the folder has, and of units on equal weights one."""
        missing = []
        for unit in units:
            if self._folder.is_done(unit.key):
                self._so_far.take(unit)
            elif unit.key in self._waiting:
                self._waiting[unit.key].append(unit)
            else:
                self._waiting[unit.key] = [unit]
                missing.append(unit)
        self.counts["reused"] += len(units) - len(missing)
        return missing

    def keep(self, outcome: Outcome[Unit, UnitResult]) -> None:
        """Keep one unit's numbers, or why it has none."""
        unit, result = outcome.item, outcome.result
        if isinstance(result, Failure):
            result = UnitResult((result,) * len(unit.checkpoints))
        require_seen(unit, result.failures)
        self._folder.save_unit(unit.key, result)
        self.counts["failed" if result.failures else "computed"] += 1
        for each in self._waiting.pop(unit.key):
            self._so_far.take(each)


def execute(plan: Plan, folder: JobFolder, executor: Executor, status: Status) -> dict[str, int]:
    """Compute the units that the folder lacks; returns how many were computed, reused and failed."""
    with TablesSoFar(plan.job.stages, folder, plan.checkpoints.unit) as so_far:
        ledger = Ledger(folder, so_far)
        counts = ledger.counts
        missing = ledger.missing(plan.units)
        total = sum(len(unit.checkpoints) for unit in missing)
        done = 0

        def tell(where: str) -> None:
            finished = counts["computed"] + counts["failed"]
            failed = f", {counts['failed']} failed" if counts["failed"] else ""
            progress(done, total, f"unit {finished}/{len(missing)}{failed}{where}")
            status.tell(units={**counts, "total": len(plan.units)})

        def keep(outcome: Outcome[Unit, UnitResult]) -> None:
            nonlocal done
            ledger.keep(outcome)
            done += len(outcome.item.checkpoints)
            tell(f", step {outcome.item.checkpoints[-1].step}")

        status.tell(checkpoints=len(plan.checkpoints), units={**counts, "total": len(plan.units)})
        if missing:
            progress = status.phase("estimating")
            tell("")
            executor.run(compute_unit, largest_first(missing), keep)
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
