"""The size of the weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from estimators.problem import Problem


def weight_norm(problem: Problem, model: nn.Module) -> Mapping[str, float]:
    """`weight_norm`: the L2 norm of all parameters together."""
    squares = [parameter.detach().double().square().sum() for parameter in model.parameters()]
    return {"weight_norm": float(torch.stack(squares).sum().sqrt())}
