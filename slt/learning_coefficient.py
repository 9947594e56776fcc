"""From paired loss traces to learning coefficients: `lambda-hat = n_beta (E[L(w)] - L(w*))`.

Legend of shapes: K checkpoints, C chains, D draws, B burn-in draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from slt.diagnostics import compared, diagnose, standard_error
from slt.errors import JobError
from slt.intervals import student_factor
from slt.trajectory import Estimate, Floats, Verdict, VerdictKind

OVERFLOW = 1e150
"""An LLC of a draw beyond this has no finite square in float64: the chain has diverged."""


def default_n_beta(n_samples: int) -> float:
    """n / log n, the inverse temperature of WBIC (Watanabe 2013); n is the size of the data set, never of a batch.

    Raises:
        JobError: fewer than two samples.
    """
    if n_samples < 2:
        raise JobError(f"n_beta = n/log n needs at least 2 samples, the data has {n_samples}; set sampler.n_beta")
    return n_samples / math.log(n_samples)


def wbic(n_samples: int, loss: float, llc: float) -> float:
    """Free energy in nats, `n L_n(w*) + lambda log n` (Watanabe 2013), from the mean loss per sample and the LLC."""
    return n_samples * loss + llc * math.log(n_samples)


def heat_capacity(excess_loss_CD: ArrayLike, n_beta: float) -> float:
    """`n_beta^2 Var[L(w)]` over all draws of all chains, dimensionless; NaN where a loss is not finite.

    On the full batch it is `n_beta^2 d^2 log Z / d n_beta^2`, which is lambda where `log Z = -lambda log n_beta`: a
    second reading of the LLC from the same draws, noisier, and free of L(w*). On minibatches the spread of
    `L_B(w) - L_B(w*)` over batches adds to it.
    """
    excess = np.asarray(excess_loss_CD, dtype=float)
    return n_beta**2 * float(excess.var()) if np.isfinite(excess).all() else math.nan


def interval(estimate: Estimate, level: float = 0.9) -> tuple[float, float]:
    """A confidence interval for the LLC: Student's t with C - 1 degrees of freedom times the standard error.

    A standard error over C = 4 chains is itself uncertain by 40 %: 1.645 of them cover in 80 % of runs, not in 90 %.
    A single chain's standard error comes from its effective draws, and the normal quantile is taken.
    What it covers is the mean that endless chains with these settings have; both ends are NaN without an estimate.

    Args:
        estimate: with its standard error and chains.
        level: probability with which the interval covers.

    Raises:
        JobError: a level that is not strictly between 0 and 1.
    """
    half = estimate.llc_std_error * student_factor(len(estimate.llc_chains), level)
    return estimate.llc - half, estimate.llc + half


def estimates_from_traces(
    steps: Sequence[float],
    excess_loss_KCD: ArrayLike,
    loss_K: ArrayLike,
    n_beta: float,
    *,
    burn_in: int,
    reference: str = "labels",
    n_samples: int | None = None,
    distance_KC: ArrayLike | None = None,
    acceptance_KC: ArrayLike | None = None,
    step_bias_KC: ArrayLike | None = None,
    compare: bool = True,
) -> list[Estimate]:
    """The estimate at each checkpoint, with its standard error and verdict; nothing is clipped or dropped.

    A chain with a value that is not finite (or too large to be squared), be it in the burn-in, has no LLC (NaN), and
    neither has its checkpoint: the mean over the chains that survived would be biased.

    Args:
        steps: K training steps.
        excess_loss_KCD: (K, C, B + D) paired differences L_B(w) - L_B(w*), nats per sample, burn-in first.
        loss_K: (K,) loss of each checkpoint over the whole data, nats per sample.
        n_beta: inverse temperature times sample size, the one that the chains were drawn with.
        burn_in: B, draws left out of the mean.
        reference: "labels" if `loss_K` is the loss that was sampled; "self" if that was the distance from the
            checkpoint's own outputs, which has no common level that chains could be saturated at.
        n_samples: size of the data set, for WBIC.
        distance_KC: (K, C) root mean square distance of each chain's draws from w*.
        acceptance_KC: (K, C) of each chain's proposals, for kernels that refuse some.
        step_bias_KC: (K, C) what the finite step added to each chain's LLC, for kernels that do not correct for it.
        compare: whether to give the verdicts that an estimate gets beside the others (`slt.diagnostics.compared`).

    Raises:
        JobError: no draw is left after the burn-in, or the shapes do not fit together.
    """
    excess = np.asarray(excess_loss_KCD, dtype=float)
    loss = np.asarray(loss_K, dtype=float)
    if excess.ndim != 3 or len(excess) != len(steps) or loss.shape != (len(steps),):
        raise JobError(f"traces of shape {excess.shape} and losses of shape {loss.shape} do not fit {len(steps)} steps")
    if not 0 <= burn_in < excess.shape[2]:
        raise JobError(f"burn_in {burn_in} leaves none of {excess.shape[2]} draws; raise sampler.draws")
    with np.errstate(over="ignore", invalid="ignore"):
        survived = (np.abs(max(n_beta, 1.0) * excess) < OVERFLOW).all(axis=2, keepdims=True)
    kept = np.where(survived, excess[:, :, burn_in:], np.nan)
    distance = _over_chains(distance_KC, len(steps), lambda each: np.sqrt((each**2).mean(axis=1)))
    acceptance, step_bias = (
        _over_chains(each, len(steps), lambda values: values.mean(axis=1)) for each in (acceptance_KC, step_bias_KC)
    )
    estimates = [
        replace(
            _estimate(float(step), kept[k], float(loss[k]), n_beta, n_samples),
            distance=float(distance[k]),
            acceptance=float(acceptance[k]),
            step_bias=float(step_bias[k]) if np.isfinite(step_bias[k]) else math.nan,
        )
        for k, step in enumerate(steps)
    ]
    return compared(estimates, n_beta, reference) if compare else estimates


def _over_chains(values_KC: ArrayLike | None, count: int, mean: Callable[[Floats], Floats]) -> Floats:
    return np.full(count, np.nan) if values_KC is None else mean(np.asarray(values_KC, dtype=float))


def _estimate(step: float, excess_loss_CD: Floats, loss: float, n_beta: float, n_samples: int | None) -> Estimate:
    rhat, ess, verdict = diagnose(excess_loss_CD, n_beta)
    if verdict.kind is VerdictKind.DIVERGED and not np.isfinite(loss):
        sentence = (
            f"The checkpoint's own loss is not finite ({loss}), so there is nothing to compare with. Leave it out."
        )
        verdict = Verdict(VerdictKind.DIVERGED, loss, sentence)
    llc_chains = n_beta * excess_loss_CD.mean(axis=1)
    return Estimate(
        step=step,
        llc=float(llc_chains.mean()),
        llc_std_error=n_beta * standard_error(excess_loss_CD),
        llc_chains=llc_chains,
        loss=loss,
        rhat=rhat,
        ess=ess,
        verdict=verdict,
        excess_loss=excess_loss_CD,
        wbic=math.nan if n_samples is None else wbic(n_samples, loss, float(llc_chains.mean())),
        heat_capacity=heat_capacity(excess_loss_CD, n_beta),
        share_below=float((excess_loss_CD < 0).mean()) if np.isfinite(excess_loss_CD).all() else math.nan,
    )
