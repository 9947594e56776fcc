"""Everything that can be refused is refused here, before any sampling: one pass over all the inputs of a job."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

from torch import Tensor

from estimators.checkpoints import Checkpoint, CheckpointSequence, content_hash, discover, load_fitting
from estimators.engines.memory import card_bytes, chain_bytes
from estimators.group import prepare as make_group
from estimators.llc import SamplerConfig, together
from estimators.measures import evaluate
from estimators.problem import Problem
from estimators.refinement import Refinement
from estimators.storage import COPIES_AT_ONCE, in_order, read_from
from slt.curves import FEWEST_POINTS
from slt.errors import BadInput, ProblemError, TrajectoryError
from slt.events import CircuitEvent, read_events
from workers.calibration import Document, settle
from workers.job import JobConfig
from workers.phase import Phase
from workers.store import JobFolder
from workers.units import ProblemReference, Unit, group_size, grouped, tapered, unit_key

BYTES_BESIDES_TRACES = 20_000_000


@dataclass(frozen=True)
class Plan:
    """A job whose inputs have all been read once and found good.

    Attributes:
        units: of the job's own LLC and its measures.
        refined: units of each refined LLC, by its name.
    """

    job: JobConfig
    checkpoints: CheckpointSequence
    sampler: SamplerConfig
    units: tuple[Unit, ...]
    events: tuple[CircuitEvent, ...]
    calibration: Document | None = None
    refined: Mapping[str, tuple[Unit, ...]] = field(default_factory=dict)

    @property
    def every_unit(self) -> tuple[Unit, ...]:
        """All that has to be computed."""
        return self.units + tuple(unit for units in self.refined.values() for unit in units)


@dataclass(frozen=True)
class Subject:
    """What checkpoints are measured against: the job's problem, built once here, and how workers find it.

    Attributes:
        refined: the same of each refined LLC of the job, which has no measures.
    """

    job: JobConfig
    problem: Problem
    reference: ProblemReference
    refined: Mapping[str, Subject] = field(default_factory=dict)

    @classmethod
    def of(cls, job: JobConfig) -> Subject:
        """Import and build the problem of a job.

        Raises:
            ProblemError: it cannot be.
        """
        whole = _loaded(job, None)
        return cls(job, *whole, {name: cls._of_refined(job, name) for name in job.refinements})

    @classmethod
    def _of_refined(cls, job: JobConfig, name: str) -> Subject:
        settings = job.refinements[name]
        with _named(name):
            found = _loaded(job, Refinement(settings.parameters, settings.data))
        return cls(job.model_copy(update={"measures": ()}), *found)

    def read(self, checkpoint: Checkpoint, *, first: bool) -> str:
        """The hash of a checkpoint's weights, all of them read and found to fit; with the first, all is tried once.

        Raises:
            CheckpointError, ProblemError: the weights do not fit, or loss or measures cannot be evaluated.
        """
        weights = load_fitting(checkpoint, self.problem.model, self.job.problem, self.job.problem_args)
        if first:
            sampler = self.job.sampler.resolve(self.job.resources.device)
            _try_problem(self.problem, weights, self.job, sampler)
            for name, each in self.refined.items():
                with _named(name):
                    _try_problem(each.problem, weights, each.job, sampler)
        return content_hash(weights)

    def unit(self, group: Sequence[tuple[Checkpoint, str]], sampler: SamplerConfig) -> Unit:
        """The unit of work on these checkpoints, each with the hash of its weights."""
        return Unit(
            key=unit_key([weight_hash for _, weight_hash in group], self.reference, sampler, self.job.measures),
            # absolute: a worker elsewhere has another current directory
            checkpoints=tuple(replace(checkpoint, path=checkpoint.path.resolve()) for checkpoint, _ in group),
            weight_hashes=tuple(weight_hash for _, weight_hash in group),
            problem=self.reference,
            sampler=sampler,
            measures=self.job.measures,
            cpus=self.job.resources.cpus,
            card_bytes=card_bytes(
                self._chain_bytes, sampler.chains, min(len(group), together(self.problem, sampler.chains))
            ),
        )

    def plan(
        self,
        checkpoints: CheckpointSequence,
        groups: Sequence[Sequence[tuple[Checkpoint, str]]],
        sampler: SamplerConfig,
        events: tuple[CircuitEvent, ...],
        calibration: Document | None,
    ) -> Plan:
        """The plan for checkpoints in groups, each checkpoint with the hash of its weights."""
        units = tuple(self.unit(group, sampler) for group in groups)
        refined = {name: tuple(each.unit(group, sampler) for group in groups) for name, each in self.refined.items()}
        return Plan(self.job, checkpoints, sampler, units, events, calibration, refined)

    @cached_property
    def _chain_bytes(self) -> int:
        """Of one chain, measured where someone asks for it."""
        if self.job.resources.gpus != "auto":
            return 0
        sampler = replace(self.job.sampler.resolve("cpu"), engine="auto")
        return chain_bytes(make_group(self.problem, [self.problem.model.state_dict()], sampler))


@contextmanager
def _named(refinement: str) -> Iterator[None]:
    try:
        yield
    except ProblemError as error:
        raise ProblemError(f"refinement '{refinement}': {error}") from error


def _loaded(job: JobConfig, refinement: Refinement | None) -> tuple[Problem, ProblemReference]:
    reference = ProblemReference(job.problem, job.problem_args, Path.cwd(), refinement=refinement)
    problem, data_hash = reference.load()
    return problem, replace(reference, data_hash=data_hash)


def prepare(job: JobConfig, folder: JobFolder, phase: Phase) -> Plan:
    """Read and check all inputs, open the job folder, and cut the work into units.

    Raises:
        BadInput: whatever is wrong, in one sentence; nothing has been computed.
    """
    events = read_from(job.events, read_events) if job.events else ()
    checkpoints = discover(job.checkpoints)
    checkpoints.require_usable()
    require_enough(checkpoints, job.stages.axis)
    subject = Subject.of(job)
    folder.open()
    hashes = _read_all(checkpoints, subject, phase)
    sampler, calibration = settle(job, folder, checkpoints, hashes, subject.problem, subject.reference, phase)
    folder.open(bytes_needed=(1 + len(job.refinements)) * bytes_of_results(len(checkpoints), sampler))
    size, cut = job.resources.checkpoints_per_unit, grouped
    if size == "auto":
        cut, size = tapered, group_size(len(checkpoints))
    groups = list(cut(list(zip(checkpoints, hashes, strict=True)), size))
    return subject.plan(checkpoints, groups, sampler, events, calibration)


def bytes_of_results(checkpoints: int, sampler: SamplerConfig) -> int:
    """What a job folder grows to by one LLC of each checkpoint."""
    draws = checkpoints * sampler.chains * (sampler.burn_in + sampler.draws)
    return 3 * 8 * draws + BYTES_BESIDES_TRACES  # in units/, in traces.zarr, and on the way there


def usable_points(checkpoints: Iterable[Checkpoint], axis: str) -> int:
    """How many checkpoints have a place on the axis of time."""
    return sum(checkpoint.step > 0 or axis == "linear" for checkpoint in checkpoints)


def require_enough(checkpoints: CheckpointSequence, axis: str) -> None:
    """Refuse a job whose checkpoints are too few for stages.

    Raises:
        TrajectoryError: says how many there are, and how many it takes.
    """
    usable = usable_points(checkpoints, axis)
    if usable < FEWEST_POINTS:
        after = " after step 0" if axis == "log" else ""
        raise TrajectoryError(
            f"{usable} checkpoints{after} in {checkpoints.directory}, but stages can be detected from "
            f"{FEWEST_POINTS} on (20 or more are wise); save checkpoints more often"
        )


def _read_all(checkpoints: CheckpointSequence, subject: Subject, phase: Phase) -> list[str]:
    progress = phase("reading checkpoints")
    first, rest = checkpoints.checkpoints[0], checkpoints.checkpoints[1:]
    progress(0, len(checkpoints), first.path.name)
    hashes = [subject.read(first, first=True)]
    read = partial(subject.read, first=False)
    for checkpoint, found in zip(rest, in_order(read, rest, checkpoints.directory, COPIES_AT_ONCE), strict=True):
        hashes.append(found)
        progress(len(hashes), len(checkpoints), checkpoint.path.name)
    progress(len(checkpoints), len(checkpoints), "all fit the problem")
    return hashes


def _try_problem(problem: Problem, weights: Mapping[str, Tensor], job: JobConfig, sampler: SamplerConfig) -> None:
    """Evaluate the problem once, on the CPU: the driver of a cluster may have no GPU.

    A loss or a measure that never works would otherwise fail once per checkpoint, after the sampling.
    """
    if job.resources.gpus == 0:
        _ = sampler.torch_device  # no such device: refused here, and not once per checkpoint
    group = make_group(problem, [weights], replace(sampler, device="cpu"))
    chain_bytes(group)  # a loss without a gradient is refused
    if not group.loss.isfinite().all():
        for position, tensor in enumerate(group.data):
            if not tensor.isfinite().all():
                example = int((~tensor.isfinite()).nonzero()[0, 0])
                raise ProblemError(
                    f"tensor {position} of the data of problem '{job.problem}' has a NaN or an infinity in example "
                    f"{example}, so that the loss is none; mend or leave out that example"
                )
    try:
        evaluate(job.measures, problem, weights)
    except BadInput:
        raise
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0]
        raise ProblemError(
            f"the measures of problem '{job.problem}' cannot be evaluated: {type(error).__name__}: {reason}"
        ) from error
