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
from estimators.engines.tally import Record, Tally, traces
from estimators.group import Group
from estimators.kernels import Draw, Kernel
from estimators.products import wide_products
from estimators.progress import Progress
from estimators.sampler import SamplerConfig, Traces
from estimators.seeds import NOISE, NoiseStream, chain_generator

DEVINTERP = {"sgld": SGMCMC.sgld, "rmsprop_sgld": SGMCMC.rmsprop_sgld}
"""The others run on our own kernels: devinterp has no MALA, and its SGNHT never moves its momentum."""

Step = Callable[[Tensor, Tensor], Draw]


def sample(group: Group, config: SamplerConfig, kernel: Kernel, progress: Progress) -> Traces:
    """Sample the group's chains one after the other, on the same batches as the batched engine.

    On devinterp's sampler of the configured name where there is one, else on `kernel`.
    """
    start = time.perf_counter()
    count, draws = len(group.centers), config.burn_in + config.draws
    records: list[Record] = []
    for k in range(count):
        for chain in range(config.chains):

            def report(done: int, before: int = len(records) * draws) -> None:
                progress(before + done, count * config.chains * draws, "draws")

            with wide_products(group.scored.model, group.centers):
                records.append(_sample_chain(group, config, kernel, k, chain, report))
    return traces(group, config, records, start, "sequential")


def _sample_chain(
    group: Group, config: SamplerConfig, kernel: Kernel, k: int, chain: int, report: Callable[[int], None]
) -> Record:
    """What one chain met."""
    moving = _Moving(group, k)
    position, gradient = moving.position, moving.gradient
    step = (
        _devinterp(config, moving.parameters, position, chain)
        if config.kernel in DEVINTERP
        else _own(group, config, kernel, position, k, chain)
    )
    batches = Batches(group, config.seed, slice(k, k + 1), [chain])
    tally = Tally(config, group.centers[k], ())
    for index in range(config.burn_in + config.draws):
        for _ in range(config.steps_between_draws):
            batch = batches.next()
            data, references = batch.data, tuple(reference[0] for reference in batch.references)
            if group.batch_size is not None:
                data, references = tuple(t[0] for t in data), tuple(t[0] for t in references)
            moving.place()
            losses = group.scored(data, references)
            gradient.zero_()
            losses.mean().backward()
            moving.collect()
            draw = step((losses.detach() - batch.center_losses[0, 0]).mean(), gradient)
        tally.add(index, draw)
        report(index + 1)
    return tally.record()


def _devinterp(config: SamplerConfig, moving: list[Parameter], position: Tensor, chain: int) -> Step:
    """One step of devinterp's sampler, which finds gradients at the parameters."""
    with warnings.catch_warnings():  # it warns that n_beta = 1 is unusual; here the user has asked for it
        warnings.simplefilter("ignore")
        optimizer = DEVINTERP[config.kernel](
            moving, lr=config.step_size, nbeta=config.n_beta, localization=config.localization
        )
    generator = chain_generator(config.seed, chain, NOISE, position.device)

    def step(excess_loss: Tensor, gradient: Tensor) -> Draw:
        optimizer.step(noise_generator=generator)
        return Draw(position, excess_loss)

    return step


def _own(group: Group, config: SamplerConfig, kernel: Kernel, position: Tensor, k: int, chain: int) -> Step:
    """One step of our own kernel, with the noise of the batched engine."""
    noise = NoiseStream(config.seed, [chain], len(position) + kernel.extra_noise, position.dtype, position.device)
    state = kernel.init(position, group.centers[k])

    def step(excess_loss: Tensor, gradient: Tensor) -> Draw:
        nonlocal state
        state, draw = kernel.update(state, excess_loss, gradient, noise.next()[0])
        return draw

    return step


class _Moving:
    """Checkpoint k in the group's model, and what moves of it.

    Attributes:
        position, gradient: (P,) all moving coordinates, and the gradient of the loss in them. Of a parameter that
            moves as a whole the model's own values and gradient are views: moving one moves the other.
        parameters: the same as a sampler of torch's parameters wants them, in the order of `centers`.
    """

    def __init__(self, group: Group, k: int) -> None:
        model = group.scored.model
        with torch.no_grad():
            for name, value in group.fixed.items():
                own = (dict(model.named_buffers()) | dict(model.named_parameters()))[name]
                own.copy_(value[k]).requires_grad_(False)
        self.position = group.centers[k].clone()
        self.gradient = torch.zeros_like(self.position)
        self.parameters: list[Parameter] = []
        self._in_part: list[tuple[Parameter, Tensor, Parameter]] = []
        values, slopes = group.pieces(self.position).values(), group.pieces(self.gradient).values()
        for name, index, value, slope in zip(group.names, group.coordinates, values, slopes, strict=True):
            own = model.get_parameter(name)
            own.requires_grad_()
            moving = own if index is None else Parameter(value)
            moving.data, moving.grad = value, slope
            self.parameters.append(moving)
            if index is not None:
                own.data, own.grad = own.detach().contiguous(), torch.zeros_like(own)
                self._in_part.append((own, index, moving))

    def place(self) -> None:
        """Put the coordinates of parameters that move in part into the model."""
        for own, index, moving in self._in_part:
            own.data.view(-1).scatter_(0, index, moving.data)

    def collect(self) -> None:
        """Take their gradient from the model's."""
        for own, index, moving in self._in_part:
            assert own.grad is not None
            assert moving.grad is not None
            torch.take(own.grad, index, out=moving.grad)
            own.grad.zero_()
