"""Choosing one set of sampler settings for a whole sequence of checkpoints: the rules, without the sampling.

Legend of shapes: K probed checkpoints, C chains, D draws.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from slt.diagnostics import MAX_STEP_BIAS, MAX_UNSATURATED, diagnose, effective_draws
from slt.learning_coefficient import default_n_beta
from slt.trajectory import Floats, VerdictKind

LOWEST_N_BETA = 2.0
"""The lowest that is reported as working (the published grokking example)."""
N_BETA_STEP = 6.0
MOST_N_BETAS = 6
LOCALIZATIONS = (1.0, 10.0, 100.0, 1000.0)
"""The decades in which published values lie."""
CENTRAL = (10.0, 100.0)
"""Tried where a short run leaves no room for all of them."""
ONE_PARAMETER = 0.5
"""The learning coefficient of a regular model with one parameter: an LLC below it has lost the model."""
MOVED = 0.05
"""Share of the losses' range by which neighbouring probes must differ before they can show saturation."""
LEAST_SHARE_OF_MODEL = 0.02
ENOUGH_RESOLUTION = 45.0
"""Standard errors of a short run, about 80 of the run itself: a stage of a tenth of such a curve's range is eight of
them, the least that the detector takes for a change (`slt.curve_draws.SURE_CHANGE`)."""
ENOUGH_IN_RUN = 80.0
"""The same for the run itself."""
AS_WELL = 0.75
"""Share of the resolution that half the localization may cost."""
ENOUGH_PROBES = 5
"""So many that one may be left out."""
SLOWEST_TO_COMPARE = 2.0
"""Memories over draws of a short run whose LLC may be compared with a tighter one's."""
LONGEST_MEMORY = 150.0
"""Draws in which a direction that only the localization holds may forget, if short runs do not settle."""
UNSETTLED = 0.2
"""Change of the mean between the halves of a short run that is still under way."""
TOO_SLOW = "too slow"
ONLY_GAMMA = "only gamma"
_SLOW = (VerdictKind.STEP_TOO_SMALL, VerdictKind.DRIFTING)
_WANTS_MORE = (*_SLOW, VerdictKind.CHAINS_DISAGREE)
"""What two chains of a short run cannot decide."""
_NO_ARGUMENT = (VerdictKind.STEP_TOO_LARGE.value, VerdictKind.CHAINS_DISAGREE.value)
"""At a single probe: the step is not made for it (`demanded`), and R-hat of a pilot is not that of the run."""


@dataclass(frozen=True)
class Setting:
    """The three numbers of the posterior and its sampler that calibration chooses; units as in `SamplerConfig`."""

    step_size: float
    n_beta: float
    localization: float


@dataclass(frozen=True)
class Trial:
    """What a short run with one setting showed at the probed checkpoints.

    Attributes:
        acceptance: Metropolis acceptance of the step, at the most demanding checkpoint that sets it (`demanded`).
        llc, std_error: (K,) of the short run; NaN where a chain diverged.
        health: K words: "ok", or what is wrong; a short run's slowness counts as ok.
        slowness: how many times the run would have to be as long for its slowest direction to forget; at least 1.
        localized_share: of the LLC's size, -d log LLC / d log localization: 1 where it only measures gamma.
        resolution: range of the LLC over the probes in standard errors, which are larger where chains are slow.
        score: resolution, as far as it counts, times the share that is not gamma's; 0 if no probe is healthy.
        bias: (K,) what the finite step adds to the LLC, relative to it or to the probes' median if that is larger; NaN
            where it is not known.
    """

    setting: Setting
    acceptance: float
    llc: tuple[float, ...]
    std_error: tuple[float, ...]
    health: tuple[str, ...]
    slowness: float = 1.0
    localized_share: float = math.nan
    resolution: float = math.nan
    score: float = 0.0
    bias: tuple[float, ...] = ()

    def healthy(self, probes: Sequence[int]) -> int:
        """How many of these probes are; of enough of them, one that only a few words speak against is no argument."""
        words = [self.health[k] for k in probes]
        spared = len(self.health) >= ENOUGH_PROBES and any(word in _NO_ARGUMENT for word in words)
        return words.count("ok") + spared


def candidates(
    n_samples: int, n_beta: float | None, localization: float | None, most: float = math.inf
) -> list[tuple[float, float]]:
    """(n_beta, localization) to try, from cold to hot and from tight to loose; a number that is given stays.

    n_beta runs in equal ratios from n / log n to a low temperature's 2, localization over decades.

    Args:
        n_samples: size of the data set.
        n_beta, localization: given numbers, or None.
        most: pairs that can be afforded; with fewer the grid is coarser, down to the ends of n_beta with two decades.
    """
    highest = default_n_beta(n_samples) if n_beta is None else n_beta
    lowest = min(LOWEST_N_BETA, highest)
    count = min(MOST_N_BETAS, 1 + math.ceil(math.log(highest / lowest) / math.log(N_BETA_STEP) - 1e-9))
    localizations = sorted(LOCALIZATIONS, reverse=True) if localization is None else [localization]
    if len(localizations) * 2 > most:
        localizations = [gamma for gamma in localizations if gamma in CENTRAL] or localizations
    count = min(count, max(2, int(min(most / len(localizations), MOST_N_BETAS))))
    n_betas = [highest] if n_beta is not None else list(np.geomspace(highest, lowest, max(count, 1)))
    return [(_rounded(each), gamma) for each in n_betas for gamma in localizations]


def hopeless(pair: tuple[float, float], trials: Sequence[Trial], judged: Sequence[int]) -> bool:
    """Whether little but localization would be left of (n_beta, localization), by what was left of tighter ones.

    In a bowl the LLC depends on their ratio alone, and grows with it.
    """
    n_beta, localization = pair
    return any(
        n_beta / localization <= each.setting.n_beta / each.setting.localization
        and 2 * sum(each.health[k] == ONLY_GAMMA for k in judged) >= len(judged)
        for each in trials
    )


def better_than_failed(one: Trial, failed: Trial, judged: Sequence[int]) -> bool:
    """Whether a pair may do what another one's longer run could not: be faster if it was slow, else be tighter."""
    here, there = one.setting, failed.setting
    words = {failed.health[k] for k in judged} - {"ok"}
    if words <= {TOO_SLOW}:
        return here.step_size * here.localization > 2 * there.step_size * there.localization
    return here.n_beta / here.localization < there.n_beta / there.localization


def trial(
    setting: Setting,
    acceptance: float,
    excess_loss_KCD: Floats,
    loss_K: Floats,
    *,
    parameters: int,
    memory: float,
    short: bool,
    bias_K: Floats | None = None,
) -> Trial:
    """Judge a short run or a pilot, the burn-in left out.

    Args:
        setting: as sampled.
        acceptance: of its step.
        excess_loss_KCD: paired differences of the losses.
        loss_K: L_n(w*), or NaN with `reference: self`, which cannot saturate at a common level.
        parameters: how many move; few of them may have a small LLC.
        memory: 1 / (step_size * localization) in draws.
        short: whether chains that disagree may only be slow.
        bias_K: as in `Trial`, if known.
    """
    bias = (math.nan,) * len(excess_loss_KCD) if bias_K is None else tuple(float(each) for each in bias_K)
    n_beta = setting.n_beta
    llc, error, words = [], [], []
    for excess_loss_CD in excess_loss_KCD:
        _, ess, verdict = diagnose(excess_loss_CD, n_beta)
        llc.append(float(n_beta * excess_loss_CD.mean()))
        error.append(float(n_beta * excess_loss_CD.std() / math.sqrt(max(ess, 1.0))) if ess == ess else math.nan)
        kind = VerdictKind.OK if verdict.kind in (_WANTS_MORE if short else _SLOW) else verdict.kind
        if kind is VerdictKind.OK and llc[-1] + 2 * error[-1] < least_llc(parameters):
            words.append(ONLY_GAMMA)
        elif kind is VerdictKind.OK and memory > LONGEST_MEMORY and _unsettled(excess_loss_CD):
            words.append(TOO_SLOW)
        else:
            words.append(kind.value)
    for k in _saturated(loss_K, loss_K + np.array(llc) / n_beta, np.array(error) / n_beta):
        words[k] = VerdictKind.SATURATED.value if words[k] == "ok" else words[k]
    for k, share in enumerate(bias):
        words[k] = VerdictKind.STEP_TOO_LARGE.value if words[k] == "ok" and share > MAX_STEP_BIAS else words[k]
    slowness = max(1.0, memory / excess_loss_KCD.shape[2])
    return Trial(setting, acceptance, tuple(llc), tuple(error), tuple(words), slowness, bias=bias)


def demanded(values_K: Floats, spare: bool) -> float:
    """The largest of the probes' demands; of five or more, if one is to be spared, the largest but one.

    One checkpoint in a spike of the loss would otherwise set the step of all, at a hundredth of what the others bear.
    At such a checkpoint the run's verdict says that the step is too large.
    """
    return float(np.sort(values_K)[-2 if spare and len(values_K) >= ENOUGH_PROBES else -1])


def relative_bias(step_bias_KC: Floats, llc_K: Floats) -> Floats:
    """(K,) what the finite step adds to the LLC, relative to it or to the median if that is larger; of 0, infinite."""
    usual = float(np.median(llc_K[np.isfinite(llc_K)])) if np.isfinite(llc_K).any() else math.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        share: Floats = step_bias_KC.mean(axis=1) / np.maximum(llc_K, usual)
    return share


def told_apart(excess_loss_KCD: Floats) -> float:
    """Range of the LLC over the probes in standard errors of the difference of two neighbours.

    Batches and noise are the same at every checkpoint, and what they do to two of them alike does not blur a curve; the
    standard error of each alone, of which `Trial.resolution` is made, is the larger the less the chains are held. NaN
    for a single probe.
    """
    if len(excess_loss_KCD) < 2:
        return math.nan
    differences = np.diff(excess_loss_KCD, axis=0)
    errors = [each.std() / math.sqrt(max(effective_draws(each), 1.0)) for each in differences]
    return float(np.ptp(excess_loss_KCD.mean(axis=(1, 2))) / max(np.median(errors), np.finfo(float).tiny))


def tells_apart_as_well(resolution: float, other: float) -> bool:
    """Whether a run with this resolution shows what one with the other does; more than enough counts as enough."""
    return resolution >= AS_WELL * min(other, ENOUGH_IN_RUN)


def least_llc(parameters: int) -> float:
    """An LLC below it has lost a model of so many moving parameters; few of them may have a small one."""
    return min(ONE_PARAMETER, parameters / 20)


def _unsettled(excess_loss_CD: Floats) -> bool:
    first, second = (half.mean() for half in np.array_split(excess_loss_CD, 2, axis=1))
    return bool(abs(second - first) > UNSETTLED * abs(second))


def _saturated(loss_K: Floats, sampled_loss_K: Floats, error_K: Floats) -> set[int]:
    """Probes between which the loss moves and the sampled loss does not."""
    found: set[int] = set()
    moved, followed = np.abs(np.diff(loss_K)), np.abs(np.diff(sampled_loss_K))
    for k in range(len(moved)):
        clear = moved[k] > max(MOVED * np.ptp(loss_K), 4 * (error_K[k] + error_K[k + 1]) / MAX_UNSATURATED / 4)
        if clear and followed[k] < MAX_UNSATURATED * moved[k]:
            found |= {k, k + 1}
    return found


def ranked(trials: Sequence[Trial], judged: Sequence[int]) -> list[Trial]:
    """Best first: by how many of the judged probes are healthy, then by score."""
    scored = [_scored(each, trials) for each in trials]
    return sorted(scored, key=lambda each: (-each.healthy(judged), -each.score))


def _scored(one: Trial, trials: Sequence[Trial]) -> Trial:
    share = _localized_share(one, trials)
    error = np.nanmedian(one.std_error) if np.isfinite(one.std_error).any() else math.nan
    values = [llc for llc, word in zip(one.llc, one.health, strict=True) if word == "ok"]
    if not values or not error > 0:
        return replace(one, localized_share=share)
    # a single checkpoint is told from no other, but from nothing; and a direction that has not forgotten where it began
    # was met once, however many draws there are
    told_apart = max(values) - min(values) if len(one.llc) > 1 else abs(values[0])
    resolution = told_apart / (float(error) * math.sqrt(one.slowness))
    return replace(
        one,
        localized_share=share,
        resolution=resolution,
        score=min(resolution, ENOUGH_RESOLUTION) * max(1 - share, LEAST_SHARE_OF_MODEL),
    )


def _localized_share(one: Trial, trials: Sequence[Trial]) -> float:
    """-d log LLC / d log localization, against the next weaker one that settled, else the next stronger; median of
    probes.

    Chains that have not settled have not yet found what a weaker localization leaves to them.
    """
    gamma = one.setting.localization
    others = [
        each for each in trials if each.setting.n_beta == one.setting.n_beta and each.setting.localization != gamma
    ]
    settled = [each for each in others if each.slowness <= SLOWEST_TO_COMPARE]
    nearest = sorted(
        settled or others, key=lambda each: (each.setting.localization > gamma, abs(each.setting.localization - gamma))
    )
    for other in nearest:
        here, there = np.array(one.llc), np.array(other.llc)
        both = (here > 0) & (there > 0)
        if both.any():
            decades = math.log(gamma / other.setting.localization)
            return float(np.clip(-np.median(np.log(here[both] / there[both])) / decades, 0, 1))
    return 0.0


def _rounded(value: float) -> float:
    """Three digits: what is chosen is written in a job file."""
    return float(f"{value:.3g}")


def rounded_down(value: float) -> float:
    """Two digits, not above the value: a step that was measured is not made larger for looking nice."""
    scale = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.floor(value / scale + 1e-9) * scale:.2g}")


def plain(rows: Iterable[Trial]) -> list[dict[str, Any]]:
    """Rows of the table of what was tried."""
    return [asdict(row.setting) | {k: v for k, v in asdict(row).items() if k != "setting"} for row in rows]
