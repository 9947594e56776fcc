"""Many checkpoints x chains at once: stacked parameters, one forward and one backward per step.

Or, as engine "looped", a forward and a backward for each chain: see looped.py.

Legend of shapes: K checkpoints, C chains, B examples of a batch, P moving parameters, T draws with burn-in.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.func import vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from estimators.engines.batches import Batches, PairedBatch
from estimators.engines.looped import Looped
from estimators.engines.memory import checkpoints_at_once
from estimators.engines.tally import Record, Tally, traces
from estimators.group import Group
from estimators.kernels import Kernel
from estimators.progress import Progress
from estimators.sampler import SamplerConfig, Traces
from estimators.seeds import NoiseStream

Evaluate = Callable[[Tensor, PairedBatch], tuple[Tensor, Tensor]]
LossOf = Callable[[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]], Tensor]


def sample(group: Group, config: SamplerConfig, kernel: Kernel, progress: Progress, engine: str = "batched") -> Traces:
    """Sample every chain of the group, as many checkpoints at once as fit in memory; "batched" or "looped".

    Raises:
        torch.OutOfMemoryError: not even the chains of one checkpoint fit.
    """
    start = time.perf_counter()
    count, draws = len(group.centers), config.burn_in + config.draws
    size = checkpoints_at_once(group, config.chains, stacked=engine == "batched")
    records: list[Record] = []
    first = 0
    while first < count:
        chunk = slice(first, min(first + size, count))

        def report(done: int, chunk: slice = chunk) -> None:
            progress(chunk.start * draws + (chunk.stop - chunk.start) * done, count * draws, "draws")

        try:
            records.append(_sample_chunk(group, config, kernel, chunk, EVALUATIONS[engine](group, chunk), report))
            first = chunk.stop
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            size = min(size, count) // 2
        if group.centers.is_cuda and first < chunk.stop:  # after the error is gone, and what it held with it
            torch.cuda.empty_cache()
    return traces(group, config, records, start, engine)


def batched_losses(group: Group, chunk: slice) -> LossOf:
    """A function (position (K, C, P), batch, references) -> losses (K, C, B), for one chunk of checkpoints.

    Batch and references as in `PairedBatch`.
    """
    per_chain = None if group.batch_size is None else 0
    fixed = group.fixed_at(chunk)

    def one(
        pieces: dict[str, Tensor],
        fixed: dict[str, Tensor],
        batch: tuple[Tensor, ...],
        references: tuple[Tensor, ...],
    ) -> Tensor:
        result: Tensor = group.scored.at(group.state(pieces, fixed), batch, references)
        return result

    over_chains = vmap(one, in_dims=(0, None, per_chain, per_chain))
    over_checkpoints = vmap(over_chains, in_dims=(0, 0, None, 0))

    def losses(position: Tensor, batch: tuple[Tensor, ...], references: tuple[Tensor, ...]) -> Tensor:
        result: Tensor = over_checkpoints(group.pieces(position), fixed, batch, references)
        return result

    return losses


def obstacle(group: Group, config: SamplerConfig) -> str | None:
    """Why the model cannot run "batched", in torch's words; None if it can. Tries a step of two chains."""
    batch = Batches(group, config.seed, slice(0, 1), range(2)).next()
    position = group.centers[:1].unsqueeze(1).repeat(1, 2, 1).requires_grad_()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*performance drop.*")  # an operation without a batching rule
            _stacked(group, slice(0, 1))(position, batch)
    except torch.OutOfMemoryError:
        return None  # the engines find out how much fits
    except (RuntimeError, ValueError, TypeError, NotImplementedError, UserWarning) as error:
        return str(error).splitlines()[0].split(". ")[0]
    return None


def _stacked(group: Group, chunk: slice) -> Evaluate:
    losses_of = batched_losses(group, chunk)

    def evaluate(position: Tensor, batch: PairedBatch) -> tuple[Tensor, Tensor]:
        with plain_operations():
            losses = losses_of(position, batch.data, batch.references)
            # of one number: torch imports sympy, two seconds of every process, to look at the shape of grad_outputs
            (gradient,) = torch.autograd.grad(losses.mean(dim=-1).sum(), position)
        return losses.detach(), gradient

    return evaluate


EVALUATIONS: dict[str, Callable[[Group, slice], Evaluate]] = {
    "batched": _stacked,
    "looped": Looped,
}
"""engine -> of a chunk of checkpoints, (position (K, C, P), batch) -> losses (K, C, B), gradients of their means."""


@contextmanager
def plain_operations() -> Iterator[None]:
    """Without the fused attention and transformer kernels, which have no batching rule."""
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)


def _sample_chunk(
    group: Group, config: SamplerConfig, kernel: Kernel, chunk: slice, evaluate: Evaluate, report: Callable[[int], None]
) -> Record:
    """What the chains (K, C) of one chunk met; nothing in the loop waits for the device."""
    centers = group.centers[chunk].unsqueeze(1)
    count, chains, parameter_count = len(centers), config.chains, centers.shape[-1]
    batches = Batches(group, config.seed, chunk, range(chains))
    noise = NoiseStream(config.seed, range(chains), parameter_count + kernel.extra_noise, centers.dtype, centers.device)
    state = kernel.init(centers.repeat(1, chains, 1).requires_grad_(), centers)
    tally = Tally(config, kernel, centers, (count, chains))
    for index in range(config.burn_in + config.draws):
        for _ in range(config.steps_between_draws):
            batch = batches.next()
            losses, gradient = evaluate(state.position, batch)
            excess_loss = torch.mean(losses - batch.center_losses, dim=-1)
            tally.look(index, state, gradient)
            state, draw = kernel.update(state, excess_loss, gradient, noise.next())
        tally.add(index, draw)
        report(index + 1)
    return tally.record()
