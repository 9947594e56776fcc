"""Stochastic gradient Langevin dynamics, localised at the checkpoint."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from estimators.kernels.kernel import Draw, Kernel


@dataclass(frozen=True)
class SGLDConfig:
    """The three numbers of the update.

    Attributes:
        step_size: epsilon; the drift is epsilon / 2, the noise has variance epsilon.
        n_beta: n times the inverse temperature.
        localization: gamma, the precision of the Gaussian that holds the chain at the checkpoint.
    """

    step_size: float
    n_beta: float
    localization: float


class SGLDState(NamedTuple):
    """position: any shape (..., P), moved in place; center: w*, broadcastable to it."""

    position: Tensor
    center: Tensor


def init(position: Tensor, center: Tensor) -> SGLDState:
    """Start at `position`, held at `center`."""
    return SGLDState(position, center)


@torch.no_grad()
def update(
    state: SGLDState, loss: Tensor, gradient: Tensor, noise: Tensor, config: SGLDConfig
) -> tuple[SGLDState, Draw]:
    """One step, in place, along the gradient of the mean loss of a batch, with standard normal `noise`."""
    epsilon = config.step_size
    # -(epsilon/2) gamma (w - w*) is a linear interpolation towards w*; three passes over memory in all
    state.position.lerp_(state.center, 0.5 * epsilon * config.localization)
    state.position.add_(gradient, alpha=-0.5 * epsilon * config.n_beta)
    state.position.add_(noise, alpha=math.sqrt(epsilon))
    return state, Draw(state.position, loss)


@torch.no_grad()
def step_bias(state: SGLDState, gradient: Tensor, config: SGLDConfig) -> Tensor:
    """epsilon / 8 of n_beta grad L_B . grad U_B, U = n_beta L + gamma / 2 |w - w*|^2.

    For |w - w*|^2 to stay the same on average, E (w - w*) . grad U has to be d and epsilon / 4 E |grad U_B|^2. The
    second term is due to the step and to batches, and half of what it puts into the directions of the loss is LLC: in a
    bowl epsilon / 8 times the sum of the curvatures of n_beta L.
    """
    slope = config.n_beta * torch.linalg.vector_norm(gradient, dim=-1).double()
    pull = config.localization * torch.linalg.vecdot(gradient, state.position - state.center).double()
    result: Tensor = slope.square_().add_(pull, alpha=config.n_beta).mul_(config.step_size / 8)
    return result


def build(step_size: float, n_beta: float, localization: float) -> Kernel:
    """The kernel w <- w - (epsilon/2) [n_beta grad L_B(w) + gamma (w - w*)] + sqrt(epsilon) N(0, 1).

    Welling and Teh (2011) with the localisation of Lau et al. (2023), in devinterp's convention.
    """
    config = SGLDConfig(step_size, n_beta, localization)
    return Kernel(init, partial(update, config=config), step_bias=partial(step_bias, config=config))
