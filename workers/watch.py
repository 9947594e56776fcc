"""A job that follows its directory of checkpoints while training still writes it, until it is told or able to end."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from estimators.checkpoints import Checkpoint, CheckpointSequence, discover
from estimators.sampler import SamplerConfig
from estimators.storage import exists, read_from
from slt.curves import FEWEST_POINTS
from slt.errors import CheckpointError, CheckpointMismatch
from slt.events import CircuitEvent, read_events
from workers.arrivals import Arrivals, Stamp
from workers.calibration import Document, settle
from workers.detection import same_boundary
from workers.executor import Executor, Outcome
from workers.followed import Met, Record
from workers.job import JobConfig
from workers.ledger import Ledger
from workers.live import Status
from workers.phase import Phase
from workers.pipeline import Summary, finish, timed, write_echo
from workers.plan import Plan, Subject, require_enough, usable_points
from workers.so_far import TablesSoFar
from workers.store import JobFolder
from workers.units import Unit, UnitResult, compute_unit, grouped

PAUSE = 0.5  # seconds

Group = tuple[tuple[int, str], ...]
"""Step and hash of the weights of each checkpoint of a unit."""


@dataclass(frozen=True)
class Ending:
    """When to stop following; without either, at an interruption.

    Attributes:
        idle: seconds in which no checkpoint came.
        until: a step that a checkpoint has reached.
    """

    idle: float | None = None
    until: float | None = None


def watch(job: JobConfig, executor: Executor, phase: Phase, ending: Ending) -> Summary:
    """Estimate each checkpoint of a growing directory once, when it is complete; then finish like `run_job`.

    An interruption (KeyboardInterrupt) ends the following, and what was estimated by then is finished. Units are those
    of `run_job` with the same checkpoints_per_unit, here 1 unless the job says otherwise; automatic settings are chosen
    from the first checkpoints that are enough for it, and kept.

    Args:
        job: the checked job file; its directory need not exist yet.
        executor: where units are computed.
        phase: told of what is followed, and what has come of it.
        ending: when to stop.

    Raises:
        BadInput: an input cannot be used; or there was nothing to finish with.
        KeyboardInterrupt: nothing had been estimated when it came, or it came again.
    """
    if job.resources.checkpoints_per_unit == "auto":
        job = job.model_copy(update={"resources": job.resources.model_copy(update={"checkpoints_per_unit": 1})})
    folder = JobFolder(job.out)
    seconds: dict[str, float] = {}
    with Status(folder, phase, following=True) as status:
        with timed(seconds, "prepare"):
            _events(job)  # what is there already can be refused now
            if isinstance(job.checkpoints, Path) and job.checkpoints.is_file():
                discover(job.checkpoints)
            subject = Subject.of(job)
            folder.open()
        interrupted = False
        with timed(seconds, "estimate"), TablesSoFar(job.stages, folder, "step", online=True) as so_far:
            follower = _Follower(subject, folder, status, so_far, ending)
            try:
                executor.run(compute_unit, follower.units(), follower.keep)
            except KeyboardInterrupt:
                interrupted = True
                if not follower.estimated:
                    raise
        plan = follower.plan()
        summary = finish(plan, folder, follower.counts, status, seconds)
        summary = replace(summary, remarks=tuple(follower.remarks()))
        status.tell(state="STOPPED" if interrupted else "SUCCEEDED", message=summary.message)
    return summary


def _events(job: JobConfig) -> tuple[CircuitEvent, ...] | None:
    """The job's events; None where it names a file that is yet to be written."""
    if job.events is None:
        return ()
    return read_from(job.events, read_events) if exists(job.events) else None


class _Follower:
    """Turns arrivals into units of work, in order of step, and keeps what comes of them."""

    def __init__(
        self, subject: Subject, folder: JobFolder, status: Status, so_far: TablesSoFar, ending: Ending
    ) -> None:
        self._subject, self._job, self._folder = subject, subject.job, folder
        self._status, self._so_far, self._ending = status, so_far, ending
        self._ledger = Ledger(folder, so_far)
        self._arrivals = Arrivals(self._job.checkpoints)
        self._record = Record(folder, self._job)
        self._met: dict[int, Met] = {}
        self._refused: dict[int, str] = {}
        self._settings: tuple[SamplerConfig, Document | None] | None = None
        self._issued: dict[Group, Plan] = {}
        self._last_news = time.monotonic()
        self._progress = status.phase(f"following {self._job.checkpoints}")
        self._shown: tuple[int, int, str] | None = None

    def units(self) -> Iterator[Unit | None]:
        """Units as they become due; None while there are none."""
        self._met = {met.checkpoint.step: met for met in self._record.read()}
        for met in self._met.values():
            self._arrivals.given(met.checkpoint, met.stamp)
        while True:
            up = self._time_is_up()
            self._look(at_once=up)
            over = up and self._time_is_up() and not self._arrivals.unfinished
            if self._settings is None:
                self._settle(over)
            if self._settings is not None:
                for unit in self._due(over):
                    yield unit
                    self._look()  # there may be many to compute, and training may delete what it wrote
            self._show()
            if over and self._time_is_up():
                return
            if not self._ledger.awaited:
                time.sleep(PAUSE)
            yield None

    def keep(self, outcome: Outcome[Unit, UnitResult]) -> None:
        """Keep what came of a unit."""
        self._ledger.keep(outcome)
        self._show()

    @property
    def counts(self) -> dict[str, int]:
        """Units computed, reused and failed."""
        return self._ledger.counts

    @property
    def estimated(self) -> int:
        """Checkpoints whose units have all been tried, with or without success."""
        return sum(len(plan.checkpoints) for plan in self._issued.values() if self._tried(plan))

    def plan(self) -> Plan:
        """The job as if there were only what has been estimated."""
        tried = [
            self._issued[group]
            for group in self._groups(everything=True)
            if group in self._issued and self._tried(self._issued[group])
        ]
        checkpoints = self._sequence(checkpoint for plan in tried for checkpoint in plan.checkpoints)
        checkpoints.require_usable()
        events = _events(self._job)
        return replace(
            tried[0],
            job=self._job if events is not None else self._job.model_copy(update={"events": None}),
            checkpoints=checkpoints,
            units=tuple(unit for plan in tried for unit in plan.units),
            events=events or (),
            refined={name: tuple(unit for plan in tried for unit in plan.refined[name]) for name in tried[0].refined},
        )

    def remarks(self) -> list[str]:
        """What was left out, and why."""
        left = len(self._met) - self.estimated
        said = [f"{left} checkpoint{'' if left == 1 else 's'} met but not estimated"] if left > 0 else []
        if _events(self._job) is None:
            said.append(f"{self._job.events} was not there: compared with the measures' own onsets instead")
        return [*said, *self._refused.values(), *self._arrivals.broken]

    def _look(self, *, at_once: bool = False) -> None:
        arrived = [self._accept(*each) for each in self._arrivals.look(at_once=at_once)]
        if any(arrived):
            self._record.write(self._met)

    def _accept(self, checkpoint: Checkpoint, stamp: Stamp) -> bool:
        """Read a checkpoint; one that cannot be used is left out, unless it is the first and the problem another."""
        self._last_news = time.monotonic()
        try:
            weight_hash = self._subject.read(checkpoint, first=not self._met)
            _same_unit(checkpoint, self._met)
        except (CheckpointError, FileNotFoundError) as error:
            if isinstance(error, CheckpointMismatch) and not self._met:
                raise
            self._refused[checkpoint.step] = str(error)
            return False
        self._refused.pop(checkpoint.step, None)
        self._met[checkpoint.step] = Met(checkpoint, stamp, weight_hash)
        return True

    def _time_is_up(self) -> bool:
        idle, until = self._ending.idle, self._ending.until
        if self._arrivals.unfinished:
            self._last_news = time.monotonic()
        reached = until is not None and max(self._met, default=-1) >= until
        return reached or (idle is not None and time.monotonic() - self._last_news >= idle)

    def _settle(self, over: bool) -> None:
        """Choose the sampler's settings once there are checkpoints enough, where the job leaves that to calibration."""
        checkpoints = self._sequence(met.checkpoint for met in self._met.values())
        if over:
            checkpoints.require_usable()
        if not self._met:
            return
        if self._job.sampler.automatic and usable_points(checkpoints, self._job.stages.axis) < FEWEST_POINTS:
            if over:
                require_enough(checkpoints, self._job.stages.axis)
            return
        subject, hashes = self._subject, [self._met[checkpoint.step].weight_hash for checkpoint in checkpoints]
        phase = self._status.phase
        self._settings = settle(
            self._job, self._folder, checkpoints, hashes, subject.problem, subject.reference, phase, keep=True
        )
        self._so_far.step_unit = checkpoints.unit
        write_echo(self._job, self._settings[0], self._folder)

    def _due(self, everything: bool) -> Iterator[Unit]:
        """The units of groups that are full, or of all; not of checkpoints deleted before their turn came."""
        assert self._settings is not None
        sampler, calibration = self._settings
        for group in self._groups(everything):
            if group in self._issued:
                continue
            checkpoints = self._sequence(self._met[step].checkpoint for step, _ in group)
            pairs = [(checkpoint, self._met[checkpoint.step].weight_hash) for checkpoint in checkpoints]
            plan = self._subject.plan(checkpoints, [pairs], sampler, (), calibration)
            gone = any(self._met[step].gone for step, _ in group)
            if gone and not all(self._folder.is_done(unit.key) for unit in plan.every_unit):
                continue
            self._issued[group] = plan
            for step, _ in group:
                self._so_far.expect(step)
            yield from self._ledger.missing(plan.every_unit)

    def _groups(self, everything: bool) -> list[Group]:
        """Neighbours, as many as a unit holds; a group that is still to be filled only if everything is asked for."""
        size = self._job.resources.checkpoints_per_unit
        assert isinstance(size, int)
        steps = [(step, self._met[step].weight_hash) for step in sorted(self._met)]
        return [tuple(group) for group in grouped(steps, size) if len(group) == size or everything]

    def _tried(self, plan: Plan) -> bool:
        return not any(self._ledger.is_out(unit) for unit in plan.every_unit)

    def _sequence(self, checkpoints: Iterable[Checkpoint]) -> CheckpointSequence:
        ordered = sorted(checkpoints, key=lambda checkpoint: checkpoint.step)
        return CheckpointSequence(self._job.checkpoints, tuple(ordered))

    def _show(self) -> None:
        estimated, met, counts = self.estimated, len(self._met), self.counts
        shown = (estimated, met, self._words())
        if shown == self._shown:
            return
        self._shown = shown
        self._progress(*shown)
        self._status.tell(checkpoints=met, units={**counts, "total": sum(counts.values()) + self._ledger.awaited})

    def _words(self) -> str:
        if not self._met:
            return "no complete checkpoint yet"
        if self._settings is None:
            usable = usable_points((met.checkpoint for met in self._met.values()), self._job.stages.axis)
            return f"{usable} of the {FEWEST_POINTS} checkpoints that choosing the sampler's settings takes"
        words = [f"newest step {max(self._met):,}"]
        settled = [each.boundary for each in self._so_far.settled]
        others = [
            boundary
            for boundary in (self._so_far.stages.boundaries if self._so_far.stages else ())
            if not any(same_boundary(boundary, old) for old in settled)
        ]
        for name, boundaries in (("settled", settled), ("provisional", others)):
            if boundaries:
                words.append(f"{name} at {', '.join(f'{boundary.step:,.0f}' for boundary in boundaries)}")
        left_out = len(self._refused) + len(self._arrivals.broken)
        return "; ".join([*words, *([f"{left_out} left out"] if left_out else [])])


def _same_unit(checkpoint: Checkpoint, met: Mapping[int, Met]) -> None:
    first = next((each.checkpoint for each in met.values()), checkpoint)
    if checkpoint.unit != first.unit:
        raise CheckpointError(
            f"{checkpoint.path} counts in {checkpoint.unit}s but {first.path} in {first.unit}s; it is left out"
        )
