"""One chain at a time on devinterp's SGMCMC: for large models, and as a check on the batched engine.

Legend of shapes: K checkpoints, C chains, P moving parameters, T draws with burn-in.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import Parameter

with warnings.catch_warnings():  # what devinterp's own dependencies warn of on import is not the user's concern
    warnings.simplefilter("ignore")
    from devinterp.optim.sgmcmc import SGMCMC

from estimators.engines.batches import Batches
from estimators.group import Group
from estimators.progress import Progress
from estimators.sampler import SamplerConfig, Traces
from estimators.seeds import NOISE, chain_generator


def sample(group: Group, config: SamplerConfig, progress: Progress) -> Traces:
    """Sample the group's chains one after the other, on the same batches as the batched engine."""
    start = time.perf_counter()
    count, draws = len(group.centers), config.burn_in + config.draws
    excess = group.centers.new_empty((count, config.chains, draws))
    distance = group.centers.new_empty((count, config.chains))
    for k in range(count):
        for chain in range(config.chains):
            before = (k * config.chains + chain) * draws

            def report(done: int, before: int = before) -> None:
                progress(before + done, count * config.chains * draws, "draws")

            excess[k, chain], distance[k, chain] = _sample_chain(group, config, k, chain, report)
    return Traces(
        excess_loss_KCD=excess.double().cpu().numpy(),
        loss_K=group.loss.cpu().numpy(),
        n_beta=config.n_beta,
        burn_in=config.burn_in,
        distance_KC=distance.double().cpu().numpy(),
        seconds=time.perf_counter() - start,
        engine="sequential",
    )


def _sample_chain(
    group: Group, config: SamplerConfig, k: int, chain: int, report: Callable[[int], None]
) -> tuple[Tensor, Tensor]:
    """Excess losses (T,) and the rms distance () of one chain."""
    moving = load(group, k)
    with warnings.catch_warnings():  # it warns that n_beta = 1 is unusual; here the user has asked for it
        warnings.simplefilter("ignore")
        optimizer = SGMCMC.sgld(moving, lr=config.step_size, nbeta=config.n_beta, localization=config.localization)
    generator = chain_generator(config.seed, chain, NOISE, group.centers.device)
    batches = Batches(group, config.seed, slice(k, k + 1), [chain])
    total = config.burn_in + config.draws
    excess = group.centers.new_empty(total)
    squared_distance = group.centers.new_zeros(())
    looks = range(config.burn_in, total, max(1, config.draws // 16))
    for draw in range(total):
        for _ in range(config.steps_between_draws):
            batch = batches.next()
            data, references = batch.data, tuple(reference[0] for reference in batch.references)
            if group.batch_size is not None:
                data, references = tuple(t[0] for t in data), tuple(t[0] for t in references)
            losses = group.scored(data, references)
            optimizer.zero_grad()
            losses.mean().backward()
            optimizer.step(noise_generator=generator)
        excess[draw] = (losses.detach() - batch.center_losses[0, 0]).mean()
        if draw in looks:
            position = torch.cat([parameter.detach().reshape(-1) for parameter in moving])
            squared_distance += (position - group.centers[k]).square().sum()
        report(draw + 1)
    return excess, (squared_distance / len(looks)).sqrt()


def load(group: Group, k: int) -> list[Parameter]:
    """Copy checkpoint k into the group's model; the parameters that move, in the order of `centers`."""
    model = group.scored.model
    with torch.no_grad():
        for name, value in group.fixed.items():
            (dict(model.named_buffers()) | dict(model.named_parameters()))[name].copy_(value[k]).requires_grad_(False)
        moving = [model.get_parameter(name) for name in group.names]
        start = 0
        for parameter in moving:
            parameter.copy_(group.centers[k, start : start + parameter.numel()].view_as(parameter))
            start += parameter.numel()
    return moving
