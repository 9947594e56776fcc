"""Short runs at the probed checkpoints, and longer ones, each judged by the rules of `slt.calibration`.

Legend of shapes: K probed checkpoints, C chains, D draws.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np

from estimators.acceptance import EXAMPLES, LEAST_ACCEPTANCE, MAX_BIAS, Walkers
from estimators.group import Group, Weights, prepare
from estimators.llc import sample_group
from estimators.problem import Problem
from estimators.sampler import SamplerConfig
from slt import calibration as rules
from slt.calibration import Setting, Trial
from slt.calibration_length import Length, length
from slt.trajectory import Floats, VerdictKind

SCOUTS = 2
"""Chains per probe in the short runs."""
TARGET = 0.05
"""Wished standard error of the LLC, relative."""
PROPOSALS = 8
"""Of which a pilot's acceptance is the mean."""
PLACES = 3
LEAST_PILOT = 100


@dataclass(frozen=True)
class Pilot:
    """A longer run from w* with the job's own engine and chains.

    Attributes:
        trial: its setting, judged.
        trace_KD: as in `Calibration`.
        length: what it says of the run's.
        resolution: how well a run of that length tells the judged probes apart (`slt.calibration.told_apart`).
        walkers: chains that have settled with its setting.
    """

    trial: Trial
    trace_KD: Floats
    length: Length
    resolution: float
    walkers: Walkers


class Trials:
    """Runs at the probes, and what they have cost.

    Attributes:
        steps: (K,) training steps of the probes.
        judged: those past the first decade of steps, which count.
        chain_steps: the cost so far, in sampler steps of one chain on one batch.
        spare: whether one probe may be left out where the step is set (`slt.calibration.demanded`).
    """

    def __init__(
        self, problem: Problem, probes: Mapping[float, Weights], base: SamplerConfig, automatic: frozenset[str]
    ) -> None:
        self.problem, self.base, self.automatic = problem, base, automatic
        self.steps, self.weights = tuple(probes), list(probes.values())
        self.group = prepare(problem, self.weights, base)
        self.loss_K = self._losses(self.group)
        self.judged = [k for k, step in enumerate(self.steps) if step >= 10 * min(self.steps)] or [len(self.steps) - 1]
        self.chain_steps, self.spare = 0.0, len(self.steps) >= rules.ENOUGH_PROBES

    def scouts(self) -> Walkers:
        """Chains for short runs; whoever walks them adds what they cost."""
        return Walkers(self.group, replace(self.base, chains=SCOUTS), spare=self.spare)

    def stepped(self, walkers: Walkers, setting: Setting, *, rounds: int, steps: int) -> Setting:
        """The setting with the largest step that acceptance allows, each time the chains have walked with the last."""
        for _ in range(rounds if "step_size" in self.automatic else 0):
            setting = replace(setting, step_size=walkers.largest_step(setting))
            walkers.walk(setting, steps)
        return setting

    def short(self, walkers: Walkers, setting: Setting, draws: int) -> Trial:
        """A short run from where the walkers are."""
        excess_KCD = walkers.walk(setting, draws)
        acceptance = -rules.demanded(-walkers.acceptance(setting, 1), self.spare)
        bias_K = rules.relative_bias(walkers.step_bias_KC, setting.n_beta * excess_KCD.mean(axis=(1, 2)))
        return self._judge(setting, acceptance, excess_KCD, bias_K, short=True)

    def pilot(self, setting: Setting) -> Pilot:
        """A longer run after the step was refined on settled chains."""
        walkers = Walkers(self.group, self.base, spare=self.spare)
        found = self.longer(walkers, self._refined(walkers, setting))
        return self.pilot(setting) if self.spared_too_much(found.trial) else found

    def _refined(self, walkers: Walkers, setting: Setting) -> Setting:
        """The same on chains that have settled: the mean over several places, because acceptance differs with them."""
        setting = self.stepped(walkers, setting, rounds=1, steps=int(min(max(self.memory(setting), 40), 100)))
        if "step_size" not in self.automatic:
            return setting
        logs = []
        for _ in range(PLACES):
            borne = self.borne(walkers, setting)
            logs.append(math.log(borne))
            setting = replace(setting, step_size=borne)
            walkers.walk(setting, int(min(max(self.memory(setting) / 2, 20), 60)))
        return replace(setting, step_size=rules.rounded_down(math.exp(float(np.mean(logs[1:])))))

    def longer(self, walkers: Walkers, setting: Setting) -> Pilot:
        """The longer run itself; the walkers have settled with its setting and say what its step does."""
        acceptance = -rules.demanded(-walkers.acceptance(setting, PROPOSALS), self.spare)
        self.chain_steps += walkers.chain_steps
        walkers.chain_steps = 0.0
        memory, draws = self.memory(setting), self.pilot_draws(setting)
        traces = sample_group(self.problem, self.weights, replace(self.base, **asdict(setting), burn_in=0, draws=draws))
        excess_KCD = traces.excess_loss_KCD
        self.chain_steps += excess_KCD.size * self.base.steps_between_draws
        found = length(excess_KCD[self.judged], TARGET, self.base.chains, memory)
        settled = excess_KCD[:, :, min(found.settles_after, draws // 2) :]
        llc_K, step_bias_KC = setting.n_beta * settled.mean(axis=(1, 2)), traces.step_bias_KC
        bias_K = None if step_bias_KC is None else rules.relative_bias(step_bias_KC, llc_K)
        trial = self._judge(setting, acceptance, settled, bias_K, short=False)
        clear = [k for k in self.judged if trial.health[k] == "ok"]
        return Pilot(
            trial=trial,
            trace_KD=setting.n_beta * excess_KCD.mean(axis=1),
            length=found,
            resolution=rules.told_apart(settled[clear]) * math.sqrt(found.draws / settled.shape[2]),
            walkers=walkers,
        )

    def spared_too_much(self, trial: Trial) -> bool:
        """Whether a checkpoint cannot do with a step made for the others; then, and from then on, none is spared."""
        spared, self.spare = self.spare, self.spare and VerdictKind.DIVERGED.value not in trial.health
        return spared and not self.spare and "step_size" in self.automatic

    def borne(self, walkers: Walkers, setting: Setting) -> float:
        """The largest step for chains that have settled."""
        return walkers.largest_step(setting, acceptance=LEAST_ACCEPTANCE, bias=MAX_BIAS, precision=1.15)

    def good(self, pilot: Pilot) -> bool:
        """Whether a pilot leaves nothing to wish for."""
        return pilot.trial.healthy(self.judged) == len(self.judged) and pilot.length.enough

    def pilot_draws(self, setting: Setting) -> int:
        """Ten times what the slowest direction takes to forget, within bounds."""
        draws = int(min(max(10 * self.memory(setting), 200), 1000))
        if not {"draws", "burn_in"} & self.automatic:
            draws = min(draws, max(self.base.burn_in + self.base.draws, LEAST_PILOT))
        return draws

    def _judge(
        self, setting: Setting, acceptance: float, excess_KCD: Floats, bias_K: Floats | None, *, short: bool
    ) -> Trial:
        parameters = int(self.group.centers.shape[1])
        memory = self.memory(setting)
        return rules.trial(
            setting,
            acceptance,
            excess_KCD,
            self.loss_K,
            parameters=parameters,
            memory=memory,
            short=short,
            bias_K=bias_K,
        )

    def _losses(self, group: Group) -> Floats:
        """With the checkpoint's own outputs as reference there is no common level that chains could saturate at."""
        own = self.base.reference == "self"
        return np.full(len(group.loss), np.nan) if own else group.loss.cpu().numpy()

    def examples_per_batch(self) -> float:
        """What a proposal's potential costs over a step."""
        return min(EXAMPLES, self.group.n_samples) / (self.group.batch_size or self.group.n_samples)

    def memory(self, setting: Setting) -> float:
        """Draws in which a direction that only the localization holds forgets."""
        return 1 / max(setting.step_size * setting.localization * self.base.steps_between_draws, 1e-6)
