"""Many checkpoints x chains at once: stacked parameters, one forward and one backward per step.

Legend of shapes: K checkpoints, C chains, B examples of a batch, P moving parameters, T draws with burn-in.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from estimators.engines.batches import Batches
from estimators.engines.memory import checkpoints_at_once
from estimators.group import Group
from estimators.kernels import KERNELS
from estimators.progress import Progress
from estimators.sampler import SamplerConfig, Traces
from estimators.seeds import NoiseStream

LossOf = Callable[[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]], Tensor]


def sample(group: Group, config: SamplerConfig, progress: Progress) -> Traces:
    """Sample every chain of the group, as many checkpoints at once as fit in memory."""
    start = time.perf_counter()
    count, draws = len(group.centers), config.burn_in + config.draws
    size = checkpoints_at_once(group, config.chains)
    excess, distance = [], []
    for first in range(0, count, size):
        chunk = slice(first, min(first + size, count))

        def report(done: int, chunk: slice = chunk) -> None:
            progress(chunk.start * draws + (chunk.stop - chunk.start) * done, count * draws, "draws")

        with _plain_operations():
            excess_KCT, distance_KC = _sample_chunk(group, config, chunk, report)
        excess.append(excess_KCT)
        distance.append(distance_KC)
    return Traces(
        excess_loss_KCD=torch.cat(excess).double().cpu().numpy(),
        loss_K=group.loss.cpu().numpy(),
        n_beta=config.n_beta,
        burn_in=config.burn_in,
        distance_KC=torch.cat(distance).double().cpu().numpy(),
        seconds=time.perf_counter() - start,
        engine="batched",
    )


def batched_losses(group: Group, chunk: slice) -> LossOf:
    """A function (position (K, C, P), batch, references) -> losses (K, C, B), for one chunk of checkpoints.

    Batch and references as in `PairedBatch`.
    """
    per_chain = None if group.batch_size is None else 0
    fixed = group.fixed_at(chunk)

    def one(
        parameters: dict[str, Tensor],
        fixed: dict[str, Tensor],
        batch: tuple[Tensor, ...],
        references: tuple[Tensor, ...],
    ) -> Tensor:
        result: Tensor = functional_call(group.scored, parameters | fixed, (batch, references))
        return result

    over_chains = vmap(one, in_dims=(0, None, per_chain, per_chain))
    over_checkpoints = vmap(over_chains, in_dims=(0, 0, None, 0))

    def losses(position: Tensor, batch: tuple[Tensor, ...], references: tuple[Tensor, ...]) -> Tensor:
        result: Tensor = over_checkpoints(group.parameters(position), fixed, batch, references)
        return result

    return losses


def obstacle(group: Group, config: SamplerConfig) -> str | None:
    """Why the model cannot be batched, in torch's words; None if it can. Tries one step of two chains."""
    batch = Batches(group, config.seed, slice(0, 1), range(2)).next()
    position = group.centers[:1].unsqueeze(1).repeat(1, 2, 1).requires_grad_()
    try:
        with warnings.catch_warnings(), _plain_operations():
            warnings.filterwarnings("error", message=".*performance drop.*")  # an operation without a batching rule
            losses = batched_losses(group, slice(0, 1))(position, batch.data, batch.references)
            torch.autograd.grad(losses.sum(), position)
    except (RuntimeError, ValueError, TypeError, NotImplementedError, UserWarning) as error:
        return str(error).splitlines()[0].split(". ")[0]
    return None


@contextmanager
def _plain_operations() -> Iterator[None]:
    """Without the fused attention and transformer kernels, which have no batching rule."""
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)


def _sample_chunk(
    group: Group, config: SamplerConfig, chunk: slice, report: Callable[[int], None]
) -> tuple[Tensor, Tensor]:
    """Excess losses (K, C, T) and rms distances (K, C) of one chunk; nothing in the loop waits for the device."""
    centers = group.centers[chunk].unsqueeze(1)
    count, chains, total = len(centers), config.chains, config.burn_in + config.draws
    losses_of = batched_losses(group, chunk)
    batches = Batches(group, config.seed, chunk, range(chains))
    noise = NoiseStream(config.seed, range(chains), centers.shape[-1], centers.dtype, centers.device)
    kernel = KERNELS[config.kernel](config.step_size, config.n_beta, config.localization)
    state = kernel.init(centers.repeat(1, chains, 1).requires_grad_(), centers)
    mean = centers.new_full((count, chains, batches.size), 1.0 / batches.size)
    excess = centers.new_empty((total, count, chains))
    squared_distance = centers.new_zeros((count, chains))
    looks = range(config.burn_in, total, max(1, config.draws // 16))
    for draw in range(total):
        for _ in range(config.steps_between_draws):
            batch = batches.next()
            losses = losses_of(state.position, batch.data, batch.references)
            (gradient,) = torch.autograd.grad(losses, state.position, mean)
            state = kernel.update(state, gradient, noise.next())
        torch.mean(losses.detach() - batch.center_losses, dim=-1, out=excess[draw])
        if draw in looks:
            squared_distance += (state.position.detach() - centers).square_().sum(dim=-1)
        report(draw + 1)
    return excess.permute(1, 2, 0), (squared_distance / len(looks)).sqrt()
