from __future__ import annotations

import math

import numpy as np
import pytest

from slt.closed_form import sgld_on_quadratic
from slt.errors import JobError
from slt.learning_coefficient import default_n_beta, estimates_from_traces, heat_capacity, interval, wbic
from slt.trajectory import VerdictKind
from tests import scenarios


def healthy(checkpoints: int = 2, chains: int = 4, draws: int = 300, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([scenarios.slow_chains(rng, time=2, chains=chains, draws=draws) for _ in range(checkpoints)])


def test_the_llc_is_n_beta_times_the_mean_after_burn_in():
    traces = np.zeros((1, 2, 5))
    traces[0, :, :2] = 1e6  # a burn-in that would be seen
    traces[0, :, 2:] = [[1, 2, 3], [3, 4, 5]]
    (estimate,) = estimates_from_traces([7], traces, [0.5], 10.0, burn_in=2)
    assert (estimate.step, estimate.llc, estimate.loss) == (7, 30.0, 0.5)
    assert estimate.llc_chains.tolist() == [20.0, 40.0]
    # sd of 20 and 40 is 14.142, over sqrt(2) chains
    assert estimate.llc_std_error == pytest.approx(10.0)
    assert estimate.excess_loss.shape == (2, 3)


def test_the_llc_and_its_error_are_those_of_sgld_on_a_quadratic():
    chains, draws = 400, 300
    rng = np.random.default_rng(1)
    losses = scenarios.sgld_losses(rng, chains=chains, draws=draws, **scenarios.QUADRATIC)
    (estimate,) = estimates_from_traces([0], losses[None] / 25.0, [0.0], 25.0, burn_in=0)
    llc, error = sgld_on_quadratic(**scenarios.QUADRATIC, draws=draws)
    # 3 exact standard errors of the mean over independent chains
    assert abs(estimate.llc - llc) < 3 * error / np.sqrt(chains)
    # the relative error of a standard deviation over C chains is 1/sqrt(2C) = 3.5 %, more for skewed means
    assert estimate.llc_std_error == pytest.approx(error / np.sqrt(chains), rel=0.15)


def test_one_chain_gets_its_error_from_its_effective_draws():
    draws, runs = 2000, 60
    rng = np.random.default_rng(2)
    traces = scenarios.sgld_losses(rng, chains=runs, draws=draws, **scenarios.QUADRATIC)[:, None]
    estimates = estimates_from_traces(range(runs), traces, np.zeros(runs), 1.0, burn_in=0)
    _, error = sgld_on_quadratic(**scenarios.QUADRATIC, draws=draws)
    # single runs scatter by about a quarter, their mean over 60 runs by 3 %; the bias of truncated sums is a few %
    assert np.mean([e.llc_std_error for e in estimates]) == pytest.approx(error, rel=0.15)
    assert np.isnan(estimates[0].rhat)


@pytest.mark.parametrize("draw", [0, 150, 399])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_chain_with_a_value_that_is_not_finite_never_gives_an_estimate(draw, value):
    traces = healthy(draws=400)
    traces[0, 2, draw] = value
    broken, sound = estimates_from_traces([1, 2], traces, [1.0, 1.0], 10.0, burn_in=100)
    assert np.isnan([broken.llc, broken.llc_std_error, broken.llc_chains[2], broken.rhat, broken.ess]).all()
    assert np.isfinite(broken.llc_chains[[0, 1, 3]]).all()
    assert broken.verdict.kind is VerdictKind.DIVERGED
    assert broken.verdict.sentence.startswith("1 of 4 chains")
    assert np.isfinite(sound.llc)
    assert sound.verdict.kind is VerdictKind.OK


def test_a_negative_llc_is_kept_with_its_verdict():
    (estimate,) = estimates_from_traces([1], -healthy(1), [1.0], 10.0, burn_in=0)
    assert estimate.llc < 0
    assert estimate.verdict.kind is VerdictKind.BELOW_CHECKPOINT


def test_n_beta_is_that_of_wbic():
    assert default_n_beta(1000) == pytest.approx(1000 / math.log(1000))


def test_wbic_adds_the_complexity_to_the_loss():
    assert wbic(1000, 0.5, 3.0) == pytest.approx(500 + 3 * math.log(1000))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: default_n_beta(1), "at least 2 samples"),
        (lambda: estimates_from_traces([1, 2], healthy(), [1.0, 1.0], 1.0, burn_in=300), "leaves none of 300"),
        (lambda: estimates_from_traces([1], healthy(), [1.0], 1.0, burn_in=0), "do not fit 1 steps"),
        (lambda: estimates_from_traces([1, 2], healthy(), [1.0], 1.0, burn_in=0), "do not fit 2 steps"),
    ],
)
def test_what_cannot_be_used_is_named(call, says):
    with pytest.raises(JobError, match=says):
        call()


def test_the_heat_capacity_is_that_of_the_quadratic_and_half_the_parameters_without_localisation():
    chains, draws = 400, 300
    for localization in (5.0, 0.0):
        setting = scenarios.QUADRATIC | {"localization": localization}
        losses = scenarios.sgld_losses(np.random.default_rng(3), chains=chains, draws=draws, **setting)
        h = np.array(setting["curvatures"])
        pull = h + localization
        variances = h / (pull * (1 - setting["step_size"] * pull / 4))
        estimate = heat_capacity(losses / 25.0, 25.0)
        # four standard errors over independent chains
        error = np.square(losses - losses.mean()).mean(axis=1).std() / np.sqrt(chains)
        assert estimate == pytest.approx((variances**2).sum() / 2, abs=4 * error)
    # without localisation, but for the finite step (1.25 of the stiffest direction): d/2
    assert estimate == pytest.approx(1.5, abs=0.5 * (1.25**2 - 1) + 4 * error + 0.02)


def test_the_heat_capacity_of_a_chain_that_diverged_is_none():
    assert np.isnan(heat_capacity(np.array([[1.0, np.inf], [1.0, 2.0]]), 3.0))


def test_wbic_is_n_times_the_mean_sampled_loss_at_its_own_temperature():
    n, loss = 500, 0.7
    n_beta = default_n_beta(n)
    (estimate,) = estimates_from_traces([1], healthy(1) / n_beta, [loss], n_beta, burn_in=0)
    sampled_loss = loss + estimate.excess_loss.mean()
    assert wbic(n, loss, estimate.llc) == pytest.approx(n * sampled_loss)


@pytest.mark.parametrize("value", [1e160, -1e160, 1e308])
def test_losses_too_large_to_be_squared_are_no_estimate(value):
    traces = healthy(1)
    traces[0, 1, 200] = value
    (estimate,) = estimates_from_traces([1], traces, [1.0], 1e5, burn_in=0)
    assert estimate.verdict.kind is VerdictKind.DIVERGED
    assert np.isnan(estimate.llc)


def test_at_n_beta_zero_the_llc_is_zero_whatever_the_loss_does():
    estimates = estimates_from_traces(range(8), healthy(8), np.linspace(1, 2, 8), 0.0, burn_in=0)
    assert [estimate.llc for estimate in estimates] == [0.0] * 8
    assert all(estimate.verdict.kind is VerdictKind.OK for estimate in estimates)


@pytest.mark.parametrize(("chains", "draws"), [(2, 60), (4, 60), (1, 600)])
def test_nine_in_ten_intervals_cover_the_exact_llc(chains, draws):
    runs = 300
    n_beta, exact = 10.0, sgld_on_quadratic(**scenarios.QUADRATIC, draws=1)[0]
    losses = scenarios.sgld_losses(
        np.random.default_rng(chains), chains=chains * runs, draws=draws, **scenarios.QUADRATIC
    ).reshape(runs, chains, draws)
    found = estimates_from_traces(range(runs), losses / n_beta, np.zeros(runs), n_beta, burn_in=0, reference="self")
    bounds = np.array([interval(estimate) for estimate in found])
    covered = ((bounds[:, 0] <= exact) & (exact <= bounds[:, 1])).mean()
    # the range that is asked of 200 runs; three standard errors of a share of 300 are 0.05
    assert 0.85 <= covered <= 0.95


def test_four_chains_need_more_than_the_normal_quantile():
    (estimate,) = estimates_from_traces([1], healthy(1), [1.0], 10.0, burn_in=0)
    low, high = interval(estimate)
    assert 0.5 * (low + high) == pytest.approx(estimate.llc)
    # the 95 % quantile of Student's t with 3 degrees of freedom, from any table
    assert 0.5 * (high - low) == pytest.approx(2.353 * estimate.llc_std_error, rel=1e-3)


def test_without_an_estimate_there_is_no_interval():
    traces = healthy(1)
    traces[0, 0, -1] = np.nan
    (estimate,) = estimates_from_traces([1], traces, [1.0], 10.0, burn_in=0)
    assert np.isnan(interval(estimate)).all()


@pytest.mark.parametrize("level", [0.0, 1.0, 90.0, math.nan])
def test_a_level_that_is_no_probability_is_refused(level):
    (estimate,) = estimates_from_traces([1], healthy(1), [1.0], 10.0, burn_in=0)
    with pytest.raises(JobError, match="between 0 and 1"):
        interval(estimate, level)
