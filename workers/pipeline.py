"""A job from checkpoints to report: prepare, execute what is missing, tabulate, detect, compare, report."""

from __future__ import annotations

import importlib.metadata
import platform
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
import yaml

from estimators.sampler import SamplerConfig
from estimators.storage import Location
from slt.comparison import Comparison
from slt.errors import JobError
from slt.gauges import Gauges
from slt.stages import FIRST_CLASS
from slt.trajectory import VerdictKind
from workers.detection import Detection, detect
from workers.executor import Executor, Outcome, SerialExecutor
from workers.files import write_text
from workers.job import JobConfig, as_plain
from workers.ledger import Ledger
from workers.live import Status
from workers.phase import Phase
from workers.plan import Plan, prepare
from workers.refined import column
from workers.report import write_report
from workers.results import Tables, compare_events, gauge_measures, read_units, write_tables
from workers.screens import screen_metrics
from workers.so_far import TablesSoFar
from workers.store import JobFolder
from workers.units import Unit, UnitResult, code_version, compute_unit, largest_first, user_code

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
        user_code=user_code(job.problem, *(each.data or "" for each in job.refinements.values())),
        seconds=limit,
        card_bytes=lambda unit: unit.card_bytes,
    )


@dataclass(frozen=True)
class Summary:
    """What a finished job tells its user.

    Attributes:
        remarks: what following left out, and why.
    """

    out: Location
    report: Location
    tables: Tables
    detection: Detection | None
    gauges: Gauges | None
    comparison: Comparison | None
    mirage: list[dict[str, Any]]
    units: dict[str, int]
    seconds: dict[str, float]
    remarks: tuple[str, ...] = ()

    @property
    def failed_items(self) -> dict[float, str]:
        """Checkpoints without an estimate by step, and why: sampling raised, or a chain diverged."""
        items: dict[float, str] = {}
        for name, tables in {"": self.tables, **self.tables.refined}.items():
            trajectory, refinement = tables.trajectory, f"refinement '{name}': " if name else ""
            for step, verdict in zip(trajectory.steps, trajectory.verdicts or (), strict=True):
                if verdict.kind in (VerdictKind.FAILED, VerdictKind.DIVERGED):
                    earlier = f"{items[step]}; " if step in items else ""
                    items[float(step)] = f"{earlier}{refinement}{verdict.sentence}"
        return items

    @property
    def message(self) -> str:
        """What there is to say of checkpoints without an estimate; empty if there are none."""
        failed = len(self.failed_items)
        sentence = f"{failed} checkpoint{'' if failed == 1 else 's'} failed" if failed else ""
        return "; ".join(text for text in (sentence, *self.remarks) if text)

    def _refined(self) -> dict[str, Any]:
        """Verdicts of each refined LLC, and the boundaries that it sees with a probability of at least one half."""
        shared = self.gauges.boundaries if self.gauges else ()
        return {
            name: {
                "verdicts": dict(Counter(verdict.kind.value for verdict in tables.trajectory.verdicts or ())),
                "boundaries": [
                    asdict(each.seen[column(name)])
                    for each in shared
                    if column(name) in each.seen and each.seen[column(name)].probability >= FIRST_CLASS
                ],
            }
            for name, tables in self.tables.refined.items()
        }

    def to_dict(self) -> dict[str, Any]:
        """The document of `slt run --json`."""
        stages = self.detection.to_dict() if self.detection else {}
        verdicts = Counter(verdict.kind.value for verdict in self.tables.trajectory.verdicts or ())
        return {
            "out": str(self.out),
            "report": str(self.report),
            "checkpoints": len(self.tables.trajectory),
            "units": self.units,
            "verdicts": dict(verdicts),
            "refinements": self._refined(),
            "failures": [{"step": step, "error": error} for step, error in self.failed_items.items()],
            "boundaries": stages.get("boundaries", []),
            "tentative": stages.get("tentative", []),
            "warnings": stages.get("warnings", []),
            "advice": stages.get("advice", []),
            "mirage": self.mirage,
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
        with timed(seconds, "prepare"):
            plan = prepare(job, folder, status.phase)
            write_echo(job, plan.sampler, folder)
        with timed(seconds, "estimate"):
            units = execute(plan, folder, executor, status)
        return finish(plan, folder, units, status, seconds)


def execute(plan: Plan, folder: JobFolder, executor: Executor, status: Status) -> dict[str, int]:
    """Compute the units that the folder lacks; returns how many were computed, reused and failed."""
    with TablesSoFar(plan.job.stages, folder, plan.checkpoints.unit) as so_far:
        ledger = Ledger(folder, so_far)
        counts = ledger.counts
        every = plan.every_unit
        missing = ledger.missing(every)
        total = sum(len(unit.checkpoints) for unit in missing)
        done = 0

        def tell(where: str) -> None:
            finished = counts["computed"] + counts["failed"]
            failed = f", {counts['failed']} failed" if counts["failed"] else ""
            progress(done, total, f"unit {finished}/{len(missing)}{failed}{where}")
            status.tell(units={**counts, "total": len(every)})

        def keep(outcome: Outcome[Unit, UnitResult]) -> None:
            nonlocal done
            ledger.keep(outcome)
            done += len(outcome.item.checkpoints)
            tell(f", step {outcome.item.checkpoints[-1].step}")

        status.tell(checkpoints=len(plan.checkpoints), units={**counts, "total": len(every)})
        if missing:
            progress = status.phase("estimating")
            tell("")
            executor.run(compute_unit, largest_first(missing), keep)
    return counts


def finish(plan: Plan, folder: JobFolder, units: dict[str, int], status: Status, seconds: dict[str, float]) -> Summary:
    """From finished units to the report.

    Args:
        plan: whose units are all in the folder, computed or failed.
        folder: of the job.
        units: how many were computed, reused and failed.
        status: told of what failed.
        seconds: that the parts of the work took, to be added to.
    """
    with timed(seconds, "tabulate"):
        tables = read_units(plan, folder)
        write_tables(plan, tables, folder)
    with timed(seconds, "detect"):
        detection = detect(plan.job.stages, tables.trajectory, folder)
        stages = detection.stages if detection else None
        gauges = gauge_measures(plan, tables, stages, folder)
    with timed(seconds, "compare"):
        comparison = compare_events(plan, tables, stages, folder)
        mirage = screen_metrics(plan, tables, folder)
    with timed(seconds, "report"):
        report = write_report(folder.path)
    summary = Summary(plan.job.out, report, tables, detection, gauges, comparison, mirage, units, seconds)
    status.tell(message=summary.message)
    return summary


def write_echo(job: JobConfig, sampler: SamplerConfig, folder: JobFolder) -> None:
    """Write job.yaml: the job as it ran, every setting resolved, which can be run again."""
    content = {
        **as_plain(job),
        "sampler": {name: value for name, value in asdict(sampler).items() if name != "device"},
        "versions": {
            **{name: importlib.metadata.version(name) for name in REPORTED_VERSIONS},
            "python": platform.python_version(),
            "code": code_version().rpartition(" ")[2],
        },
    }
    write_text(folder.path / "job.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


@contextmanager
def timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Notes how long a part of the work took."""
    started = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - started
