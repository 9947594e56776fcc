"""One set of sampler settings for a whole sequence of checkpoints, from short runs at a handful of them.

The rules are in `slt.calibration`; here the chains are walked. Nothing looks at a clock: the same
checkpoints, problem and seed give the same settings. Legend of shapes: K probed checkpoints, C chains, D draws.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from estimators.group import Weights
from estimators.problem import Problem, n_samples
from estimators.progress import Progress, silent
from estimators.sampler import SamplerConfig
from estimators.trials import PROPOSALS, SCOUTS, TARGET, Pilot, Trials
from slt import calibration as rules
from slt import calibration_words as words
from slt.calibration import Setting, Trial
from slt.calibration_length import Length
from slt.calibration_words import SHARE_OF_RUN
from slt.errors import JobError
from slt.trajectory import Floats

AUTOMATIC = ("step_size", "n_beta", "localization", "draws", "burn_in")
"""The settings that calibration can choose."""
LANGEVIN = ("sgld", "mala")
"""Kernels whose proposals are those that the acceptance is measured of."""
PROBES = 6
PILOTS = 3
LEAST_SCOUTING = 60
"""Draws of a short run."""
STEPPING = 1.45
"""What a short run costs over its draws, walking while its step is found included."""
TRYING = 0.3
"""The same for the steps that are tried in it, which are tried on `EXAMPLES` examples and not on a batch."""
LONGER = 1.5
"""So many times as long a run may half the localization ask for."""
PILOT = 660
"""What a pilot run costs, and another with half its localization, in sampler steps of each of its chains."""
SEARCH = 24
"""What finding the step costs from close by, in evaluations of the potential."""
LEAST_RUN = 350
"""Draws, with burn-in, that a run will have at least when calibration chooses them."""


@dataclass(frozen=True)
class Calibration:
    """What was tried, what was chosen, and why.

    Attributes:
        config: the chosen settings, complete.
        steps: (K,) training steps of the probed checkpoints.
        trials: the table of short runs, best first.
        pilot: the trial of the longer run with the chosen setting; its localization may be half of a pair's.
        pilot_trace_KD: (K, D) mean over chains of n_beta * excess loss in the pilot.
        length: how burn-in and draws were found.
        sentences: what was chosen and why; or why nothing is healthy, and what would help.
        healthy: whether the pilot was, at every probe past the first decade of steps.
        chain_steps: what calibration cost, in sampler steps of one chain on one batch.
        run_chain_steps: what the run that it prepares costs.
    """

    config: SamplerConfig
    steps: tuple[float, ...]
    trials: tuple[Trial, ...]
    pilot: Trial
    pilot_trace_KD: Floats
    length: Length
    sentences: tuple[str, ...]
    healthy: bool
    chain_steps: float
    run_chain_steps: float

    @property
    def cost_ratio(self) -> float:
        """Of calibration to the run."""
        return self.chain_steps / self.run_chain_steps


def probe_positions(steps: Sequence[float]) -> list[int]:
    """Indices of at most 6 checkpoints, evenly spread in log step over the whole sequence; step 0 is left out."""
    usable = [index for index, step in enumerate(steps) if step > 0] or list(range(len(steps)))
    logs = np.log([max(steps[index], 1e-9) for index in usable])
    goals = np.linspace(logs[0], logs[-1], PROBES)
    return sorted({usable[int(np.abs(logs - goal).argmin())] for goal in goals})


def calibrate(
    problem: Problem,
    probes: Mapping[float, Weights],
    base: SamplerConfig,
    automatic: Collection[str],
    *,
    checkpoints: int,
    progress: Progress = silent,
) -> Calibration:
    """Choose the automatic settings of `base`, the same for all checkpoints.

    Args:
        problem: what the checkpoints are measured against.
        probes: step -> weights of checkpoints spread over the sequence (`probe_positions`).
        base: the settings that stay; the values of automatic ones are not read.
        automatic: names out of `AUTOMATIC`.
        checkpoints: of the whole run, which sets what calibration may cost.
        progress: told of short runs done.

    Raises:
        JobError: a step size cannot be found for this kernel.
        ProblemError, CheckpointMismatch, NonFiniteWeights: as in `sample_group`.
    """
    if "step_size" in automatic and base.kernel not in LANGEVIN:
        raise JobError(
            f"step_size: auto is found from the acceptance of Langevin proposals, which kernel '{base.kernel}' does "
            f"not make; write a number, or use kernel {' or '.join(LANGEVIN)}"
        )
    return _Search(problem, probes, base, frozenset(automatic), checkpoints, progress).run()


class _Search:
    """The state of one calibration: what is asked for, and what it has cost."""

    def __init__(
        self,
        problem: Problem,
        probes: Mapping[float, Weights],
        base: SamplerConfig,
        automatic: frozenset[str],
        checkpoints: int,
        progress: Progress,
    ) -> None:
        self.problem, self.base, self.automatic, self.progress = problem, base, automatic, progress
        self.trials, self.checkpoints = Trials(problem, probes, base, automatic), checkpoints

    def run(self) -> Calibration:
        given = self._given("n_beta"), self._given("localization")
        grid = rules.candidates(n_samples(self.problem), *given, self._affordable(LEAST_SCOUTING))
        draws = int(min(max(self._affordable(1) / len(grid), LEAST_SCOUTING), 300))
        ranked = rules.ranked(self._scout(grid, draws), self.trials.judged)
        tried = self._best_pilot(ranked, len(grid))
        chosen = self._loosened(tried)
        self.progress(len(grid) + PILOTS, len(grid) + PILOTS, "settings chosen")
        return self._result(ranked, len(grid) - len(ranked), tried, chosen)

    def _best_pilot(self, ranked: Sequence[Trial], done: int) -> Pilot:
        """Of longer runs, best pair first, until one is good or the budget is spent."""
        pilots: list[Pilot] = []
        waiting = list(ranked)
        while waiting and len(pilots) < PILOTS:
            self.progress(done + len(pilots), done + PILOTS, f"pilot run {len(pilots) + 1}")
            before = self.trials.chain_steps
            pilots.append(self.trials.pilot(waiting.pop(0).setting))
            best = max(pilots, key=self._merit)  # the first of equals
            if self.trials.good(best) or 2 * self.trials.chain_steps - before > self._budget(best):
                break
            failed = pilots[-1].trial
            waiting = [each for each in waiting if rules.better_than_failed(each, failed, self.trials.judged)]
        return best

    def _merit(self, pilot: Pilot) -> tuple[bool, int]:
        return self.trials.good(pilot), pilot.trial.healthy(self.trials.judged)

    def _loosened(self, tried: Pilot) -> Pilot:
        """The same with half the localization, if a run not much longer then tells checkpoints apart as well."""
        gamma = tried.trial.setting.localization
        setting = replace(tried.trial.setting, localization=gamma / 2)
        settling = int(min(max(self.trials.memory(setting), 20), 60))
        looking = (2 * PROPOSALS + SEARCH) * self.trials.examples_per_batch()
        # chains that are held half as firmly bear a step of nearly twice the size, and forget as fast
        steps = self.trials.pilot_draws(tried.trial.setting) + 2 * settling + looking
        cost = steps * len(self.trials.steps) * self.base.chains * self.base.steps_between_draws
        affordable = self.trials.chain_steps + cost <= self._budget(tried)
        if "localization" not in self.automatic or not self.trials.good(tried) or not affordable:
            return tried
        tried.walkers.walk(setting, settling)
        if "step_size" in self.automatic:
            setting = replace(setting, step_size=rules.rounded_down(self.trials.borne(tried.walkers, setting)))
            tried.walkers.walk(setting, settling)
        looser = self.trials.longer(tried.walkers, setting)
        as_well = rules.tells_apart_as_well(looser.resolution, tried.resolution)
        longer = looser.length.whole > LONGER * tried.length.whole or self.trials.chain_steps > self._budget(looser)
        return looser if as_well and not longer and self.trials.good(looser) else tried

    def _given(self, name: str) -> float | None:
        return None if name in self.automatic else getattr(self.base, name)

    def _run_chain_steps(self, burn_in: int, draws: int) -> float:
        return float(self.checkpoints * self.base.chains * (burn_in + draws) * self.base.steps_between_draws)

    def _least_run(self) -> float:
        least = LEAST_RUN if {"draws", "burn_in"} & self.automatic else self.base.draws + self.base.burn_in
        return self._run_chain_steps(0, least)

    def _budget(self, pilot: Pilot) -> float:
        """What calibration may cost, in chain-steps, if the run is as long as this pilot says."""
        run = self._run_chain_steps(pilot.length.burn_in, pilot.length.draws)
        return SHARE_OF_RUN * max(run, self._least_run())

    def _affordable(self, draws: int) -> float:
        """Short runs of so many draws, with the search for their steps, that leave room for one pilot."""
        tried = TRYING * self.trials.examples_per_batch()
        left = SHARE_OF_RUN * self._least_run() - PILOT * len(self.trials.steps) * self.base.chains
        return max(left, 0.0) / ((STEPPING + tried) * draws * len(self.trials.steps) * SCOUTS)

    def _scout(self, grid: Sequence[tuple[float, float]], draws: int) -> list[Trial]:
        walkers = self.trials.scouts()
        trials: list[Trial] = []
        before: tuple[float, float] | None = None
        step = self._given("step_size") or 0.0
        for index, (n_beta, localization) in enumerate(grid):
            self.progress(index, len(grid) + PILOTS, f"n_beta {n_beta:g}, localization {localization:g}")
            if rules.hopeless((n_beta, localization), trials, self.trials.judged):
                continue
            fresh = before is None or before[0] != n_beta
            if fresh:
                walkers.restart()
                step = self._given("step_size") or 0.1 / (localization + n_beta)
            setting = Setting(step, n_beta, localization)
            setting = self.trials.stepped(walkers, setting, rounds=2 if fresh else 1, steps=draws // 3)
            trials.append(self.trials.short(walkers, setting, draws))
            if self.trials.spared_too_much(trials[-1]):
                walkers.spare = False
                walkers.restart()
                setting = self.trials.stepped(walkers, setting, rounds=2, steps=draws // 3)
                trials[-1] = self.trials.short(walkers, setting, draws)
            step, before = setting.step_size, (n_beta, localization)
            slow = rules.TOO_SLOW in trials[-1].health and self.trials.memory(setting) < 2 * rules.LONGEST_MEMORY
            if slow and rules.ONLY_GAMMA not in trials[-1].health:  # give it the time that it needs to settle
                walkers.walk(setting, draws)
                trials[-1] = self.trials.short(walkers, setting, draws)
        self.trials.chain_steps += walkers.chain_steps
        return trials

    def _result(self, ranked: Sequence[Trial], left_out: int, tried: Pilot, pilot: Pilot) -> Calibration:
        chosen: dict[str, Any] = asdict(pilot.trial.setting)
        found = pilot.length
        for name, value in (("draws", found.draws), ("burn_in", found.burn_in)):
            chosen[name] = value if name in self.automatic else getattr(self.base, name)
        config = replace(self.base, **chosen)
        run_chain_steps = self._run_chain_steps(config.burn_in, config.draws)
        sentences = words.sentences(
            pilot.trial,
            ranked,
            found,
            self.trials.steps,
            self.trials.judged,
            reference=self.base.reference,
            target=TARGET,
            left_out=left_out,
            cost=self.trials.chain_steps / run_chain_steps,
            tried=tried.trial.setting,
            resolutions=(pilot.resolution, tried.resolution),
        )
        return Calibration(
            config=config,
            steps=self.trials.steps,
            trials=tuple(ranked),
            pilot=pilot.trial,
            pilot_trace_KD=pilot.trace_KD,
            length=found,
            sentences=tuple(sentences),
            healthy=pilot.trial.healthy(self.trials.judged) == len(self.trials.judged),
            chain_steps=self.trials.chain_steps,
            run_chain_steps=run_chain_steps,
        )
