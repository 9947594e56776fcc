"""How large a step the posteriors around checkpoints bear: Metropolis acceptance, and what batches add to the noise.

Legend of shapes: K checkpoints, C chains, P moving parameters.
"""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor

from estimators.engines import choose
from estimators.engines.batched import batched_losses, plain_operations
from estimators.engines.batches import Batches, PairedBatch
from estimators.engines.memory import checkpoints_at_once
from estimators.group import Group
from estimators.kernels.sgld import SGLDConfig, SGLDState, step_bias
from estimators.sampler import SamplerConfig
from estimators.seeds import NoiseStream
from slt.calibration import Setting, demanded, least_llc
from slt.trajectory import Floats

EXAMPLES = 256
"""So many examples, drawn once, stand for the whole data where a potential is evaluated."""
ACCEPTANCE = 0.92
"""Of a good step: 0.9 to 0.95 is what good runs have; nearer to 1 chains are short for their step, and the LLC low."""
LEAST_ACCEPTANCE = 0.574
"""Where Langevin proposals are most efficient (Roberts and Rosenthal 1998); SGLD refuses none, and goes wrong above."""
MAX_BIAS = 0.025
"""What the finite step may add to the LLC, relative to it: half of the standard error that is wished for."""
MAX_BATCH_NOISE = 0.1
"""Variance that batches may add to the injected one: so much too hot are the directions in which batches differ."""
TINY = 1e-14


class Walkers:
    """Chains at each checkpoint of a group that walk as SGLD does, and say what a step would do where they are.

    Attributes:
        chain_steps: the cost so far, in sampler steps of one chain on one of the job's batches.
        spare: whether the largest step is that of all checkpoints but the most demanding (`slt.calibration.demanded`).
        step_bias_KC: (K, C) what the finite step added to the LLC in the second half of the last walk.
    """

    def __init__(self, group: Group, config: SamplerConfig, *, spare: bool = False) -> None:
        self._group, self._chains = group, config.chains
        self._subset = _subset(group, config.seed)
        self._batched = choose(group, config) == "batched"
        size = checkpoints_at_once(group, config.chains) if self._batched else 1
        count = len(group.centers)
        self._parts = [slice(k, min(k + size, count)) for k in range(0, count, size)]
        chains = range(config.chains)
        self._batches = [Batches(group, config.seed, part, chains) for part in self._parts]
        self._all = [Batches(self._subset, config.seed, part, chains).next() for part in self._parts]
        self._centers = group.centers.unsqueeze(1)
        width, like = self._centers.shape[-1], self._centers
        self._noise = NoiseStream(config.seed, chains, width, like.dtype, like.device)
        self._position, self._llc = self._start(), np.full(len(group.centers), math.nan)
        self.spare = spare
        self.chain_steps, self.step_bias_KC = 0.0, np.full((len(group.centers), config.chains), math.nan)

    def walk(self, setting: Setting, steps: int) -> Floats:
        """Walk on by SGLD, on the job's batches and with the job's noise; a chain that diverged starts again.

        Returns:
            (K, C, steps) paired differences L_B(w) - L_B(w*), as in `Traces`.
        """
        lost = ~torch.isfinite(self._position).all(dim=-1, keepdim=True)
        self._position = torch.where(lost, self._centers, self._position)
        sgld = SGLDConfig(setting.step_size, setting.n_beta, setting.localization)
        excess, added = [], torch.zeros(self._position.shape[:2], dtype=torch.float64, device=self._position.device)
        for step in range(steps):
            loss, gradient = self._loss_and_gradient(self._group, self._position, [b.next() for b in self._batches])
            if step >= steps // 2:
                added += step_bias(SGLDState(self._position, self._centers), gradient, sgld)
            slope = setting.n_beta * gradient + setting.localization * (self._position - self._centers)
            self._position = _proposal(self._position, slope, self._noise.next(), setting.step_size)
            excess.append(loss)
        walked = _numbers(torch.stack(excess, dim=-1))
        self._llc = setting.n_beta * walked[:, :, steps // 2 :].mean(axis=(1, 2))
        self.step_bias_KC = _numbers(added) / (steps - steps // 2)
        return walked

    def restart(self) -> None:
        """Put every chain back on its checkpoint."""
        self._position, self._llc = self._start(), np.full_like(self._llc, math.nan)

    def acceptance(self, setting: Setting, proposals: int) -> Floats:
        """(K,) mean probability with which Metropolis would accept SGLD's proposals, from where the chains are.

        Roberts and Tweedie (1996): a proposal w' of w is accepted with the smaller of 1 and
        `exp(U(w) - U(w')) q(w | w') / q(w' | w)`, U the potential `n_beta L_n(w) + gamma/2 |w - w*|^2` and q the
        density of the step. A proposal that is not finite is not accepted.
        """
        log_ratio, _ = self._propose(setting, self._potential(setting, self._position), proposals)
        return _numbers(log_ratio.clamp(max=0).exp().mean(dim=(1, 2)))

    def _bias(self, setting: Setting, curvature: Tensor) -> Floats:
        """(K,) what the finite step adds to the LLC, relative to that of the last walk, or to its median over probes if
        that is larger: one scale for all checkpoints.

        In a bowl the LLC is sum_i h_i / 2 (h_i + gamma) (1 - epsilon (h_i + gamma) / 4): to first order in the step
        epsilon sum_i h_i / 8 too large, with the h_i the curvatures of n_beta times the loss.
        """
        least = max(float(np.median(self._llc)), least_llc(self._centers.shape[-1]))
        with np.errstate(invalid="ignore"):  # of a chain that diverged
            bias: Floats = setting.step_size / 8 * _numbers(curvature.mean(dim=(1, 2))) / np.maximum(self._llc, least)
        return bias

    def _propose(self, setting: Setting, potential: tuple[Tensor, Tensor], proposals: int) -> tuple[Tensor, Tensor]:
        """Metropolis' log ratio, (K, C, proposals), and along the noise of each proposal the sum of the curvatures of
        n_beta times the loss (Hutchinson 1990). For a proposal that is not finite: minus infinity, and infinity."""
        epsilon, (here, slope) = setting.step_size, potential
        found, curvatures = [], []
        for _ in range(proposals):
            noise = self._noise.next()
            proposal = _proposal(self._position, slope, noise, epsilon)
            there, slope_there = self._potential(setting, proposal)
            back = (self._position - proposal + 0.5 * epsilon * slope_there).double().square().sum(dim=-1)
            log_ratio = here - there + 0.5 * (noise.double().square().sum(dim=-1) - back / epsilon)
            found.append(torch.nan_to_num(log_ratio, nan=-math.inf))
            steeper = slope_there - slope - setting.localization * (proposal - self._position)
            curvatures.append((noise * steeper).double().sum(dim=-1) / math.sqrt(epsilon))
        return torch.stack(found, dim=-1), torch.stack(curvatures, dim=-1).nan_to_num(nan=math.inf)

    def batch_noise(self, n_beta: float) -> Floats:
        """(K,) variance per unit step^2 / 4 that batches add to SGLD's noise, in the directions in which they differ.

        With D the difference of two independent batches' n_beta gradients over sqrt 2, of covariance S: the
        noise-weighted variance tr(S^2) / tr(S), from products of independent D. A step of size epsilon
        injects variance epsilon; batches add epsilon^2 / 4 times this.
        """
        if self._group.batch_size is None:
            return np.zeros(len(self._centers))
        gradients = [
            self._loss_and_gradient(self._group, self._position, [b.next() for b in self._batches])[1] for _ in range(4)
        ]
        first, second = (gradients[i] - gradients[i + 1] for i in (0, 2))
        overlap = (first * second).sum(dim=-1).double().square().mean(dim=1)
        size = 0.5 * (first.square().sum(dim=-1) + second.square().sum(dim=-1)).double().mean(dim=1)
        return _numbers(0.5 * n_beta**2 * overlap / size.clamp(min=torch.finfo(torch.float64).tiny))

    def largest_step(
        self,
        setting: Setting,
        *,
        acceptance: float = ACCEPTANCE,
        bias: float = math.inf,
        proposals: int = 4,
        precision: float = 1.2,
    ) -> float:
        """The largest step that the checkpoints bear (`slt.calibration.demanded`): accepted so often, adding so little
        to the LLC, batches little.

        Acceptance is read off the spread of the log ratio over proposals from one place, and not off its mean: chains
        that are still on their way outwards climb with every step, and in thousands of dimensions that alone has
        proposals refused. In equilibrium the log ratio is normal about minus half its variance v, and
        2 Phi(-sqrt(v) / 2) is accepted (Roberts and Rosenthal 1998). The spread grows like the cube of the step and the
        bias like the step, which leads to the answer in two or three tries; chains stay.
        """
        most = 4 * NormalDist().inv_cdf(acceptance / 2) ** 2
        low, high = 0.0, math.inf
        step, potential = setting.step_size, self._potential(setting, self._position)
        while TINY < step < 1 / TINY:
            tried = replace(setting, step_size=step)
            log_ratio, curvature = self._propose(tried, potential, proposals)
            spread = demanded(_numbers(log_ratio.var(dim=-1).mean(dim=1).nan_to_num(nan=math.inf)), self.spare)
            factor = (most / spread) ** (1 / 3) if spread > 0 else 10.0
            if bias < math.inf and (added := demanded(self._bias(tried, curvature), self.spare)) > 0:
                factor = min(factor, bias / added)
            factor = min(max(factor, 0.1), 10.0)
            low, high = (step, high) if factor >= 1 else (low, step)
            guess = step * factor
            close = max(factor, 1 / factor) < precision
            step = guess if low < guess < high else math.sqrt(low * high)
            if close or high < precision * low:
                break
        noise = demanded(self.batch_noise(setting.n_beta), self.spare)
        return min(step, 4 * MAX_BATCH_NOISE / noise if noise > 0 else math.inf)

    def _start(self) -> Tensor:
        return self._centers.repeat(1, self._chains, 1)

    def _potential(self, setting: Setting, position: Tensor) -> tuple[Tensor, Tensor]:
        loss, gradient = self._loss_and_gradient(self._subset, position, self._all)
        offset = position - self._centers
        pull = 0.5 * setting.localization * offset.double().square().sum(dim=-1)
        return setting.n_beta * loss.double() + pull, setting.n_beta * gradient + setting.localization * offset

    def _loss_and_gradient(self, group: Group, position: Tensor, batches: list[PairedBatch]) -> tuple[Tensor, Tensor]:
        """Mean loss (K, C) above the checkpoint's, and its gradient (K, C, P)."""
        work = batches[0].center_losses.shape[-1] / (self._group.batch_size or self._group.n_samples)
        self.chain_steps += work * position.shape[0] * position.shape[1]
        position = position.detach().requires_grad_()
        losses = [
            self._losses(group, part, position[part], batch) for part, batch in zip(self._parts, batches, strict=True)
        ]
        excess = torch.cat([each - batch.center_losses for each, batch in zip(losses, batches, strict=True)])
        mean = excess.mean(dim=-1)
        (gradient,) = torch.autograd.grad(mean.sum(), position)
        return mean.detach(), gradient

    def _losses(self, group: Group, part: slice, position: Tensor, batch: PairedBatch) -> Tensor:
        if self._batched:
            with plain_operations():
                return batched_losses(group, part)(position, batch.data, batch.references)
        per_chain = group.batch_size is not None
        rows = []
        for chain in range(self._chains):
            data = tuple(t[chain] for t in batch.data) if per_chain else batch.data
            references = tuple(t[0, chain] if per_chain else t[0] for t in batch.references)
            state = group.state_at(position[0, chain], part.start)
            rows.append(group.scored.at(state, data, references))
        return torch.stack(rows).unsqueeze(0)


def _proposal(position: Tensor, slope: Tensor, noise: Tensor, step_size: float) -> Tensor:
    return position - 0.5 * step_size * slope + math.sqrt(step_size) * noise


def _subset(group: Group, seed: int) -> Group:
    """The group on a fixed random part of its data, all of it in one batch."""
    if group.n_samples <= EXAMPLES:
        return replace(group, batch_size=None)
    rows = np.sort(np.random.default_rng(seed).choice(group.n_samples, EXAMPLES, replace=False))
    index = torch.from_numpy(rows).to(group.centers.device)
    return replace(
        group,
        data=tuple(tensor[index] for tensor in group.data),
        references=tuple(reference[:, index] for reference in group.references),
        center_losses=group.center_losses[:, index],
        batch_size=None,
    )


def _numbers(values: Tensor) -> Floats:
    result: Floats = values.double().cpu().numpy()
    return result
