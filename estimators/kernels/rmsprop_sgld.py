"""Langevin dynamics with a step per parameter, from a running mean of squared gradients."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from estimators.kernels.kernel import Draw, Kernel


@dataclass(frozen=True)
class RMSpropSGLDConfig:
    """The numbers of the update.

    Attributes:
        step_size: epsilon; the drift is epsilon G / 2, the noise has variance epsilon G.
        n_beta: n times the inverse temperature.
        localization: gamma, the precision of the Gaussian that holds the chain at the checkpoint.
        decay: alpha, the share of the running mean that a step keeps.
        stability: added to the root of the mean square: G is at most its inverse.
    """

    step_size: float
    n_beta: float
    localization: float
    decay: float = 0.99
    stability: float = 0.1


class RMSpropSGLDState(NamedTuple):
    """position: (..., P), moved in place; center: w*; mean_square: (..., P) V, of the loss gradient alone."""

    position: Tensor
    center: Tensor
    mean_square: Tensor


def init(position: Tensor, center: Tensor) -> RMSpropSGLDState:
    """Start at `position`, held at `center`, with V = 0."""
    return RMSpropSGLDState(position, center, torch.zeros_like(position, requires_grad=False))


@torch.no_grad()
def update(
    state: RMSpropSGLDState, loss: Tensor, gradient: Tensor, noise: Tensor, config: RMSpropSGLDConfig
) -> tuple[RMSpropSGLDState, Draw]:
    """One step, in place; V is that of this step's gradient already."""
    state.mean_square.mul_(config.decay).addcmul_(gradient, gradient, value=1 - config.decay)
    preconditioner = state.mean_square.sqrt().add_(config.stability).reciprocal_()
    drift = (state.position - state.center).mul_(config.localization).add_(gradient, alpha=config.n_beta)
    state.position.addcmul_(preconditioner, drift, value=-0.5 * config.step_size)
    state.position.addcmul_(preconditioner.sqrt_(), noise, value=math.sqrt(config.step_size))
    return state, Draw(state.position, loss)


def build(step_size: float, n_beta: float, localization: float) -> Kernel:
    """The kernel w <- w - (epsilon/2) G [n_beta grad L_B(w) + gamma (w - w*)] + sqrt(epsilon G) N(0, 1).

    V <- alpha V + (1 - alpha) (grad L_B)^2 and G = 1 / (stability + sqrt V), for each parameter. Li et al.
    (2016), without the term for the change of G with w, which is small for alpha near 1; alpha, stability
    and the place of n_beta outside V as in devinterp.
    """
    return Kernel(init, partial(update, config=RMSpropSGLDConfig(step_size, n_beta, localization)))
