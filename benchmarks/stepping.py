"""The step size of a benchmark's chains: one rule for MALA, one for SGLD."""

from __future__ import annotations

from dataclasses import replace

from estimators.acceptance import Walkers
from estimators.group import prepare
from estimators.llc import SamplerConfig, sample_group
from estimators.problem import Problem
from slt.calibration import Setting

PILOT, CHAINS, ROUNDS = 200, 16, 8
MALA_ACCEPTANCE = 0.5
"""About where MALA is most efficient (Roberts and Rosenthal 1998: 0.57)."""
HEAT = 0.08
"""Share by which SGLD's finite step and its batches together may heat the directions that they heat."""


def mala_step(problem: Problem, config: SamplerConfig) -> float:
    """The largest 2^-k / n_beta of which a pilot run of MALA from the checkpoint accepts half."""
    step_size = 1 / config.n_beta
    while True:
        pilot = replace(
            config, kernel="mala", dtype="float64", batch_size=None, step_size=step_size, chains=4, draws=PILOT,
            burn_in=PILOT, steps_between_draws=1, engine="batched",
        )  # fmt: skip
        rates = sample_group(problem, [problem.model.state_dict()], pilot).acceptance_KC
        assert rates is not None
        if rates.mean() >= MALA_ACCEPTANCE:
            return step_size
        step_size /= 2


def sgld_step(problem: Problem, config: SamplerConfig) -> float:
    """Calibration's step by acceptance, or a smaller one where that would heat the chains by more than `HEAT`.

    In a direction of curvature h = n_beta * Hessian a step epsilon heats by epsilon h / 4. Batches of B add
    epsilon v / 4, v the variance of the gradient's noise; where the model fits its data this is h n_beta / B. So the
    measured v gives both: epsilon v (1 + B / n_beta) / 4.
    """
    assert config.batch_size is not None
    walkers = Walkers(prepare(problem, [problem.model.state_dict()], config), replace(config, chains=CHAINS))
    setting = Setting(0.1 / config.n_beta, config.n_beta, config.localization)
    steepest = 0.0  # chains leave a flat place for steeper ones
    for _ in range(ROUNDS):
        walkers.walk(setting, PILOT // 2)
        steepest = max(steepest, float(walkers.batch_noise(config.n_beta).max()))
        heating = steepest * (1 + config.batch_size / config.n_beta) / 4
        accepted = walkers.largest_step(setting, precision=1.1)
        setting = replace(setting, step_size=min(accepted, setting.step_size * 2, HEAT / heating))
    return setting.step_size
