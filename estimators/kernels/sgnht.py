"""Stochastic gradient Nosé-Hoover thermostat: momentum, whose friction adapts to the noise of the gradient."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from estimators.kernels.kernel import Draw, Kernel


@dataclass(frozen=True)
class SGNHTConfig:
    """The numbers of the update.

    Attributes:
        step_size: epsilon, the mean square of a parameter's move in one step.
        n_beta: n times the inverse temperature.
        localization: gamma, the precision of the Gaussian that holds the chain at the checkpoint.
        diffusion: A; the momentum is forgotten in about 1/A steps, and variances are A/2 too large, at any epsilon.
    """

    step_size: float
    n_beta: float
    localization: float
    diffusion: float = 0.01


class SGNHTState(NamedTuple):
    """position, momentum: (..., P), moved in place; center: w*; thermostat: (..., 1), the friction xi per step."""

    position: Tensor
    center: Tensor
    momentum: Tensor
    thermostat: Tensor


def init(position: Tensor, center: Tensor, config: SGNHTConfig) -> SGNHTState:
    """Start at rest at `position`, held at `center`: the noise warms the momentum in about 1/A steps."""
    momentum = torch.zeros_like(position, requires_grad=False)
    return SGNHTState(position, center, momentum, momentum.new_full((*momentum.shape[:-1], 1), config.diffusion))


@torch.no_grad()
def update(
    state: SGNHTState, loss: Tensor, gradient: Tensor, noise: Tensor, config: SGNHTConfig
) -> tuple[SGNHTState, Draw]:
    """One step, in place; the thermostat holds the mean square of the momentum at epsilon."""
    epsilon, position, momentum = config.step_size, state.position, state.momentum
    momentum.add_(gradient, alpha=-epsilon * config.n_beta)
    momentum.add_(position - state.center, alpha=-epsilon * config.localization)
    momentum.sub_(state.thermostat * momentum)
    momentum.add_(noise, alpha=math.sqrt(2 * config.diffusion * epsilon))
    position.add_(momentum)
    state.thermostat.add_(momentum.square().mean(dim=-1, keepdim=True) - epsilon)
    return state, Draw(position, loss)


def build(step_size: float, n_beta: float, localization: float) -> Kernel:
    """The kernel v <- v - epsilon grad U - xi v + sqrt(2 A epsilon) N(0, 1), w <- w + v, xi <- xi + v.v/P - epsilon.

    grad U = n_beta grad L_B(w) + gamma (w - w*). Ding et al. (2014), in the form that devinterp's `SGNHT` has, which
    knows no gamma. (The `SGMCMC.sgnht` of devinterp 2.0.1 never moves its momentum: it is SGLD with the noise
    scaled by sqrt(2 A), that is at a temperature of 2 A.)
    """
    config = SGNHTConfig(step_size, n_beta, localization)
    return Kernel(partial(init, config=config), partial(update, config=config))
