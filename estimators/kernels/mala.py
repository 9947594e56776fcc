"""Metropolis-adjusted Langevin algorithm: exact at any step size, on the full batch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from estimators.kernels.kernel import Draw, Kernel


@dataclass(frozen=True)
class MALAConfig:
    """The numbers of the update.

    Attributes:
        step_size: epsilon; a proposal drifts by epsilon / 2 and has noise of variance epsilon.
        n_beta: n times the inverse temperature.
        localization: gamma, the precision of the Gaussian that holds the chain at the checkpoint.
    """

    step_size: float
    n_beta: float
    localization: float


class MALAState(NamedTuple):
    """position: (..., P) the proposal, overwritten in place; center: w*; the others are of where the chain stands.

    Until the first evaluation the potential U is infinite, so that `position` as it was given is accepted.
    """

    position: Tensor
    center: Tensor
    current: Tensor
    force: Tensor
    potential: Tensor
    loss: Tensor


def init(position: Tensor, center: Tensor) -> MALAState:
    """Start at `position`, held at `center`."""
    current = position.detach().clone()
    loss = current.new_full(current.shape[:-1], math.nan)
    unknown = torch.full_like(loss, math.inf, dtype=torch.float64)
    return MALAState(position, center, current, torch.zeros_like(current), unknown, loss)


@torch.no_grad()
def update(
    state: MALAState, loss: Tensor, gradient: Tensor, noise: Tensor, config: MALAConfig
) -> tuple[MALAState, Draw]:
    """Accept or refuse the proposal, then propose anew; the last of the noise decides on the former."""
    epsilon, proposal = config.step_size, state.position.detach()
    noise, log_uniform = noise[..., :-1], torch.special.log_ndtr(noise[..., -1])
    from_center = proposal - state.center
    potential = config.n_beta * loss.double() + 0.5 * config.localization * _total(from_center.square())
    force = config.n_beta * gradient + config.localization * from_center
    # log pi(w') q(w | w') - log pi(w) q(w' | w): what the trapezoidal rule along the move misses, and a rest
    work = 0.5 * _total((proposal - state.current) * (state.force + force))
    rest = epsilon / 8 * _total(state.force.square() - force.square())
    log_ratio = state.potential - potential + work + rest
    # false where the ratio is not a number: where the loss is none, the posterior is taken to vanish
    accepted = log_uniform < log_ratio
    probability = log_ratio.clamp(max=0).exp().nan_to_num(nan=0.0)
    probability = torch.where(state.potential == math.inf, math.nan, probability).to(loss.dtype)
    there = accepted.unsqueeze(-1)
    current = torch.where(there, proposal, state.current)
    force = torch.where(there, force, state.force)
    potential = torch.where(accepted, potential, state.potential)
    loss = torch.where(accepted, loss, state.loss)
    state.position.copy_(current).add_(force, alpha=-0.5 * epsilon).add_(noise, alpha=math.sqrt(epsilon))
    return MALAState(state.position, state.center, current, force, potential, loss), Draw(current, loss, probability)


def _total(terms: Tensor) -> Tensor:
    """Over the parameters, in float64: what decides is a small difference of sums over all of them."""
    return terms.sum(dim=-1, dtype=torch.float64)


def build(step_size: float, n_beta: float, localization: float) -> Kernel:
    """The kernel of Roberts and Tweedie (1996) for exp(-U), U(w) = n_beta L_n(w) + gamma/2 |w - w*|^2.

    w' = w - (epsilon/2) grad U(w) + sqrt(epsilon) N(0, 1), accepted with probability
    min(1, exp{U(w) - U(w') + (w' - w).(grad U(w) + grad U(w'))/2 + (epsilon/8) (|grad U(w)|^2 - |grad U(w')|^2)}).
    """
    return Kernel(init, partial(update, config=MALAConfig(step_size, n_beta, localization)), extra_noise=1)
