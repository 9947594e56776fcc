"""How few weights carry the norm, by two indices of no scale (Hurley and Rickard 2009, arXiv 0811.4706)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from estimators.problem import Problem


def sparsity(problem: Problem, model: nn.Module) -> Mapping[str, float]:
    """`sparsity_hoyer` and `sparsity_gini` of all parameters as one vector: 0 for equal sizes, 1 for a single one."""
    weights = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    return {"sparsity_hoyer": hoyer(weights), "sparsity_gini": gini(weights)}


def hoyer(values: Tensor) -> float:
    """(sqrt(N) - L1/L2) / (sqrt(N) - 1) (Hoyer 2004); NaN for all zeros or a single value."""
    sizes, root = values.flatten().double().abs(), math.sqrt(values.numel())
    norm = float(sizes.square().sum().sqrt())
    return (root - float(sizes.sum()) / norm) / (root - 1) if norm > 0 and root > 1 else math.nan


def gini(values: Tensor) -> float:
    """Gini coefficient of the sizes: mean absolute difference over twice the mean, below 1; NaN for all zeros."""
    sizes = values.flatten().double().abs().sort().values
    n, total = len(sizes), float(sizes.sum())
    ranks = torch.arange(1, n + 1, dtype=torch.float64, device=sizes.device)
    return float(((2 * ranks - n - 1) * sizes).sum()) / (n * total) if total > 0 else math.nan
