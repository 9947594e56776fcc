"""How chains are run: many checkpoints x chains at once, step by step in a loop, or one chain after the other."""

from __future__ import annotations

import torch

from estimators.engines import batched, sequential
from estimators.engines.memory import BATCHED_LIMIT, LOOPED_FROM, chain_bytes, weights_bytes
from estimators.group import Group
from estimators.kernels import KERNELS
from estimators.progress import Progress
from estimators.sampler import SamplerConfig, Traces
from slt.errors import JobError, ProblemError


def choose(group: Group, config: SamplerConfig) -> str:
    """The engine to use, from a dry run of one chain that counts what it holds; no clock is looked at.

    "auto" is "looped" on a processor where one chain's operations fill its cache (`LOOPED_FROM`), and anywhere for a
    model that torch cannot batch; else "batched". It is "sequential" where one checkpoint's chains need more than
    `BATCHED_LIMIT` bytes so.

    Raises:
        ProblemError: the batched engine was asked for, and cannot run the model.
    """
    if config.engine != "auto":
        if config.engine == "batched" and (why := batched.obstacle(group, config)) is not None:
            raise ProblemError(
                f"problem '{group.scored.problem.name}' cannot run on the batched engine: {why}. Use engine 'looped' "
                "or 'sequential'"
            )
        return config.engine
    try:
        one = chain_bytes(group)
    except torch.OutOfMemoryError:
        return "sequential"
    weights = weights_bytes(group)
    large = group.centers.device.type == "cpu" and one - weights >= LOOPED_FROM
    if not large and config.chains * one <= BATCHED_LIMIT and batched.obstacle(group, config) is None:
        return "batched"
    return "looped" if one + config.chains * weights <= BATCHED_LIMIT else "sequential"


def sample(group: Group, config: SamplerConfig, progress: Progress) -> Traces:
    """Sample the group on the engine that `choose` names.

    Raises:
        ProblemError: as `choose`.
        JobError: the device's memory holds not even one chain, or, with an engine asked for, one checkpoint's chains.
    """
    kernel = KERNELS[config.kernel](config.step_size, config.n_beta, config.localization)
    engine = choose(group, config)
    if engine in batched.EVALUATIONS:
        try:
            return batched.sample(group, config, kernel, progress, engine)
        except torch.OutOfMemoryError:
            if config.engine == engine:
                raise _no_room(f"the {config.chains} chains of a checkpoint", "use sampler.engine auto") from None
        if group.centers.is_cuda:
            torch.cuda.empty_cache()
    try:
        return sequential.sample(group, config, kernel, progress)
    except torch.OutOfMemoryError:
        raise _no_room("one chain", "let fewer parameters move") from None


def _no_room(what: str, remedy: str) -> JobError:
    return JobError(f"the memory of the device does not hold {what}; {remedy}, or use another device")
