"""Batches and Langevin noise: the same at every checkpoint, different between chains.

Both come from (seed, chain) alone, so no result depends on which checkpoints are sampled together, in what
order, or where. Legend of shapes: C chains, B examples of a batch, P moving parameters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

BATCHES, NOISE = 0, 1
BLOCK_NUMBERS = 2**18  # normal numbers drawn per chain at once: 1 MiB, enough that the call itself costs nothing
BLOCK_STEPS = 256


def chain_generator(seed: int, chain: int, purpose: int, device: torch.device) -> torch.Generator:
    """A generator on `device` for one chain's batches (`BATCHES`) or noise (`NOISE`)."""
    state = np.random.SeedSequence([seed, chain, purpose]).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(state) >> 1)


class BatchStream:
    """Endless batches of indices, (C, B): each chain walks through its own permutations of the data.

    A batch may span two permutations, so that every example is used equally often.
    """

    def __init__(self, seed: int, chains: Sequence[int], n_samples: int, batch_size: int, device: torch.device) -> None:
        self._generators = [chain_generator(seed, chain, BATCHES, device) for chain in chains]
        self._n_samples, self._batch_size, self._device = n_samples, batch_size, device
        self._epochs = math.ceil(BLOCK_STEPS * batch_size / n_samples)
        self._order = torch.empty((len(chains), 0), dtype=torch.int64, device=device)
        self._used = 0

    def next(self) -> Tensor:
        """The indices of the next batch, (C, B)."""
        if self._order.shape[1] - self._used < self._batch_size:
            self._order = torch.cat([self._order[:, self._used :], self._permutations()], dim=1)
            self._used = 0
        self._used += self._batch_size
        return self._order[:, self._used - self._batch_size : self._used]

    def _permutations(self) -> Tensor:
        return torch.stack(
            [
                torch.cat(
                    [
                        torch.randperm(self._n_samples, generator=generator, device=self._device)
                        for _ in range(self._epochs)
                    ]
                )
                for generator in self._generators
            ]
        )


class NoiseStream:
    """Endless standard normal noise, (C, P), drawn in blocks whose size depends on P alone."""

    def __init__(
        self, seed: int, chains: Sequence[int], parameter_count: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self._generators = [chain_generator(seed, chain, NOISE, device) for chain in chains]
        steps = min(max(BLOCK_NUMBERS // max(parameter_count, 1), 1), BLOCK_STEPS)
        self._block = torch.empty((steps, len(chains), parameter_count), dtype=dtype, device=device)
        self._used = steps

    def next(self) -> Tensor:
        """The noise of the next step, (C, P); valid until the call after."""
        if self._used == len(self._block):
            for chain, generator in enumerate(self._generators):
                numbers = self._block[:, chain]
                if numbers.is_contiguous():  # nothing beside them in memory, and the same ones
                    numbers.normal_(generator=generator)
                else:
                    numbers.copy_(
                        torch.randn(numbers.shape, generator=generator, dtype=numbers.dtype, device=numbers.device)
                    )
            self._used = 0
        self._used += 1
        return self._block[self._used - 1]
