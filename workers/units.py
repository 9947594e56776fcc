"""The unit of work: a group of checkpoints with all their chains, as a plain function of files and settings.

Groups are fixed by the job and never by the number of workers, and seeds come from the settings, so the
numbers are the same bits wherever and in whatever order units run.

Legend of shapes: K checkpoints of one unit, C chains, B burn-in, D draws.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
import platform
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, lru_cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import estimators
from estimators.checkpoints import Checkpoint, content_hash, load_fitting
from estimators.group import Weights
from estimators.llc import SamplerConfig, sample_group, together
from estimators.measures import evaluate
from estimators.problem import Problem, load_problem, n_samples, problem_tensors
from estimators.refinement import Refinement, refine
from estimators.storage import chunks_ahead
from slt.errors import NodeError, StorageError, UnreadableCheckpoint
from workers.executor import Failure, application_failure, attempt

Floats = NDArray[np.float64]


@cache
def code_version() -> str:
    """The versions of this project and of torch, and a hash of what computes the numbers."""
    names = ("slt-stages", "torch")
    versions = [f"{name} {importlib.metadata.version(name)}" for name in names]
    return " ".join([*versions, _hash_sources(Path(estimators.__file__).parent)])


@dataclass(frozen=True)
class ProblemReference:
    """Where a process finds the problem, and what it must find there."""

    name: str
    args: Mapping[str, Any]
    working_directory: Path
    data_hash: str = ""
    refinement: Refinement | None = None

    def load(self) -> tuple[Problem, str]:
        """The problem, refined if it is to be, and the hash of its data; built once per process."""
        return _load(self.name, json.dumps(self.args, sort_keys=True), self.working_directory, self.refinement)


@dataclass(frozen=True)
class Unit:
    """What one worker is handed. `key` names everything that the numbers depend on.

    Attributes:
        card_bytes: what its chains keep busy on a card; not in the key.
        code: the version that the worker must have; in the key.
    """

    key: str
    checkpoints: tuple[Checkpoint, ...]
    weight_hashes: tuple[str, ...]
    problem: ProblemReference
    sampler: SamplerConfig
    measures: tuple[str, ...]
    cpus: int
    card_bytes: int = 0
    code: str = field(default_factory=code_version)


@dataclass(frozen=True)
class CheckpointResult:
    """The numbers of one checkpoint.

    Attributes:
        excess_loss_CD: (C, B+D) paired differences L_B(w) - L_B(w*), burn-in included.
        loss: L_n(w*), nats per sample.
        distance_C: (C,) rms distance of the draws from w*.
        acceptance_C: (C,) mean probability of accepting a proposal; NaN for a kernel that refuses none.
        step_bias_C: (C,) what the finite step added to the LLC; NaN for a kernel that corrects for it.
        n_samples: size of the data set.
        measures: further measures by name.
    """

    excess_loss_CD: Floats
    loss: float
    distance_C: Floats
    acceptance_C: Floats
    step_bias_C: Floats
    n_samples: int
    measures: Mapping[str, float]


@dataclass(frozen=True)
class UnitResult:
    """One entry per checkpoint of the unit: numbers, or why there are none."""

    entries: tuple[CheckpointResult | Failure, ...]
    seconds: float = field(compare=False, default=0.0)

    @property
    def failures(self) -> dict[int, Failure]:
        """Failures by position in the unit."""
        return {i: entry for i, entry in enumerate(self.entries) if isinstance(entry, Failure)}


def compute_unit(unit: Unit) -> UnitResult:
    """Sample around the unit's checkpoints and evaluate their measures, as many together as memory holds.

    The next checkpoints are read while these are sampled. When sampling raises, each of them is tried alone, so that
    one bad checkpoint is one failed item.

    Raises:
        NodeError: this machine has another version of the code.
    """
    if code_version() != unit.code:
        raise NodeError(
            f"node {platform.node()} has '{code_version()}' but the job began with '{unit.code}', whose numbers may "
            f"differ; install the same versions on every node"
        )
    torch.set_num_threads(unit.cpus)
    started = time.perf_counter()
    entries: list[CheckpointResult | Failure] = []
    try:
        problem = _expected_problem(unit)
        load = partial(attempt, partial(_load_expected, unit, problem=problem))
        for chunk in chunks_ahead(load, range(len(unit.checkpoints)), together(problem, unit.sampler.chains)):
            entries += _computed(unit, problem, chunk)
    except Exception as error:  # what each checkpoint would meet again
        entries += [application_failure(error)] * (len(unit.checkpoints) - len(entries))
    return UnitResult(tuple(entries), time.perf_counter() - started)


def _expected_problem(unit: Unit) -> Problem:
    problem, data_hash = unit.problem.load()
    if data_hash != unit.problem.data_hash:
        raise RuntimeError(
            f"the data of problem '{unit.problem.name}' differ between processes; seed what builds them, "
            f"for example torch.Generator().manual_seed(0)"
        )
    return problem


def _computed(unit: Unit, problem: Problem, read: Sequence[Weights | Failure]) -> list[CheckpointResult | Failure]:
    """One entry for each checkpoint that was read, or was not."""
    weights = [each for each in read if not isinstance(each, Failure)]
    compute = partial(_sample_and_measure, unit, problem)
    found = attempt(compute, weights) if weights else []
    if isinstance(found, Failure) and len(weights) > 1:
        return [entry for each in read for entry in _computed(unit, problem, [each])]
    sampled: Sequence[CheckpointResult | Failure] = [found] if isinstance(found, Failure) else found
    entries = iter(sampled)
    return [each if isinstance(each, Failure) else next(entries) for each in read]


def _sample_and_measure(unit: Unit, problem: Problem, weights: Sequence[Weights]) -> list[CheckpointResult]:
    traces = sample_group(problem, weights, unit.sampler)
    nothing = np.full_like(traces.distance_KC, np.nan)
    acceptance_KC, step_bias_KC = (
        nothing if each is None else each for each in (traces.acceptance_KC, traces.step_bias_KC)
    )
    return [
        CheckpointResult(
            excess_loss_CD=np.asarray(traces.excess_loss_KCD[row], dtype=float),
            loss=float(traces.loss_K[row]),
            distance_C=np.asarray(traces.distance_KC[row], dtype=float),
            acceptance_C=np.asarray(acceptance_KC[row], dtype=float),
            step_bias_C=np.asarray(step_bias_KC[row], dtype=float),
            n_samples=n_samples(problem),
            measures=evaluate(unit.measures, problem, checkpoint_weights),
        )
        for row, checkpoint_weights in enumerate(weights)
    ]


def _load_expected(unit: Unit, position: int, problem: Problem) -> dict[str, torch.Tensor]:
    checkpoint = unit.checkpoints[position]
    try:
        weights = load_fitting(checkpoint, problem.model, unit.problem.name, unit.problem.args)
    except StorageError as error:
        raise NodeError(f"{error} (on node {platform.node()})") from None
    except Exception:
        if not _sees(checkpoint):
            raise NodeError(
                f"node {platform.node()} cannot see {checkpoint.path}, which the job's driver reads; mount the folder "
                f"at the same path on every node, or put the checkpoints where all nodes reach them (s3://...)"
            ) from None
        raise
    if content_hash(weights) != unit.weight_hashes[position]:
        raise UnreadableCheckpoint(f"{checkpoint.path} changed while the job ran; run the job again")
    return weights


def require_seen(unit: Unit, failures: Mapping[int, Failure]) -> None:
    """Stop a job whose nodes lack what its driver has, at the first of them.

    A checkpoint that the driver does not see either was removed meanwhile: a failed item like any other.

    Raises:
        NodeError: a failure is the node's and not the checkpoint's.
    """
    for position, failure in failures.items():
        if failure.kind == "node" and _sees(unit.checkpoints[position]):
            raise NodeError(failure.error)


def _sees(checkpoint: Checkpoint) -> bool:
    if not isinstance(checkpoint.path, Path):  # object storage is seen, or the driver would not have begun
        return True
    try:
        return checkpoint.path.exists()
    except OSError:  # no right to look is no sight either
        return False


@lru_cache(maxsize=2)
def _problem(name: str, args: str, working_directory: Path) -> Problem:
    return load_problem(name, json.loads(args), working_directory)


@lru_cache(maxsize=16)
def _load(name: str, args: str, working_directory: Path, refinement: Refinement | None) -> tuple[Problem, str]:
    problem = _problem(name, args, working_directory)
    if refinement is not None:
        problem = refine(problem, refinement, working_directory)
    digest = hashlib.sha256()
    for tensor in problem_tensors(problem):
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return problem, digest.hexdigest()


def group_size(checkpoints: int) -> int:
    """Checkpoints per unit: the power of two that makes 10 to 20 units.

    A power of two, because then most groups stay what they are while a training run adds checkpoints.
    """
    return 1 << int(math.log2(max(1.0, checkpoints / 10)))


def tapered(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """As `grouped`, the first group in a half and two quarters: small units to fill the gaps at a job's end.

    The first and not the last, because a sequence grows at its end and its groups are to stay.
    """
    half, quarter = size // 2, size // 4
    ends = [half, half + quarter] if quarter else [half] if half else []
    first = min(size, len(items))
    for start, end in pairwise([0, *(end for end in ends if end < first), first]):
        yield items[start:end]
    yield from grouped(items[first:], size)


def largest_first(units: Iterable[Unit]) -> list[Unit]:
    """The order in which to compute: the small ones last, so that no worker waits long for another at the end."""
    return sorted(units, key=lambda unit: -len(unit.checkpoints))


def grouped(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Neighbours, `size` at a time."""
    return (items[start : start + size] for start in range(0, len(items), size))


def unit_key(
    weight_hashes: Sequence[str], problem: ProblemReference, sampler: SamplerConfig, measures: Sequence[str]
) -> str:
    """Hash of all that the numbers depend on; steps and paths are labels, and are left out."""
    content = {
        "weights": list(weight_hashes),
        "problem": [problem.name, dict(problem.args), problem.data_hash, _problem_code(problem.name)],
        "sampler": asdict(sampler),
        "measures": list(measures),
        "code": code_version(),
    }
    if problem.refinement is not None:
        content["refinement"] = [asdict(problem.refinement), _problem_code(problem.refinement.data or "")]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:32]


def user_code(*references: str) -> list[Path]:
    """The modules or packages, in the current directory, of `package.module:function` among some references."""
    tops = dict.fromkeys(each.partition(":")[0].partition(".")[0] for each in references if ":" in each)
    return [path for top in tops for path in (Path.cwd() / top, Path.cwd() / f"{top}.py") if path.exists()]


def _problem_code(problem: str) -> list[str]:
    """Hashes of the user's code; built-in problems are part of `code_version`."""
    return [_hash_sources(path) for path in user_code(problem)]


def _hash_sources(path: Path) -> str:
    digest = hashlib.sha256()
    for source in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()[:16]
