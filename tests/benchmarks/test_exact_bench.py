"""Small instances of the exactness and coverage benchmarks."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from benchmarks import controls, coverage, deep_linear, exact
from estimators.llc import SamplerConfig, estimate_llc
from slt.closed_form import deep_linear as coefficient
from slt.closed_form import reduced_rank_local

TWO_LAYERS = [case for case in deep_linear.GOLDEN if len(case[0]) == 3]


def test_there_are_twenty_networks_from_8_to_12288_parameters():
    sizes = [sum(a * b for a, b in pairwise(widths)) for widths, _ in deep_linear.GOLDEN]
    assert len(set(deep_linear.GOLDEN)) >= 20
    assert (min(sizes), max(sizes)) == (8, 12288)


@pytest.mark.parametrize(("widths", "rank"), TWO_LAYERS)
def test_the_coefficient_at_minimal_rank_is_the_tabulated_one(widths, rank):
    assert reduced_rank_local(*widths, rank, rank, rank) == coefficient(widths, rank)


def test_the_population_loss_is_the_mean_of_the_samples_without_their_noise():
    problem, samples = deep_linear.population((3, 2, 4), 1), deep_linear.regression((3, 2, 4), 1, 40_000)
    with torch.no_grad():
        for layer, other in zip(problem.model.layers, samples.model.layers, strict=True):
            other.copy_(layer.add_(0.3))
        x, y = samples.data
        sampled = samples.loss(samples.model, samples.data) - 0.5 * (y - x @ samples.model.target.T).square().sum(dim=1)
        loss = problem.loss(problem.model, problem.data)
    # four standard errors of a mean over samples
    assert sampled.mean().item() == pytest.approx(loss.item(), abs=4 * sampled.std().item() / 200)


def test_at_rank_zero_the_finite_answer_is_the_integral_over_the_hidden_unit():
    # one hidden unit, 1-1-1: integrating one factor out leaves E[(1 + t w)^(-1/2)], w chi-squared, t = n_beta / gamma^2
    t, u = 1000.0, np.linspace(-12, 12, 200_001)
    density = np.exp(-(u**2) / 2)
    share = t * u**2 / (1 + t * u**2)
    expected = 0.5 * np.average(share, weights=density / np.sqrt(1 + t * u**2))
    # 2,000 walkers of 300 kept sweeps, each with a share between 0 and 1/2: below 0.002 even if sweeps were all alike
    assert deep_linear.at_finite_n_beta((1, 1, 1), 0, 1000.0, 1.0) == pytest.approx(expected, abs=0.006)


def test_the_finite_answer_tends_to_the_learning_coefficient():
    widths, rank = (10, 10, 10), 5
    errors = [
        deep_linear.at_finite_n_beta(widths, rank, n_beta, 1.0) / deep_linear.asymptotic(widths, rank, n_beta) - 1
        for n_beta in (1e2, 1e4)
    ]
    # 10 % of the singular part's 10 of 47 remain at 100, a hundredth of that at 10,000
    assert errors[0] < 5 * errors[1] < 0
    assert abs(errors[1]) < 0.005


def test_the_superposition_model_has_its_published_losses():
    for corners, loss in ((5, 0.06874), (6, 0.04819)):
        problem = controls.polygon(corners).problem
        with torch.no_grad():
            # published with five digits, and without the factor 1/2
            assert 2 * problem.loss(problem.model, problem.data).item() == pytest.approx(loss, abs=5e-6)


@pytest.mark.slow
@pytest.mark.parametrize("protocol", list(exact.PROTOCOLS))
def test_automatic_settings_find_the_learning_coefficient(protocol):
    row = exact.measure((5, 3, 5), 3, replace(exact.PROTOCOLS[protocol], most_steps=2000))
    # the design's 5 % for minibatches, and three standard errors
    assert abs(row["llc"] - row["expected"]) < 0.05 * row["expected"] + 3 * row["std_error"]


@pytest.mark.slow
@pytest.mark.parametrize("case", [coverage.quadratic, coverage.deep_linear_network])
def test_intervals_over_four_chains_cover(case):
    found = coverage.coverage(*case(100))
    # three standard errors of a share of 100 around 90 %
    assert found["covered"] >= 0.81
    assert abs(found["bias_in_errors"]) < 4


def test_chains_of_mala_have_the_finite_answer():
    problem = deep_linear.population((3, 2, 3), 0)
    config = SamplerConfig(
        step_size=2e-3, n_beta=200.0, localization=5.0, kernel="mala", chains=64, draws=300, burn_in=150,
        batch_size=None, dtype="float64", device="cpu",
    )  # fmt: skip
    trajectory = estimate_llc(problem, {1: problem.model.state_dict()}, config)
    expected = deep_linear.at_finite_n_beta((3, 2, 3), 0, config.n_beta, config.localization)
    # three standard errors, and 0.5 % for the Gibbs sampler's own
    assert trajectory.llc[0] == pytest.approx(expected, abs=3 * trajectory.llc_std_error[0] + 0.005 * expected)
