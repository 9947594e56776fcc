"""The local learning coefficient over a sequence of checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from estimators import engines
from estimators.checkpoints import CheckpointSequence, load_fitting
from estimators.group import Weights, prepare
from estimators.problem import Problem, n_samples
from estimators.progress import Progress, silent
from estimators.sampler import Floats, SamplerConfig, Traces
from estimators.storage import chunks_ahead
from slt.errors import NoCheckpoints
from slt.learning_coefficient import estimates_from_traces
from slt.trajectory import Trajectory

GROUP_BYTES = 2**30
"""Weights, gradients, noise and centers of all chains of checkpoints that are sampled together stay under this."""
COPIES_PER_CHAIN = 4
MOST_TOGETHER = 16
"""Checkpoints sampled together here, where nobody has cut them into units."""

__all__ = ["SamplerConfig", "Traces", "estimate_llc", "sample_group", "together"]


def together(problem: Problem, chains: int) -> int:
    """How many checkpoints to hold in memory and to sample together: one, of models that fill it."""
    parameters = sum(parameter.numel() for parameter in problem.model.parameters())
    return max(1, GROUP_BYTES // max(1, parameters * chains * COPIES_PER_CHAIN * 4))


def sample_group(
    problem: Problem, weights: Sequence[Weights], config: SamplerConfig, *, progress: Progress = silent
) -> Traces:
    """Sample the chains of a group of checkpoints: the mathematics of one unit of work.

    A pure function of its arguments on one kind of device: chain c of every checkpoint sees the batches
    and the noise of (config.seed, c), whatever else is in the group.

    Raises:
        ProblemError: the loss fails, or is not per example; no divergence for `reference: self`.
        CheckpointMismatch: weights that do not fit the model.
        NonFiniteWeights: a NaN or an infinity among the weights.
    """
    return engines.sample(prepare(problem, weights, config), config, progress)


def estimate_llc(
    problem: Problem,
    checkpoints: Mapping[float, Weights] | CheckpointSequence,
    config: SamplerConfig,
    *,
    progress: Progress = silent,
) -> Trajectory:
    """LLC, standard error and verdict of every checkpoint, in this process.

    Args:
        problem: what the checkpoints are measured against.
        checkpoints: step -> state dict, or a sequence that `estimators.checkpoints.discover` found.
        config: the sampler's settings, the same for all.
        progress: told of checkpoints done.

    Raises:
        BadInput: as `sample_group`; and checkpoints that cannot be used.
    """
    unit = "step"
    if isinstance(checkpoints, CheckpointSequence):
        checkpoints.require_usable()
        unit = checkpoints.checkpoints[0].unit
        found = {checkpoint.step: checkpoint for checkpoint in checkpoints.checkpoints}
        steps: list[float] = sorted(found)
    else:
        steps = sorted(checkpoints)
    if not steps:
        raise NoCheckpoints("no checkpoints to estimate: the mapping from step to state dict is empty")

    def load(step: float) -> Weights:
        if not isinstance(checkpoints, CheckpointSequence):
            return checkpoints[step]
        return load_fitting(found[int(step)], problem.model, problem.name)

    parts: list[Traces] = []
    first = 0
    for group in chunks_ahead(load, steps, min(MOST_TOGETHER, together(problem, config.chains))):

        def report(done: int, total: int, label: str, first: int = first, size: int = len(group)) -> None:
            progress(first + done * size // total, len(steps), "checkpoints")

        parts.append(sample_group(problem, group, config, progress=report))
        first += len(group)
    estimates = estimates_from_traces(
        steps,
        np.concatenate([part.excess_loss_KCD for part in parts]),
        np.concatenate([part.loss_K for part in parts]),
        config.n_beta,
        burn_in=config.burn_in,
        reference=config.reference,
        n_samples=n_samples(problem),
        distance_KC=np.concatenate([part.distance_KC for part in parts]),
        acceptance_KC=_stacked([part.acceptance_KC for part in parts]),
        step_bias_KC=_stacked([part.step_bias_KC for part in parts]),
    )
    return Trajectory.from_estimates(estimates, unit)


def _stacked(parts: Sequence[Floats | None]) -> Floats | None:
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if known else None
