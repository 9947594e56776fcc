"""How long to sample: burn-in and draws, from a pilot run that began at w*.

Legend of shapes: K probed checkpoints, C chains, D draws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from slt.diagnostics import MIN_ESS_PER_CHAIN, effective_draws
from slt.trajectory import Floats

ESS_PER_CHAIN = 2 * MIN_ESS_PER_CHAIN
"""Wished for; R-hat of as many draws is below its limit in 95 % of runs."""
SETTLED = 0.05
DRAWS_BOUNDS = (300, 3000)
BURN_IN_BOUNDS = (50, 1500)


@dataclass(frozen=True)
class Length:
    """How long to sample.

    Attributes:
        settles_after: draws until the slowest probe's mean stays within 5 % of where it ends.
        correlation_time: draws per independent one, at the slowest probe.
        relative_error: expected standard error over LLC, at the probe where it is largest.
        enough: whether draws and burn_in are as wished, and not cut by their bounds.
    """

    burn_in: int
    draws: int
    settles_after: int
    correlation_time: float
    relative_error: float
    enough: bool

    @property
    def whole(self) -> int:
        """Burn-in and draws."""
        return self.burn_in + self.draws


def length(excess_loss_KCD: Floats, target: float, chains: int, longest_memory: float) -> Length:
    """Burn-in and draws for a relative standard error of `target`, from a pilot run that began at w*.

    Args:
        excess_loss_KCD: the pilot, with its burn-in.
        target: standard error of the mean over chains, relative to the LLC.
        chains: of the run that is prepared.
        longest_memory: 1 / (step_size * localization), draws in which the slowest direction that nothing but the
            localization holds forgets: what a short pilot cannot see is not trusted to be faster.
    """
    total = excess_loss_KCD.shape[2]
    finite = [each for each in excess_loss_KCD if np.isfinite(each).all()]
    settles = max((_settles_after(each.mean(axis=0)) for each in finite), default=total)
    if settles > total // 2:  # not seen to settle: the slowest mode's 95 %
        settles = max(settles, math.ceil(3 * longest_memory))
    times, wanted, spreads = [1.0], [float(DRAWS_BOUNDS[0])], [0.0]
    for excess_loss_CD in finite:
        kept = excess_loss_CD[:, min(settles, total // 2) :]
        time = max(1.0, kept.size / max(effective_draws(kept), 1.0))
        spread = float(kept.std() / max(abs(kept.mean()), np.finfo(float).tiny))
        times.append(time)
        spreads.append(spread * math.sqrt(time / chains))
        wanted += [ESS_PER_CHAIN * time, (spreads[-1] / target) ** 2 if kept.mean() > 0 else 0.0]
    draws, burn_in = math.ceil(max(wanted)), math.ceil(1.5 * settles)
    kept_draws, kept_burn_in = _bounded(draws, DRAWS_BOUNDS), _bounded(burn_in, BURN_IN_BOUNDS)
    return Length(
        burn_in=kept_burn_in,
        draws=kept_draws,
        settles_after=settles,
        correlation_time=max(times),
        relative_error=max(spreads) / math.sqrt(kept_draws),
        enough=draws <= DRAWS_BOUNDS[1] and burn_in <= BURN_IN_BOUNDS[1],
    )


def _settles_after(trace_D: Floats) -> int:
    """The first of 20 blocks from which on the mean of the rest is within 5 % of that of the last half."""
    blocks = np.array([block.mean() for block in np.array_split(trace_D, 20)])
    final = blocks[10:].mean()
    noise = blocks[10:].std(ddof=1)
    off = np.abs(blocks - final) > SETTLED * abs(final) + 2 * noise
    last_off = int(np.flatnonzero(off)[-1]) + 1 if off.any() else 0
    return math.ceil(last_off * len(trace_D) / 20)


def _bounded(value: int, bounds: tuple[int, int]) -> int:
    """Within the bounds, rounded up to tens."""
    return int(min(max(math.ceil(value / 10) * 10, bounds[0]), bounds[1]))
