"""How much memory a chain needs, and so which engine and how many checkpoints at once.

Nothing here looks at a clock or at what else the machine does: the same job makes the same choice everywhere.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from estimators.group import Group
from slt.errors import ProblemError

BATCHED_LIMIT = 4 * 2**30
"""Bytes that one checkpoint's chains, or one chain's batch, may need to be sampled together, on any device."""

CPU_BUDGET = 40 * 2**20
"""Larger chunks are slower: they fall out of the cache, and the C library maps blocks over 32 MiB anew each time."""

FEW = 8
"""Examples on which it is found what one of them adds."""

LOOPED_FROM = 2**20
"""Bytes of one chain's activations from which a processor is faster chain after chain: about its second-level cache."""

VECTORS = 6
"""Of a chain's weights, gradient, noise and what an update makes of them, as many as are held at the same time."""

GPU_SHARE = 0.5
"""Of what this process may use of a card."""

_allowed = 1.0


def chain_bytes(group: Group) -> int:
    """What one chain holds at its peak: activations saved for the gradient, weights, gradient and noise.

    Raises:
        ProblemError: the loss does not depend on the parameters that move.
    """
    return _saved_bytes(group, group.batch_size or group.n_samples) + weights_bytes(group)


def examples_at_once(group: Group) -> int:
    """How many examples of a batch one chain evaluates together: all, or a part whose activations fit in the limit."""
    size = group.batch_size or group.n_samples
    few, fewer = min(size, FEW), min(size, FEW // 2)
    try:
        one = (_saved_bytes(group, few) - _saved_bytes(group, fewer)) / max(few - fewer, 1)
    except torch.OutOfMemoryError:
        return few
    while size > 1 and size * one > BATCHED_LIMIT:
        size = -(-size // 2)
    return size


def _saved_bytes(group: Group, examples: int) -> int:
    saved = 0

    def count(tensor: Tensor) -> None:
        nonlocal saved
        saved += tensor.numel() * tensor.element_size()  # and keep nothing: no gradient is asked for

    rows = slice(0, examples)
    position = group.centers[0].detach().requires_grad_()
    batch = tuple(tensor[rows] for tensor in group.data)
    references = tuple(reference[0, rows] for reference in group.references)
    with saved_tensors_hooks(count, lambda nothing: nothing):
        losses = group.scored.at(group.state_at(position, 0), batch, references)
    if not losses.requires_grad:
        raise ProblemError(
            f"the loss of problem '{group.scored.problem.name}' has no gradient in the parameters that move; "
            "compute it from the model that it is given, without detach or no_grad"
        )
    return saved


def weights_bytes(group: Group) -> int:
    """What one chain holds besides activations."""
    return VECTORS * group.centers.shape[1] * group.centers.element_size()


def checkpoints_at_once(group: Group, chains: int, *, stacked: bool = True) -> int:
    """How many checkpoints, with all their chains, fit into the device's budget; at least one.

    Activations are counted where those of all chains are stacked; else they are those of one chain at a time.
    """
    budget = CPU_BUDGET
    if group.centers.is_cuda:
        total = torch.cuda.get_device_properties(group.centers.device).total_memory
        budget = int(GPU_SHARE * _allowed * total)
    one = chain_bytes(group) if stacked else weights_bytes(group)
    return max(1, min(len(group.centers), budget // (chains * one)))


def card_bytes(chain: int, chains: int, checkpoints: int) -> int:
    """What a unit of so many checkpoints keeps busy on a card, `GPU_SHARE` of it its chains, of `chain` bytes each."""
    batched = chains * chain
    at_once = batched * checkpoints if batched <= BATCHED_LIMIT else chain
    return int(at_once / GPU_SHARE)


def limit_to_share(share: float) -> None:
    """Keep this process to a share of its card, so that others find room there; whole cards need no limit."""
    global _allowed
    _allowed = share if 0 < share < 1 else 1.0
    if torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(_allowed)
