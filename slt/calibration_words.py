"""What a calibration chose and why, or why it could not, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from slt.calibration import ONE_PARAMETER, ONLY_GAMMA, TOO_SLOW, Setting, Trial, demanded
from slt.calibration_length import Length
from slt.diagnostics import MAX_STEP_BIAS
from slt.trajectory import VerdictKind

SHARE_OF_RUN = 0.25
"""What calibration may cost, over its run."""
_BELOW, _SATURATED = VerdictKind.BELOW_CHECKPOINT.value, VerdictKind.SATURATED.value


def sentences(
    pilot: Trial,
    trials: Sequence[Trial],
    length: Length,
    steps: Sequence[float],
    judged: Sequence[int],
    *,
    reference: str,
    target: float,
    left_out: int,
    cost: float,
    tried: Setting,
    resolutions: tuple[float, float],
) -> list[str]:
    """Why this setting, how sure, and, where a probe is not healthy, what would help.

    Args:
        pilot, trials, length: what was found, the trials with the best first.
        steps: of the probes.
        judged: which of the probes count.
        reference: as sampled.
        target: wished standard error over LLC.
        left_out: pairs that were hopeless before they were tried.
        cost: of calibration over that of the run.
        tried: the pair of the table that was chosen; the pilot's localization may be half of its.
        resolutions: the LLC's range over the probes in standard errors, in the run and with the pair of the table.
    """
    setting = pilot.setting
    healthy = [each for each in trials if each.healthy(judged) == len(judged)]
    result = [
        f"Tried {len(trials)} pairs of n_beta and localization at {len(steps)} checkpoints: {len(healthy)} healthy at "
        f"every one past the first decade of steps."
        + (f" {left_out} more would have left little but localization of the LLC." if left_out else ""),
        f"n_beta {tried.n_beta:g} and localization {tried.localization:g}: {_why(tried, trials)}",
        *([_looser(setting, *resolutions)] if setting.localization < tried.localization else []),
        _step(pilot, steps),
        f"Burn-in {length.burn_in}: the slowest probe settles after {length.settles_after} draws. "
        f"Draws {length.draws}: one in {length.correlation_time:.0f} is independent, which leaves a standard error of "
        f"{length.relative_error:.1%} of the LLC or less.",
    ]
    if length.relative_error > target:
        result.append(
            f"That is above the wished {target:.0%}; more chains would bring it there"
            f"{'' if length.enough else ', because draws or burn-in are at the limit of what is reasonable'}."
        )
    elif not length.enough:
        result.append("The chains are slow: draws or burn-in are at the limit of what is reasonable.")
    if cost > SHARE_OF_RUN:
        result.append(
            f"Calibration cost {cost:.0%} of the run that it prepares: the run is short, and {len(trials)} pairs at "
            f"{len(steps)} checkpoints cost the same before any. Give n_beta or localization as a number to try fewer."
        )
    if pilot.healthy(judged) < len(judged):
        return result + _help(pilot, trials, steps, judged, reference)
    return result + [
        f"At step {steps[k]:g} the pilot's chains disagree; the verdict on that checkpoint may say so too."
        for k in judged
        if pilot.health[k] == VerdictKind.CHAINS_DISAGREE.value
    ]


def _step(pilot: Trial, steps: Sequence[float]) -> str:
    size, accepted = pilot.setting.step_size, f"Metropolis would accept {pilot.acceptance:.0%} of its proposals"
    bias = np.array(pilot.bias)
    if not np.isfinite(bias).any():
        return f"Step size {size:g}: at the most demanding checkpoint {accepted}."
    worst = int(np.nanargmax(bias))
    if bias[worst] <= MAX_STEP_BIAS:
        return f"Step size {size:g}: at the most demanding checkpoint it adds {bias[worst]:.1%} to the LLC; {accepted}."
    return (
        f"Step size {size:g}: it adds {demanded(bias, spare=True):.1%} to the LLC at most, and {accepted}; but at step "
        f"{steps[worst]:g} it adds {bias[worst]:.0%}, and the verdict on that checkpoint will say so."
    )


def _looser(setting: Setting, here: float, there: float) -> str:
    return (
        f"Localization {setting.localization:g} is used, half of that: the run tells checkpoints apart as well (the "
        f"LLC's range is {here:.0f} standard errors of a difference, and was {there:.0f}), and chains that are held "
        f"less see more of the model."
    )


def _why(tried: Setting, trials: Sequence[Trial]) -> str:
    pair = tried.n_beta, tried.localization
    chosen = next(each for each in trials if (each.setting.n_beta, each.setting.localization) == pair)
    if not chosen.score > 0:
        return "nothing was better; no probe was healthy."
    what = "the LLC" if len(chosen.llc) == 1 else "the LLC's range over the checkpoints"
    return (
        f"{what} is {chosen.resolution:.0f} standard errors of a short run, and "
        f"{chosen.localized_share:.0%} of its size is due to localization."
    )


def _help(
    pilot: Trial, trials: Sequence[Trial], steps: Sequence[float], judged: Sequence[int], reference: str
) -> list[str]:
    bad = [k for k in judged if pilot.health[k] != "ok"]
    listed = ", ".join(f"step {steps[k]:g} ({pilot.health[k]})" for k in bad)
    nothing = not any(each.healthy(judged) == len(judged) for each in trials)
    head = (
        "No setting is healthy at every checkpoint" if nothing else "The pilot run is not healthy at every checkpoint"
    )
    result = [f"{head}; with the chosen one: {listed}."]
    met = Counter(each.health[k] for each in trials for k in bad)
    below = [k for k in bad if pilot.health[k] == _BELOW]
    if (below or met[_BELOW] > len(trials) * len(bad) / 2) and reference == "labels":
        early = (
            f", or leave out the checkpoints up to step {steps[max(below)]:g}"
            if below and max(below) < judged[-1]
            else ""
        )
        result.append(
            f"Chains find lower losses than the checkpoints', which are not at minima of the loss: use `reference: "
            f"self`, which measures against the checkpoint's own outputs{early}."
        )
    here = {pilot.health[k] for k in bad}
    if _SATURATED in here:
        result.append(
            "Chains forget the checkpoint: a stronger localization, or `reference: self`, keeps them near it."
        )
    if VerdictKind.DIVERGED.value in here:
        result.append("Chains diverge: a smaller step size, or dtype: float64.")
    if VerdictKind.CHAINS_DISAGREE.value in here:
        result.append(
            "Chains settle at different levels: more chains average over them, a stronger localization holds them."
        )
    if TOO_SLOW in here:
        result.append("Chains need too many draws to settle: a stronger localization shortens their way.")
    if ONLY_GAMMA in here:
        result.append(f"An LLC under {ONE_PARAMETER} is less than one parameter's: a weaker localization sees more.")
    return result
