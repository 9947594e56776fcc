"""Deep linear networks at factors of minimal rank, where their learning coefficient is known; what chains find there.

Legend of shapes: S independent walkers, H widths.
"""

from __future__ import annotations

import functools
import math
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from estimators.problem import Problem
from slt.closed_form import deep_linear

Widths = tuple[int, ...]
Floats = NDArray[np.float64]

GOLDEN: list[tuple[Widths, int]] = [
    ((2, 2, 2), 0), ((3, 3, 3), 1), ((4, 3, 8), 3), ((5, 4, 5), 2), ((5, 3, 5), 2), ((5, 3, 5), 3), ((3, 8, 4), 3),
    ((6, 6, 6), 3), ((10, 10, 10), 5), ((10, 10, 10), 10), ((12, 6, 20), 4), ((30, 10, 20), 5), ((30, 20, 30), 10),
    ((4, 4, 4, 4), 2), ((5, 5, 5, 5), 2), ((6, 4, 8, 6), 3), ((10, 10, 10, 10), 4), ((16, 12, 12, 16), 6),
    ((8, 6, 5, 6, 8), 3), ((12, 10, 10, 10, 12), 8), ((20, 30, 10, 40, 20), 6), ((50, 50, 50, 50, 50), 20),
    ((64, 64, 64, 64), 16),
]  # fmt: skip
"""Widths, input first, and rank of the true product; 8 to 12,288 parameters. Two layers are reduced-rank regression."""


class DeepLinear(nn.Module):
    """W_L ... W_1, each the identity on the first `rank` units and zero elsewhere: factors of minimal rank.

    The Hessian of the population loss there has eigenvalues 1 and L, and zeros.
    """

    def __init__(self, widths: Widths, rank: int) -> None:
        super().__init__()
        layers = [torch.zeros(outputs, inputs) for inputs, outputs in pairwise(widths)]
        target = torch.zeros(widths[-1], widths[0])
        for matrix in (*layers, target):
            matrix[:rank, :rank] = torch.eye(rank)
        self.layers = nn.ParameterList(layers)
        self.register_buffer("target", target)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x @ layer.T
        return x


def population(widths: Widths, rank: int) -> Problem:
    """Without noise: E |f(x) - f*(x)|^2 / 2 over standard normal inputs is |W_L ... W_1 - W*|^2 / 2, exactly."""

    def loss(model: DeepLinear, batch: tuple[Tensor, ...]) -> Tensor:
        product = functools.reduce(lambda right, left: left @ right, model.layers)
        return 0.5 * (product - model.target).square().sum().expand(len(batch[0]))

    return Problem(model=DeepLinear(widths, rank), data=(torch.zeros(1, 1),), loss=loss, name=name(widths, rank))


def regression(widths: Widths, rank: int, n_samples: int, seed: int = 0) -> Problem:
    """Standard normal inputs, outputs of the true product with unit noise: nats per example, constant left out."""
    model = DeepLinear(widths, rank)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n_samples, widths[0], generator=generator)
    y = x @ model.target.T + torch.randn(n_samples, widths[-1], generator=generator)

    def loss(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        return 0.5 * (model(batch[0]) - batch[1]).square().sum(dim=1)

    return Problem(model=model, data=(x, y), loss=loss, name=name(widths, rank))


def name(widths: Widths, rank: int) -> str:
    """As in the table."""
    shape = f"{len(widths)} x {widths[0]}" if len(widths) > 4 and len(set(widths)) == 1 else "-".join(map(str, widths))
    return f"{shape} rank {rank}"


def asymptotic(widths: Widths, rank: int, n_beta: float) -> float:
    """`lambda - (m - 1) / log n_beta`.

    With Z(n_beta) the integral of the localised posterior, the estimator's mean is
    `n_beta E[L] = -d log Z / d log n_beta`; and Z ~ c n_beta^-lambda (log n_beta)^(m-1).
    """
    coefficient, multiplicity = deep_linear(widths, rank)
    return coefficient - (multiplicity - 1) / math.log(n_beta)


def at_finite_n_beta(widths: Widths, rank: int, n_beta: float, localization: float, sweeps: int = 400) -> float:
    """What `n_beta E[L]` is before n_beta goes to infinity, to leading order around w*, with no Langevin chain.

    Around w* the loss splits into |Delta|^2 / 2 of a regular part, Gaussian with the Hessian's eigenvalues h (L for
    the rank^2 entries on which all layers act, 1 for the rank (H_0 + H_L - 2 rank) beside them), each of which gives
    `n_beta h / (n_beta h + gamma) / 2`; and the product of the units that are zero at w*, a deep linear network
    of widths H - rank and true product zero. That one's posterior given all layers but one is Gaussian, so
    Gibbs sampling draws from it exactly, and each draw gives the mean of its loss over the layer drawn. Left out is
    how the regular part's curvature changes along the fibre.
    """
    inputs, outputs, layers = widths[0] - rank, widths[-1] - rank, len(widths) - 1
    regular = sum(
        0.5 * count * n_beta * h / (n_beta * h + localization)
        for h, count in ((layers, rank**2), (1, rank * (inputs + outputs)))
    )
    return regular + _zero_product(tuple(width - rank for width in widths), n_beta, localization, sweeps)


def _zero_product(widths: Widths, n_beta: float, localization: float, sweeps: int) -> float:
    if min(widths) == 0:
        return 0.0
    rng = np.random.default_rng(0)
    walkers = max(2, 2000 // sum(a * b for a, b in pairwise(widths)))
    shapes = [(walkers, outputs, inputs) for inputs, outputs in pairwise(widths)]
    layers = [0.3 / math.sqrt(localization) * rng.standard_normal(shape) for shape in shapes]
    means = []
    for sweep in range(sweeps):
        for index in range(len(layers)):
            below = functools.reduce(lambda right, left: left @ right, layers[:index], np.eye(widths[0]))
            above = functools.reduce(lambda right, left: left @ right, layers[index + 1 :], np.eye(widths[index + 1]))
            left, U = np.linalg.eigh(above.swapaxes(-1, -2) @ above)
            right, V = np.linalg.eigh(below @ below.swapaxes(-1, -2))
            curvature = n_beta * left.clip(0)[..., :, None] * right.clip(0)[..., None, :]
            z = rng.standard_normal(shapes[index]) / np.sqrt(curvature + localization)
            layers[index] = U @ z @ V.swapaxes(-1, -2)
            if sweep >= sweeps // 4:
                share = np.broadcast_to(curvature / (curvature + localization), shapes[index])
                means.append(0.5 * share.sum(axis=(1, 2)).mean())
    return float(np.mean(means))
