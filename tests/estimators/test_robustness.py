"""No valid setting crashes, and none gives a number that is not one."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from estimators import Problem, SamplerConfig, estimate_llc
from estimators.divergences import kl, squared_error
from estimators.kernels import FULL_BATCH, KERNELS
from slt.errors import BadInput
from slt.trajectory import VerdictKind

N_SAMPLES = 12


class Quartic(nn.Module):
    """Explodes at large steps, doubly exponentially."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(2))

    def forward(self, x: Tensor) -> Tensor:
        return (self.w[0] * self.w[1]) ** 2 * x[:, 0]


class Logarithm(nn.Module):
    """No loss at all left of zero."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.log(self.w) + x[:, 0]


class Branching(nn.Module):
    """Cannot be batched over chains."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(2))

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0] * self.w[0] if self.w.sum() > 0 else x[:, 0] * self.w[1]


def regression(model: nn.Module) -> Problem:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(N_SAMPLES, 2, generator=generator), torch.randn(N_SAMPLES, generator=generator)
    return Problem(
        model=model,
        data=(x, y),
        loss=lambda model, batch: squared_error(model(batch[0]).reshape(-1), batch[1]),
        outputs=lambda model, batch: model(batch[0]).reshape(-1),
        divergence=squared_error,
    )


def classification() -> Problem:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, (N_SAMPLES,), generator=generator)
    return Problem(
        model=nn.Embedding(3, 3),
        data=(ids,),
        loss=lambda model, batch: cross_entropy(model(batch[0]), batch[0], reduction="none"),
        divergence=kl,
    )


PROBLEMS = {
    "linear": lambda: regression(nn.Linear(2, 1)),
    "quartic": lambda: regression(Quartic()),
    "logarithm": lambda: regression(Logarithm()),
    "branching": lambda: regression(Branching()),
    "classification": classification,
}


def magnitude(low: float, high: float) -> st.SearchStrategy[float]:
    exponent = st.floats(np.log10(low), np.log10(high), allow_nan=False)
    return exponent.map(lambda power: float(10.0**power))


@st.composite
def sampler_settings(draw: st.DrawFn) -> dict[str, object]:
    kernel = draw(st.sampled_from(sorted(KERNELS)))
    batch_sizes = st.none() if kernel in FULL_BATCH else st.sampled_from([None, 1, 3, N_SAMPLES, 5 * N_SAMPLES])
    return {
        "kernel": kernel,
        "step_size": draw(magnitude(1e-8, 10)),
        "n_beta": draw(st.just(0.0) | magnitude(1e-3, 1e6)),
        "localization": draw(st.just(0.0) | magnitude(1e-3, 1e6)),
        "chains": draw(st.integers(1, 4)),
        "draws": draw(st.integers(1, 20)),
        "burn_in": draw(st.integers(0, 10)),
        "batch_size": draw(batch_sizes),
        "seed": draw(st.integers(0, 2**40)),
        "reference": draw(st.sampled_from(["labels", "self"])),
        "dtype": draw(st.sampled_from(["float32", "float64", "bfloat16"])),
        "engine": draw(st.sampled_from(["auto", "batched", "sequential"])),
        "steps_between_draws": draw(st.integers(1, 3)),
    }


COMBINATIONS = {
    "name": st.sampled_from(sorted(PROBLEMS)), "chosen": sampler_settings(), "checkpoints": st.integers(1, 3),
}  # fmt: skip
EXPLOSION = {"step_size": 10.0, "n_beta": 1e6, "localization": 0.0, "chains": 2, "draws": 20, "dtype": "float64"}


@given(**COMBINATIONS)
@example(name="quartic", chosen=EXPLOSION, checkpoints=1)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_valid_setting_gives_finite_estimates_or_says_why_not(
    name: str, chosen: Mapping[str, object], checkpoints: int
) -> None:
    assert_finite_or_said_why_not(name, chosen, checkpoints)


@pytest.mark.slow
@given(**COMBINATIONS)
@settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_thousand_valid_settings_give_finite_estimates_or_say_why_not(
    name: str, chosen: Mapping[str, object], checkpoints: int
) -> None:
    assert_finite_or_said_why_not(name, chosen, checkpoints)


def assert_finite_or_said_why_not(name: str, chosen: Mapping[str, object], checkpoints: int) -> None:
    problem = PROBLEMS[name]()
    weights = problem.model.state_dict()
    states = {step: {key: (1 + 0.3 * step) * value for key, value in weights.items()} for step in range(checkpoints)}
    try:
        trajectory = estimate_llc(problem, states, SamplerConfig(**chosen))
    except BadInput as error:
        refusal = str(error)
    else:
        refusal = ""
    if refusal:
        assert (name, chosen["engine"]) == ("branching", "batched")
        assert "\n" not in refusal
        return
    for k, verdict in enumerate(trajectory.verdicts):
        assert "\n" not in verdict.sentence
        if verdict.kind is VerdictKind.DIVERGED:
            continue
        assert np.isfinite(trajectory.llc[k]), verdict
        assert np.isfinite(trajectory.llc_chains[k]).all(), verdict
        if verdict.kind is VerdictKind.OK:
            assert np.isfinite(trajectory.llc_std_error[k])
            assert np.isfinite(trajectory.loss[k])


@pytest.mark.parametrize("engine", ["batched", "sequential"])
@pytest.mark.parametrize("kernel", sorted(set(KERNELS) - set(FULL_BATCH)))
def test_a_chain_that_leaves_where_the_loss_is_defined_has_no_estimate_and_says_so(kernel: str, engine: str) -> None:
    problem = PROBLEMS["logarithm"]()
    chosen = SamplerConfig(
        kernel=kernel, step_size=0.5, n_beta=1.0, localization=0.1, chains=4, draws=20, burn_in=0, engine=engine
    )
    trajectory = estimate_llc(problem, {1: problem.model.state_dict()}, chosen)
    assert trajectory.verdicts[0].kind is VerdictKind.DIVERGED
    assert "of 4 chains met a loss that is not finite" in trajectory.verdicts[0].sentence
    assert np.isnan(trajectory.llc[0])


def test_mala_stays_where_the_loss_is_defined() -> None:
    problem = PROBLEMS["logarithm"]()
    chosen = SamplerConfig(
        kernel="mala", step_size=0.5, n_beta=1.0, localization=0.1, chains=4, draws=50, batch_size=None
    )
    trajectory = estimate_llc(problem, {1: problem.model.state_dict()}, chosen)
    assert np.isfinite(trajectory.llc_chains[0]).all()


def test_a_checkpoint_whose_own_loss_is_not_finite_is_told_apart_from_a_chain_that_diverged() -> None:
    problem = PROBLEMS["logarithm"]()
    chosen = SamplerConfig(step_size=1e-6, n_beta=1.0, localization=1.0, chains=2, draws=10)
    trajectory = estimate_llc(problem, {1: {"w": -torch.ones(1)}}, chosen)
    assert trajectory.verdicts[0].kind is VerdictKind.DIVERGED
    assert "the checkpoint's own loss is not finite" in trajectory.verdicts[0].sentence.lower()
