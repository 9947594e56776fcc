"""The marks to reach, and whether they are reached: the rows of the bench's first table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isnan, nan

from benchmarks.stages.figures import SURE, Figure, Scores
from benchmarks.stages.online import MARK, Online
from benchmarks.stages.others import EventTest
from benchmarks.stages.plan import REPLICATES, Plan
from benchmarks.stages.scores import TOLERANCE

Form = Callable[[float], str]


def plain(value: float) -> str:
    return f"{value:.2f}"


def fine(value: float) -> str:
    return f"{value:.3f}"


def percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def seconds(value: float) -> str:
    return f"{value:.3f} s"


def whole(value: float) -> str:
    return f"{value:.0f}"


@dataclass(frozen=True)
class Row:
    """What was measured, within which bounds it must be, and within which it should be."""

    what: str
    figure: Figure
    form: Form
    least: float = nan
    most: float = nan
    aim: float = nan

    @property
    def ours(self) -> str:
        if isnan(self.figure.value):
            return "not measured"
        error = "" if isnan(self.figure.error) else f" ± {self.form(self.figure.error)}"
        return self.form(self.figure.value) + error

    @property
    def must(self) -> str:
        if isnan(self.least):
            return "" if isnan(self.most) else f"at most {self.form(self.most)}"
        if isnan(self.most):
            return f"at least {self.form(self.least)}"
        return f"{self.form(self.least)} to {self.form(self.most)}"

    @property
    def aimed(self) -> str:
        return "" if isnan(self.aim) else self.form(self.aim)

    @property
    def reached(self) -> bool | None:
        """None where there is no mark or no figure. The mark is held to the value itself, its error aside."""
        if isnan(self.figure.value) or not self.must:
            return None
        return not (self.figure.value < self.least or self.figure.value > self.most)

    @property
    def verdict(self) -> str:
        if self.reached is None:
            return ""
        if isnan(self.aim) or not self.reached:
            return "reached" if self.reached else "**missed**"
        better = self.figure.value >= self.aim if isnan(self.most) else self.figure.value <= self.aim
        return "reached, the aim too" if better else "reached"


def rows(
    ours: Scores, peers: Sequence[Scores], events: EventTest, times: dict[str, float], online: Online
) -> list[Row]:
    """Everything that has a mark."""
    plan = ours.plan
    return [
        *_published(ours, plan),
        *_synthetic(ours, plan),
        *_agreement(ours, plan),
        *(
            Row(f"one curve of {name}, one core", Figure(taken), seconds, most=2.0 if "1,000,000" in name else 0.15)
            for name, taken in times.items()
        ),
        Row(f"event test, size at 5 %, both lists late ({events.runs} runs)", events.size, percent, most=0.05),
        Row(f"event test, power for 4 or 5 matched events ({events.runs} runs)", events.power, plain, least=0.85),
        *_online(online),
        *_against(ours, peers, plan),
    ]


def _online(online: Online) -> list[Row]:
    runs = f"online, {len(online.runs)} runs"
    return [
        Row(f"{runs}: settled boundaries that the whole curve has not", Figure(online.taken_back), whole, most=0),
        Row(f"{runs}: settled boundaries missing at a later checkpoint", Figure(online.missing), whole, most=0),
        Row(
            f"{runs}: median delay after the next burst's onset, decades", Figure(online.after_onset), plain, most=MARK
        ),
        Row(f"{runs}: median delay after the boundary itself, decades", Figure(online.after_boundary), plain),
    ]


def _published(ours: Scores, plan: Plan) -> list[Row]:
    others = Row("other published curves, not given here, F1", Figure(nan), plain, least=0.90, aim=0.95)
    if not plan.published:
        return [Row("published seed 1, F1", Figure(nan), plain, least=1.0), others]
    right = {
        change: min(ours.published(s).right for s in plan.published if s.change == change)
        for change in ("half chains", "thinned")
    }
    return [
        Row("published seed 1, F1", Figure(ours.published(plan.published[0]).f1), plain, least=1.0),
        Row("published, half of the chains: found, worst draw", Figure(right["half chains"]), whole, least=4),
        Row("published, every second checkpoint: found, worse half", Figure(right["thinned"]), whole, least=3),
        others,
    ]


def _synthetic(ours: Scores, plan: Plan) -> list[Row]:
    clear = [s for s in plan.smooth if s.sampling.noise <= 0.01 and s.sampling.points >= 100]
    sure = ours.calibration(plan.smooth, (SURE, 1.0))[0]
    return [
        Row("smooth steps, noise up to 1 %, n from 100, F1", ours.f1(clear), fine, least=0.95),
        Row("all smooth cells, F1", ours.f1(plan.smooth), fine, least=0.85, aim=0.90),
        Row("staircase onsets, ramps, F1", ours.f1(plan.ramps), fine, least=0.90),
        Row("staircase onsets, jumps, F1", ours.f1(plan.jumps), fine, least=0.95),
        Row("nulls with a boundary, white noise", ours.false_alarms(plan.white), percent, most=0.07, aim=0.05),
        Row("nulls with a boundary, AR(1) 0.5 noise", ours.false_alarms(plan.correlated), percent),
        Row(
            f"same, with {REPLICATES} chains to tell noise from signal",
            ours.false_alarms(plan.replicated),
            percent,
            most=0.15,
        ),
        Row("90 % intervals cover, boundaries", ours.coverage(plan.smooth, "boundary"), percent, least=0.85, most=0.95),
        Row("90 % intervals cover, onsets", ours.coverage(plan.smooth, "onset"), percent, least=0.85, most=0.95),
        Row(
            f"boundaries given {SURE:g} and more: observed less stated share",
            Figure(sure.observed - sure.stated),
            plain,
            least=-0.10,
            most=0.10,
        ),
    ]


def _agreement(ours: Scores, plan: Plan) -> list[Row]:
    names = {
        "half chains": ("half of the chains", 0.95, nan),
        "thinned": ("every second checkpoint", 0.70, 0.85),
        "noisier": ("twice the noise", 0.70, 0.85),
    }
    made = [
        Row(f"agreement with itself, {name}, smooth steps", ours.agreement(plan.repeated, change), fine, least, aim=aim)
        for change, (name, least, aim) in names.items()
    ]
    if not plan.published:
        return made
    draws = plan.size.published
    return made + [
        Row(
            f"agreement with itself, {name}, published",
            ours.agreement(plan.published[:1], change, draws),
            fine,
            least,
            aim=aim,
        )
        for change, (name, least, aim) in names.items()
    ]


def _against(ours: Scores, peers: Sequence[Scores], plan: Plan) -> list[Row]:
    answers = [*plan.smooth, *plan.ramps, *plan.jumps]
    best = max(peers, key=lambda peer: peer.f1(answers).value)
    lead = ours.f1(answers).value - best.f1(answers).value
    compared = [
        Row(f"F1, smooth, ramps and jumps: ahead of {best.chosen.method.name} by", Figure(lead), fine, least=0.0)
    ]
    for name, specs in plan.noise.items():
        noise = plan.for_peers(specs)
        best = min(peers, key=lambda peer: peer.false_alarms(noise).value)
        lead = best.false_alarms(noise).value - ours.false_alarms(noise).value
        what = f"false alarms, nulls, {name}: fewer than {best.chosen.method.name} by"
        compared.append(Row(what, Figure(lead), percent, least=0.0))
    return compared


TOLERANCE_SENTENCE = (
    f"A found landmark is right if it is within {TOLERANCE:.2f} decades of a true one (a factor {10**TOLERANCE:.2f} in "
    "steps), one to one."
)
