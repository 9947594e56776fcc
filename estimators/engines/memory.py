"""How much memory a chain needs, and so which engine and how many checkpoints at once.

Nothing here looks at a clock or at what else the machine does: the same job makes the same choice everywhere.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.func import functional_call

from estimators.group import Group
from slt.errors import ProblemError

BATCHED_LIMIT = 4 * 2**30
"""Bytes that one checkpoint's chains may need for the batched engine to be chosen, on any device."""

CPU_BUDGET = 40 * 2**20
"""Larger chunks are slower: they fall out of the cache, and the C library maps blocks over 32 MiB anew each time."""

GPU_SHARE = 0.5


def chain_bytes(group: Group) -> int:
    """What one chain holds at its peak: activations saved for the gradient, weights, gradient and noise.

    Raises:
        ProblemError: the loss does not depend on the parameters that move.
    """
    saved = 0

    def count(tensor: Tensor) -> Tensor:
        nonlocal saved
        saved += tensor.numel() * tensor.element_size()
        return tensor

    rows = slice(0, group.batch_size)
    position = group.centers[0].detach().requires_grad_()
    batch = tuple(tensor[rows] for tensor in group.data)
    references = tuple(reference[0, rows] for reference in group.references)
    with saved_tensors_hooks(count, lambda tensor: tensor):
        losses = functional_call(group.scored, group.state_at(position, 0), (batch, references))
    if not losses.requires_grad:
        raise ProblemError(
            f"the loss of problem '{group.scored.problem.name}' has no gradient in the parameters that move; "
            "compute it from the model that it is given, without detach or no_grad"
        )
    return saved + 6 * position.numel() * position.element_size()


def checkpoints_at_once(group: Group, chains: int) -> int:
    """How many checkpoints, with all their chains, fit into the device's budget; at least one."""
    budget = CPU_BUDGET
    if group.centers.is_cuda:
        budget = int(GPU_SHARE * torch.cuda.get_device_properties(group.centers.device).total_memory)
    return max(1, min(len(group.centers), budget // (chains * chain_bytes(group))))
