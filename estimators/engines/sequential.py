"""One chain after the other, in the model itself: for models of which only one fits.

In memory are the weights, w*, the gradient, the kernel's state with a step's noise, and the activations of as many
examples as fit; a batch that does not is gone through in parts.

Legend of shapes: K checkpoints, C chains, B examples of a batch, P moving parameters, T draws with burn-in.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from estimators.engines.batches import Batches
from estimators.engines.gradients import Gradients, Place
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
    gradients = Gradients(group)
    place = gradients.place(torch.empty_like(group.centers[0]), torch.empty_like(group.centers[0]))
    records: list[Record] = []
    for k in range(count):
        for chain in range(config.chains):

            def report(done: int, before: int = len(records) * draws) -> None:
                progress(before + done, count * config.chains * draws, "draws")

            with wide_products(group.scored.model, group.centers):
                records.append(_sample_chain(gradients, place, config, kernel, (k, chain), report))
    return traces(group, config, records, start, "sequential")


def _sample_chain(
    gradients: Gradients,
    place: Place,
    config: SamplerConfig,
    kernel: Kernel,
    which: tuple[int, int],
    report: Callable[[int], None],
) -> Record:
    """What one chain of one checkpoint met; nothing in the loop waits for the device."""
    group, (k, chain) = gradients.group, which
    gradients.start(k)
    position = place.position.copy_(group.centers[k])
    batches = Batches(group, config.seed, slice(k, k + 1), [chain])
    noise = NoiseStream(config.seed, [chain], len(position) + kernel.extra_noise, position.dtype, position.device)
    state = kernel.init(position, group.centers[k])
    tally = Tally(config, kernel, group.centers[k], ())
    for index in range(config.burn_in + config.draws):
        for _ in range(config.steps_between_draws):
            batch = batches.next()
            losses = gradients.take(place, batch)
            excess_loss = torch.mean(losses - batch.center_losses[0, 0], dim=-1)
            tally.look(index, state, place.gradient)
            state, draw = kernel.update(state, excess_loss, place.gradient, noise.next()[0])
        tally.add(index, draw)
        report(index + 1)
    return tally.record()
