"""Chain after chain within each step: faster on a processor when the operations of one chain fill it.

Of a large model the stacked operations of the batched engine save nothing: a core computes one chain's as fast, keeps
them in its cache, and has kernels for them (fused attention, wide matrix products) that know no stacks. Noise and
updates are those of the batched engine, for all chains at once.

Legend of shapes: K checkpoints, C chains, B examples of a batch, P moving parameters.
"""

from __future__ import annotations

import torch
from torch import Tensor

from estimators.engines.batches import PairedBatch
from estimators.engines.gradients import Gradients, Place
from estimators.group import Group
from estimators.products import wide_products


class Looped:
    """Losses and gradients of all chains of a chunk of checkpoints."""

    def __init__(self, group: Group, chunk: slice) -> None:
        self._gradients, self._first = Gradients(group), chunk.start or 0
        self._position = self._gradient = group.centers.new_empty(0)
        self._places: list[list[Place]] = []

    def __call__(self, position: Tensor, batch: PairedBatch) -> tuple[Tensor, Tensor]:
        """Losses (K, C, B) at `position` (K, C, P), and the gradients (K, C, P) of their means, until the next call."""
        if position is not self._position:  # one that moves in place has its views made once
            self._position, self._gradient = position, torch.empty_like(position, requires_grad=False)
            self._places = [
                [self._gradients.place(*chain) for chain in zip(*checkpoint, strict=True)]
                for checkpoint in zip(position.detach(), self._gradient, strict=True)
            ]
        losses: list[Tensor] = []
        with wide_products(self._gradients.group.scored.model, position):
            for k, places in enumerate(self._places):
                self._gradients.start(self._first + k)
                losses += [self._gradients.take(place, batch, k, chain) for chain, place in enumerate(places)]
        return torch.stack(losses).reshape(*position.shape[:2], -1), self._gradient
