"""One chain after the other, in the model itself: for models of which only one fits.

In memory are the weights, w*, the gradient, the kernel's state with a step's noise, and the activations of as many
examples as fit; a batch that does not is gone through in parts.

Legend of shapes: K checkpoints, C chains, B examples of a batch, P moving parameters, T draws with burn-in.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from estimators.engines.batches import Batches, PairedBatch
from estimators.engines.memory import examples_at_once
from estimators.engines.tally import Record, Tally, traces
from estimators.group import Group
from estimators.kernels import Kernel
from estimators.products import wide_products
from estimators.progress import Progress
from estimators.sampler import SamplerConfig, Traces
from estimators.seeds import NoiseStream


def sample(group: Group, config: SamplerConfig, kernel: Kernel, progress: Progress) -> Traces:
    """Sample the group's chains one after the other, on the batches and noise of the other engines.

    Raises:
        torch.OutOfMemoryError: not even one example fits beside the weights.
    """
    start = time.perf_counter()
    count, draws = len(group.centers), config.burn_in + config.draws
    gradients = _Gradients(group)
    records: list[Record] = []
    for k in range(count):
        for chain in range(config.chains):

            def report(done: int, before: int = len(records) * draws) -> None:
                progress(before + done, count * config.chains * draws, "draws")

            with wide_products(group.scored.model, group.centers):
                records.append(_sample_chain(gradients, config, kernel, k, chain, report))
    return traces(group, config, records, start, "sequential")


def _sample_chain(
    gradients: _Gradients, config: SamplerConfig, kernel: Kernel, k: int, chain: int, report: Callable[[int], None]
) -> Record:
    """What one chain met; nothing in the loop waits for the device."""
    group, position = gradients.group, gradients.start(k)
    batches = Batches(group, config.seed, slice(k, k + 1), [chain])
    noise = NoiseStream(config.seed, [chain], len(position) + kernel.extra_noise, position.dtype, position.device)
    state = kernel.init(position, group.centers[k])
    tally = Tally(config, group.centers[k], ())
    for index in range(config.burn_in + config.draws):
        for _ in range(config.steps_between_draws):
            batch = batches.next()
            losses = gradients.take(batch)
            excess_loss = torch.mean(losses - batch.center_losses[0, 0], dim=-1)
            state, draw = kernel.update(state, excess_loss, gradients.gradient, noise.next()[0])
        tally.add(index, draw)
        report(index + 1)
    return tally.record()


class _Gradients:
    """Losses and gradients of one position at a time, at which the group's own model stands.

    Attributes:
        group: of which the model is.
        position, gradient: (P,) all moving coordinates, and the gradient of the mean loss in them. Of a parameter that
            moves as a whole the model's own values and gradient are views: moving one moves the other.
        examples: how many are evaluated at once; halved where the device's memory does not hold them.
    """

    def __init__(self, group: Group) -> None:
        self.group = group
        self.examples = examples_at_once(group)
        self.position, self.gradient = torch.empty_like(group.centers[0]), torch.empty_like(group.centers[0])
        self._in_part: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        values, slopes = group.pieces(self.position).values(), group.pieces(self.gradient).values()
        for name, index, value, slope in zip(group.names, group.coordinates, values, slopes, strict=True):
            own = group.scored.model.get_parameter(name).requires_grad_()
            if index is None:
                own.data, own.grad = value, slope
            else:
                own.data, own.grad = own.detach().contiguous(), torch.zeros_like(own)
                self._in_part.append((own, index, value, slope))

    def start(self, k: int) -> Tensor:
        """Put checkpoint k into the model; returns the position, to be moved in place."""
        model = self.group.scored.model
        with torch.no_grad():
            for name, value in self.group.fixed.items():
                own = (dict(model.named_buffers()) | dict(model.named_parameters()))[name]
                own.copy_(value[k])
                if name not in self.group.names:
                    own.requires_grad_(False)
            self.position.copy_(self.group.centers[k])
        return self.position

    def take(self, batch: PairedBatch) -> Tensor:
        """The losses (B,) of a batch of one chain; `gradient` becomes that of their mean."""
        data, references = batch.data, tuple(reference[0] for reference in batch.references)
        if self.group.batch_size is not None:
            data, references = tuple(t[0] for t in data), tuple(t[0] for t in references)
        for own, index, value, _ in self._in_part:
            own.data.view(-1).scatter_(0, index, value)
        while True:
            try:
                losses = self._in_parts(data, references)
                break
            except torch.OutOfMemoryError:
                if self.examples == 1:
                    raise
                self.examples = -(-min(self.examples, len(data[0])) // 2)
            if self.position.is_cuda:  # after the error is gone, and what it held with it
                torch.cuda.empty_cache()
        for own, index, _, slope in self._in_part:
            assert own.grad is not None
            torch.take(own.grad, index, out=slope)
        return losses

    def _in_parts(self, data: tuple[Tensor, ...], references: tuple[Tensor, ...]) -> Tensor:
        self.gradient.zero_()
        for own, *_ in self._in_part:
            assert own.grad is not None
            own.grad.zero_()
        count, found = len(data[0]), []
        for start in range(0, count, self.examples):
            rows = slice(start, start + self.examples)
            losses = self.group.scored(tuple(t[rows] for t in data), tuple(t[rows] for t in references))
            losses.backward(torch.full_like(losses, 1.0 / count))
            found.append(losses.detach())
        return torch.cat(found)
