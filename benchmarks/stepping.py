"""The step size of a benchmark's chains, from Metropolis acceptance: one rule for all."""

from __future__ import annotations

from dataclasses import replace

from estimators.llc import SamplerConfig, sample_group
from estimators.problem import Problem

PILOT = 200
MALA_ACCEPTANCE = 0.5
"""About where MALA is most efficient (Roberts and Rosenthal 1998: 0.57)."""
SGLD_ACCEPTANCE = 0.9
"""What SGLD does wrong is of the order of what Metropolis would refuse."""


def largest_step(problem: Problem, config: SamplerConfig, accepted: float) -> float:
    """The largest 2^-k / n_beta of which a pilot run of MALA from the checkpoint accepts at least this share."""
    step_size = 1 / config.n_beta
    while True:
        pilot = replace(
            config, kernel="mala", dtype="float64", batch_size=None, step_size=step_size, chains=4, draws=PILOT,
            burn_in=PILOT, steps_between_draws=1, engine="batched",
        )  # fmt: skip
        rates = sample_group(problem, [problem.model.state_dict()], pilot).acceptance_KC
        assert rates is not None
        if rates.mean() >= accepted:
            return step_size
        step_size /= 2
