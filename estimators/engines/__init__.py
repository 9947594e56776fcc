"""How chains are run: many checkpoints x chains at once, or one chain at a time."""

from __future__ import annotations

import torch

from estimators.engines import batched
from estimators.engines.memory import BATCHED_LIMIT, chain_bytes
from estimators.group import Group
from estimators.kernels import KERNELS
from estimators.progress import Progress
from estimators.sampler import SamplerConfig, Traces
from slt.errors import JobError, ProblemError


def choose(group: Group, config: SamplerConfig) -> str:
    """The engine to use.

    "auto" is batched if one checkpoint's chains need at most `BATCHED_LIMIT` bytes and every operation of
    the model has a batching rule in torch, else sequential.

    Raises:
        ProblemError: "batched" was asked for, and torch cannot batch the model.
    """
    if config.engine == "sequential":
        return "sequential"
    if config.engine == "auto" and not _fits(group, config.chains):
        return "sequential"
    obstacle = batched.obstacle(group, config)
    if obstacle is None:
        return "batched"
    if config.engine == "auto":
        return "sequential"
    raise ProblemError(
        f"problem '{group.scored.problem.name}' cannot run on the batched engine: {obstacle}. Use engine 'sequential'"
    )


def _fits(group: Group, chains: int) -> bool:
    try:
        return chains * chain_bytes(group) <= BATCHED_LIMIT
    except torch.OutOfMemoryError:
        return False


def sample(group: Group, config: SamplerConfig, progress: Progress) -> Traces:
    """Sample the group on the engine that `choose` names.

    Raises:
        ProblemError: as `choose`.
        JobError: the device's memory holds not even one chain, or with "batched" one checkpoint's chains.
    """
    kernel = KERNELS[config.kernel](config.step_size, config.n_beta, config.localization)
    if choose(group, config) == "batched":
        try:
            return batched.sample(group, config, kernel, progress)
        except torch.OutOfMemoryError:
            if config.engine == "batched":
                raise _no_room(f"the {config.chains} chains of a checkpoint", "use sampler.engine auto") from None
        if group.centers.is_cuda:
            torch.cuda.empty_cache()
    from estimators.engines import sequential  # devinterp takes seconds to import

    try:
        return sequential.sample(group, config, kernel, progress)
    except torch.OutOfMemoryError:
        raise _no_room("one chain", "lower sampler.batch_size") from None


def _no_room(what: str, remedy: str) -> JobError:
    return JobError(f"the memory of the device does not hold {what}; {remedy}, or use another device")
