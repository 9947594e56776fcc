"""The posterior that is known: a correlated Gaussian, off the checkpoint, and the test that every kernel passes."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from estimators.kernels import Kernel

CHAINS = 20_000
N_BETA, LOCALIZATION = 20.0, 2.0
MINIMUM = torch.tensor([1.0, -0.5, 0.0], dtype=torch.float64)
HESSIAN = torch.tensor([[0.5, 0.1, 0.0], [0.1, 0.3, -0.1], [0.0, -0.1, 0.2]], dtype=torch.float64)
"""The posterior's precision has the eigenvalues 12.8, 8.5, 4.7: n_beta times those of the Hessian, and gamma."""

PRECISION = N_BETA * HESSIAN + LOCALIZATION * torch.eye(3, dtype=torch.float64)
COVARIANCE = torch.linalg.inv(PRECISION)
MEAN = COVARIANCE @ (N_BETA * HESSIAN @ MINIMUM)
"""The center w* is 0, which is not the minimum."""

Build = Callable[[float, float, float], Kernel]


def final_draws(build: Build, step_size: float, steps: int, chains: int = CHAINS) -> Tensor:
    """(chains, 3) where independent chains stand after so many steps from the center."""
    generator = torch.Generator().manual_seed(0)
    kernel = build(step_size, N_BETA, LOCALIZATION)
    state = kernel.init(torch.zeros(chains, 3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))
    for _ in range(steps):
        offset = state.position - MINIMUM
        gradient = offset @ HESSIAN
        noise = torch.randn(chains, 3 + kernel.extra_noise, generator=generator, dtype=torch.float64)
        state, draw = kernel.update(state, 0.5 * (offset * gradient).sum(dim=-1), gradient, noise)
    return draw.position


def assert_samples_the_gaussian(build: Build, step_size: float, steps: int, bias: float = 0.0) -> None:
    """Mean and covariance of independent draws are those of the posterior.

    Args:
        build: (step_size, n_beta, localization) -> kernel.
        step_size: with which it is held to the answer.
        steps: after which a chain has forgotten where it started.
        bias: share of the variances by which the kernel is known to be off at this step.
    """
    draws = final_draws(build, step_size, steps)
    variance = COVARIANCE.diagonal()
    # four standard errors of a mean over independent draws
    assert ((draws.mean(dim=0) - MEAN).abs() < 4 * (variance / CHAINS).sqrt()).all()
    # four standard errors of a covariance of Gaussian draws, (s_ii s_jj + s_ij^2) / C, and what the kernel is known for
    scale = variance.outer(variance)
    tolerance = 4 * ((scale + COVARIANCE.square()) / CHAINS).sqrt() + bias * scale.sqrt()
    assert ((draws.T.cov() - COVARIANCE).abs() < tolerance).all()


def excess_variance(build: Build, step_size: float, steps: int) -> float:
    """Share by which the draws' variance, summed over precision-weighted directions, exceeds the posterior's.

    Its standard error is sqrt(2 / (3 CHAINS)) = 0.006.
    """
    offset = final_draws(build, step_size, steps) - MEAN
    return float((offset @ PRECISION * offset).sum(dim=-1).mean()) / 3 - 1


def relaxation(step_size: float) -> int:
    """Steps after which a Langevin chain has forgotten its start to exp(-8)."""
    return math.ceil(8 * 2 / (step_size * float(torch.linalg.eigvalsh(PRECISION)[0])))
