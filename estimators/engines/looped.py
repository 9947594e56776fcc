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
from estimators.group import Group
from estimators.products import wide_products


def evaluate(group: Group, chunk: slice, position: Tensor, batch: PairedBatch) -> tuple[Tensor, Tensor]:
    """Losses (K, C, B) of a chunk's checkpoints at `position` (K, C, P), and the gradients (K, C, P) of their means."""
    count, chains, _ = position.shape
    gradient = torch.empty_like(position, requires_grad=False)
    losses: list[Tensor] = []
    with wide_products(group.scored.model, position):
        for k in range(count):
            for chain in range(chains):
                at = position[k, chain].detach().requires_grad_()
                data, references = batch.data, tuple(reference[k] for reference in batch.references)
                if group.batch_size is not None:
                    data, references = tuple(t[chain] for t in data), tuple(t[chain] for t in references)
                loss = group.scored.at(group.state_at(at, (chunk.start or 0) + k), data, references)
                (gradient[k, chain],) = torch.autograd.grad(loss.mean(), at)
                losses.append(loss.detach())
    return torch.stack(losses).reshape(count, chains, -1), gradient
