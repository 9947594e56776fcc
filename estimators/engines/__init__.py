"""How chains are run: many checkpoints x chains at once, or one chain at a time."""

from __future__ import annotations

from estimators.engines import batched
from estimators.engines.memory import BATCHED_LIMIT, chain_bytes
from estimators.group import Group
from estimators.progress import Progress
from estimators.sampler import SamplerConfig, Traces
from slt.errors import ProblemError


def choose(group: Group, config: SamplerConfig) -> str:
    """The engine to use.

    "auto" is batched if one checkpoint's chains need at most `BATCHED_LIMIT` bytes and every operation of
    the model has a batching rule in torch, else sequential.

    Raises:
        ProblemError: "batched" was asked for, and torch cannot batch the model.
    """
    if config.engine == "sequential":
        return "sequential"
    if config.engine == "auto" and config.chains * chain_bytes(group) > BATCHED_LIMIT:
        return "sequential"
    obstacle = batched.obstacle(group, config)
    if obstacle is None:
        return "batched"
    if config.engine == "auto":
        return "sequential"
    raise ProblemError(
        f"problem '{group.scored.problem.name}' cannot run on the batched engine: {obstacle}. Use engine 'sequential'"
    )


def sample(group: Group, config: SamplerConfig, progress: Progress) -> Traces:
    """Sample the group on the engine that `choose` names."""
    if choose(group, config) == "batched":
        return batched.sample(group, config, progress)
    from estimators.engines import sequential  # devinterp takes seconds to import

    return sequential.sample(group, config, progress)
