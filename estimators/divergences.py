"""How far outputs lie from reference outputs, in nats per example; zero where they agree."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import log_softmax


def kl(outputs: Tensor, reference: Tensor) -> Tensor:
    """KL(reference || outputs) of logits (batch, ..., classes), averaged over positions in between.

    This is the excess of the expected negative log-likelihood when the labels are drawn from the
    reference model.

    Returns:
        (batch,) nats per example.
    """
    log_reference = log_softmax(reference, dim=-1)
    difference = log_reference - log_softmax(outputs, dim=-1)
    terms = (log_reference.exp() * difference).sum(dim=-1)
    return terms.flatten(1).mean(dim=1) if terms.ndim > 1 else terms


def squared_error(outputs: Tensor, reference: Tensor) -> Tensor:
    """Half the squared distance: the divergence of Gaussians with unit noise.

    Returns:
        (batch,) nats per example, summed over every output dimension.
    """
    squares = 0.5 * (outputs - reference).square()
    return squares.flatten(1).sum(dim=1) if squares.ndim > 1 else squares
