"""What the chains say of their own estimate: R-hat, effective draws, drift, saturation, and the verdict in a sentence.

Thresholds, with their sources; `tests/slt/test_diagnostics.py` measures their false alarms on chains that are
stationary but slow. Legend of shapes: K checkpoints, C chains, D draws (burn-in excluded).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from slt.trajectory import Estimate, Floats, Verdict, VerdictKind

MAX_RHAT = 1.1
"""Gelman et al., BDA3, 11.5. The 1.01 of Vehtari et al. (2021) is passed by every chain of a few hundred draws."""
MIN_ESS_PER_CHAIN = 10.0
"""Gelman et al., BDA3, 11.5: five per half chain."""
MIXED_ESS_PER_CHAIN = 30.0
"""A chain with as many draws has mixed where it is; that such chains differ is then not for want of draws. Chains with
fewer that differ cannot be told from chains that are slow, and are called that."""
MAX_DRIFT_Z = 3.0
"""Standard errors between the first and the last third of the draws (the comparison of Geweke, 1992)."""
MAX_DRIFT = 0.1
"""A smaller drift, relative to the LLC, is less than what a choice of n_beta or step size does to it."""
MAX_STEP_BIAS = 0.1
"""The same for what the finite step adds to the LLC."""
MAX_GROWTH = 100.0
"""Diffusion from a minimum without burn-in grows by at most 19 between the first and last third (loss ~ draws^2)."""
BELOW_Z = 2.0
"""Standard errors below zero from which a negative LLC counts as negative."""
SATURATION_WINDOWS = (7, 15)
"""Neighbouring checkpoints looked at together. On the published regression curve they flag 87 % of the checkpoints
between steps 100 and 60,000, where the LLC is an affine function of the loss, and none after."""
MAX_UNSATURATED = 0.1
"""Range of the sampled loss over that of the checkpoints' loss, below which the chains do not see the checkpoint."""
_MAY_BE_THE_STEP = (
    VerdictKind.OK,
    VerdictKind.CHAINS_DISAGREE,
    VerdictKind.DRIFTING,
    VerdictKind.STEP_TOO_SMALL,
)


def diagnose(excess_loss_CD: Floats, n_beta: float) -> tuple[float, float, Verdict]:
    """(R-hat, effective draws of all chains together, verdict) of one estimate.

    R-hat is rank-normalised and split, effective draws are those of the mean (Vehtari et al. 2021, both
    by arviz-stats). Both are NaN where a loss is not finite, with fewer than 4 draws, or (R-hat) with one chain.
    Several judgements may hold; the one named first in this order is returned: diverged, below the
    checkpoint's loss, (saturated and step too large: `compared`), chains disagree, still drifting, step too small, ok.

    Args:
        excess_loss_CD: (C, D) paired differences L_B(w) - L_B(w*), burn-in excluded, nats per sample.
        n_beta: inverse temperature times sample size.
    """
    finite = np.atleast_1d(np.isfinite(excess_loss_CD).all(axis=1))
    if not finite.all():
        return np.nan, np.nan, _diverged(finite)
    rhat, ess = _rhat(excess_loss_CD), effective_draws(excess_loss_CD)
    llc = n_beta * float(excess_loss_CD.mean())
    std_error = n_beta * standard_error(excess_loss_CD)
    if llc < -BELOW_Z * std_error:
        sentence = (
            f"The chains found a lower loss than the checkpoint's (LLC {llc:.3g} ± {std_error:.2g}): it is not a local "
            f"minimum, and this is no learning coefficient. Use reference: self, or raise localization."
        )
        return rhat, ess, Verdict(VerdictKind.BELOW_CHECKPOINT, llc, sentence)
    verdict = _disagreement(excess_loss_CD, n_beta, rhat) or _drift(excess_loss_CD) or _slowness(excess_loss_CD, rhat)
    return rhat, ess, verdict or _ok(llc, std_error, rhat, ess)


def standard_error(excess_loss_CD: Floats) -> float:
    """Of the mean over chains and draws: from the spread of the chains' means; NaN if a value is not finite.

    With one chain it comes from that chain's effective draws.
    """
    chains, draws = excess_loss_CD.shape
    if not np.isfinite(excess_loss_CD).all():
        return float("nan")
    if chains > 1:
        return float(excess_loss_CD.mean(axis=1).std(ddof=1) / np.sqrt(chains))
    return _autocorrelated_error(excess_loss_CD) if draws > 1 else float("nan")


def compared(estimates: Sequence[Estimate], n_beta: float, reference: str) -> list[Estimate]:
    """The estimates with the verdicts that need all of them, "saturated" and "step too large", where they hold.

    Args:
        estimates: of a sequence of checkpoints, in order.
        n_beta: that they were drawn with.
        reference: "labels", or "self", with which there is no common level that chains could be saturated at.
    """
    return with_large_steps(with_saturation(estimates, n_beta) if reference == "labels" else estimates)


def with_large_steps(estimates: Sequence[Estimate]) -> list[Estimate]:
    """The estimates, with the verdict "step too large" where that is a tenth of the LLC or more.

    An LLC below the median of all counts as the median: a curve has one scale. Chains that diverged, are below their
    checkpoint or saturated have their verdict already; of others it may be the reason.
    """
    llc = np.abs([estimate.llc for estimate in estimates])
    usual = float(np.median(llc[np.isfinite(llc)])) if np.isfinite(llc).any() else np.nan
    result = []
    for estimate in estimates:
        share = estimate.step_bias / max(abs(estimate.llc), usual, np.finfo(float).tiny)
        if share > MAX_STEP_BIAS and estimate.verdict.kind in _MAY_BE_THE_STEP:
            sentence = (
                f"About {estimate.step_bias:.3g} of an LLC of {estimate.llc:.3g} is due to the finite step: the "
                f"steepest directions are shaken more than the posterior shakes them. Lower step_size, or take larger "
                f"batches."
            )
            estimate = replace(estimate, verdict=Verdict(VerdictKind.STEP_TOO_LARGE, share, sentence))
        result.append(estimate)
    return result


def with_saturation(estimates: Sequence[Estimate], n_beta: float) -> list[Estimate]:
    """The estimates, with the verdict "saturated" where the sampled loss no longer depends on the checkpoint.

    The mean sampled loss is `loss + llc / n_beta`. Where it stays while the checkpoint's loss moves, the
    chains have forgotten where they started, and the LLC is an affine function of the training loss.
    Looked for in windows of neighbouring checkpoints; windows hold at least 7, so that a shorter sequence is
    never called saturated.
    """
    if n_beta == 0:  # the LLC is zero then, and tells nothing of the sampled loss
        return list(estimates)
    usable = [k for k, estimate in enumerate(estimates) if np.isfinite(estimate.llc) and np.isfinite(estimate.loss)]
    loss = np.array([estimates[k].loss for k in usable])
    sampled_loss = loss + np.array([estimates[k].llc for k in usable]) / n_beta
    result = list(estimates)
    for k, (ratio, first, last) in _saturated_windows(loss, sampled_loss).items():
        if estimates[usable[k]].verdict.kind is VerdictKind.BELOW_CHECKPOINT:
            continue
        sentence = (
            f"Between steps {estimates[usable[first]].step:g} and {estimates[usable[last]].step:g} the checkpoint's "
            f"loss moves by {np.ptp(loss[first : last + 1]):.2g} but the sampled loss by only "
            f"{ratio:.0%} of that: the chains forget the checkpoint, and the LLC only restates the loss. "
            f"Raise localization or n_beta, or lower step_size."
        )
        verdict = Verdict(VerdictKind.SATURATED, ratio, sentence)
        result[usable[k]] = replace(estimates[usable[k]], verdict=verdict)
    return result


def _saturated_windows(loss: Floats, sampled_loss: Floats) -> dict[int, tuple[float, int, int]]:
    """Each index that lies in a saturated window: (ratio of ranges, first, last index) of the clearest such window."""
    clearest: dict[int, tuple[float, int, int]] = {}
    for width in SATURATION_WINDOWS:
        for first in range(len(loss) - width + 1):
            window = slice(first, first + width)
            loss_range = np.ptp(loss[window])
            if loss_range == 0 or np.ptp(sampled_loss[window]) >= MAX_UNSATURATED * loss_range:
                continue
            found = (float(np.ptp(sampled_loss[window]) / loss_range), first, first + width - 1)
            for k in range(first, first + width):
                clearest[k] = min(found, clearest.get(k, found))
    return clearest


def _diverged(finite: NDArray[np.bool_]) -> Verdict:
    lost = int((~finite).sum())
    sentence = (
        f"{lost} of {len(finite)} chains met a loss that is not finite, so there is no estimate. "
        f"Lower step_size, or n_beta and localization."
    )
    return Verdict(VerdictKind.DIVERGED, float(lost), sentence)


def _disagreement(excess_loss_CD: Floats, n_beta: float, rhat: float) -> Verdict | None:
    if not rhat > MAX_RHAT or _ess_per_chain(excess_loss_CD) < MIXED_ESS_PER_CHAIN:
        return None
    llc_C = n_beta * excess_loss_CD.mean(axis=1)
    sentence = (
        f"The chains disagree (R-hat {rhat:.2f}, should be below {MAX_RHAT}): their LLCs run from {llc_C.min():.3g} to "
        f"{llc_C.max():.3g}. Raise localization if one has left the basin, or draw more."
    )
    return Verdict(VerdictKind.CHAINS_DISAGREE, rhat, sentence)


def _drift(excess_loss_CD: Floats) -> Verdict | None:
    third = excess_loss_CD.shape[1] // 3
    if third < 4 or min(np.ptp(excess_loss_CD[:, :third]), np.ptp(excess_loss_CD[:, -third:])) == 0:
        return None
    early, late = excess_loss_CD[:, :third], excess_loss_CD[:, -third:]
    early_error, late_error = _autocorrelated_error(early), _autocorrelated_error(late)
    growth = float(late.mean() / (abs(early.mean()) + early_error))
    if growth > MAX_GROWTH:
        sentence = (
            f"The excess loss grew {growth:.3g}-fold between the first and the last third of the draws: the chains run "
            f"away. Lower step_size, or raise localization."
        )
        return Verdict(VerdictKind.DIVERGED, growth, sentence)
    change = float(late.mean() - early.mean())
    z = change / float(np.hypot(early_error, late_error))
    relative = abs(change) / max(abs(float(excess_loss_CD.mean())), np.finfo(float).tiny)
    if not (abs(z) > MAX_DRIFT_Z and relative > MAX_DRIFT):
        return None
    sentence = (
        f"The last third of the draws lies {relative:.0%} of the LLC {'above' if change > 0 else 'below'} the "
        f"first third ({abs(z):.1f} standard errors): the chains have not settled. Lengthen burn_in."
    )
    return Verdict(VerdictKind.DRIFTING, z, sentence)


def _slowness(excess_loss_CD: Floats, rhat: float) -> Verdict | None:
    draws = excess_loss_CD.shape[1]
    if draws < 4:
        return Verdict(VerdictKind.STEP_TOO_SMALL, float(draws), f"{draws} draws are too few to judge. Draw more.")
    if np.ptp(excess_loss_CD, axis=1).max() == 0:
        sentence = (
            "The loss never changed: the chains do not move. Raise step_size; under kernel mala, which refuses steps "
            "that are too large, it may be that you must lower it."
        )
        return Verdict(VerdictKind.STEP_TOO_SMALL, 0.0, sentence)
    ess = _ess_per_chain(excess_loss_CD)
    if ess >= MIN_ESS_PER_CHAIN and not rhat > MAX_RHAT:
        return None
    beside = f" (R-hat {rhat:.2f})" if np.isfinite(rhat) else ""
    sentence = (
        f"The {draws} draws of a chain are worth {ess:.0f} independent ones{beside}: the chains are still travelling. "
        f"Raise step_size, or draw more."
    )
    return Verdict(VerdictKind.STEP_TOO_SMALL, ess, sentence)


def _ok(llc: float, std_error: float, rhat: float, ess: float) -> Verdict:
    agree = f"the chains agree (R-hat {rhat:.2f}) on" if np.isfinite(rhat) else "a single chain, with"
    sentence = f"LLC {llc:.3g} ± {std_error:.2g}: {agree} {ess:.0f} effective draws."
    if llc < 0:
        sentence += " It is negative, but not distinguishable from zero."
    return Verdict(VerdictKind.OK, rhat if np.isfinite(rhat) else ess, sentence)


def _autocorrelated_error(excess_loss_CD: Floats) -> float:
    ess = effective_draws(excess_loss_CD)
    return float(excess_loss_CD.std(ddof=1) / np.sqrt(ess)) if ess > 0 else float("nan")


def _ess_per_chain(excess_loss_CD: Floats) -> float:
    return float(np.median([effective_draws(chain[None]) for chain in excess_loss_CD]))


def effective_draws(excess_loss_CD: Floats) -> float:
    """Of the mean over all chains (Vehtari et al. 2021); NaN with fewer than 4 draws or a value that is not finite."""
    from arviz_stats.base import array_stats  # half a second to import, and not needed to read a trajectory

    with np.errstate(all="ignore"):
        return float(array_stats.ess(excess_loss_CD, chain_axis=0, draw_axis=1, method="mean"))


def _rhat(excess_loss_CD: Floats) -> float:
    from arviz_stats.base import array_stats

    if len(excess_loss_CD) == 1:
        return float("nan")
    with np.errstate(all="ignore"):
        return float(array_stats.rhat(excess_loss_CD, chain_axis=0, draw_axis=1))
