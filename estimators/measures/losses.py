"""The mean loss over the whole data set, and the norm of its gradient."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from estimators.problem import Batch, Problem, problem_tensors

CHUNK = 512
"""Examples evaluated at once: memory stays bounded however large the data set is."""


def loss(problem: Problem, model: nn.Module) -> Mapping[str, float]:
    """`loss`: L_n(w), nats per example."""
    terms = [problem.loss(model, batch).double() for batch in _chunks(problem, model)]
    return {"loss": float(torch.cat(terms).mean())}


def gradient_norm(problem: Problem, model: nn.Module) -> Mapping[str, float]:
    """`gradient_norm`: the L2 norm of the gradient of L_n over all parameters; nats per unit of parameter."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    totals = [torch.zeros_like(parameter, dtype=torch.float64) for parameter in parameters]
    n = 0
    for batch in _chunks(problem, model):
        with torch.enable_grad():
            total_loss = problem.loss(model, batch).sum()
        gradients = torch.autograd.grad(total_loss, parameters, materialize_grads=True)
        for total, gradient in zip(totals, gradients, strict=True):
            total += gradient
        n += len(batch[0])
    return {"gradient_norm": float(torch.stack([total.square().sum() for total in totals]).sum().sqrt()) / n}


def _chunks(problem: Problem, model: nn.Module) -> Iterator[Batch]:
    """On the model's device, wherever the data are."""
    tensors: tuple[Tensor, ...] = problem_tensors(problem)
    device = next(model.parameters()).device
    for start in range(0, len(tensors[0]), CHUNK):
        yield tuple(tensor[start : start + CHUNK].to(device) for tensor in tensors)
