from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from slt.diagnostics import diagnose
from slt.learning_coefficient import estimates_from_traces
from slt.trajectory import VerdictKind
from tests import scenarios

N_BETA = 10.0
RUNS = 60


def kinds(make, runs: int = RUNS) -> Counter[VerdictKind]:
    rng = np.random.default_rng(0)
    return Counter(diagnose(make(rng) / N_BETA, N_BETA)[2].kind for _ in range(runs))


@pytest.mark.parametrize("time", [0, 3, 10, 20])
def test_settled_chains_are_ok(time):
    found = kinds(lambda rng: scenarios.slow_chains(rng, time=time))
    # false alarms per checkpoint: the worst (relaxation over 20 of 300 draws) is at the edge of too few draws
    assert found[VerdictKind.OK] >= (0.99 if time < 20 else 0.85) * RUNS


@pytest.mark.parametrize("time", [80, 150, 1000])
def test_settled_but_slow_chains_are_called_slow_rather_than_in_disagreement(time):
    found = kinds(lambda rng: scenarios.slow_chains(rng, time=time))
    assert found[VerdictKind.STEP_TOO_SMALL] >= 0.8 * RUNS
    assert found[VerdictKind.CHAINS_DISAGREE] <= 0.05 * RUNS


def test_chains_on_their_way_from_the_minimum_drift():
    def travelling(rng):
        settled = 1 - np.exp(-np.arange(300) / 150)
        return scenarios.slow_chains(rng, time=3) * settled

    assert kinds(travelling)[VerdictKind.DRIFTING] >= 0.95 * RUNS


def test_the_drift_is_told_in_the_sentence():
    losses = np.linspace(1, 2, 300) + 0.1 * np.random.default_rng(0).standard_normal((4, 300))
    verdict = diagnose(losses, N_BETA)[2]
    # the thirds' centres are 200 of 299 steps apart, over a mean of 1.5: 44.6 %, known to 0.1 % for this noise
    assert "last third of the draws lies 45% of the LLC above" in verdict.sentence
    assert verdict.statistic > 3


def test_a_chain_in_another_basin_disagrees():
    def split(rng):
        return scenarios.slow_chains(rng, time=2) + np.array([[0], [0], [0], [12]])

    assert kinds(split)[VerdictKind.CHAINS_DISAGREE] == RUNS


def test_chains_that_run_away_have_diverged():
    losses = np.exp(np.arange(300) / 20) * (1 + 0.1 * np.random.default_rng(0).standard_normal((4, 300)))
    assert diagnose(losses, N_BETA)[2].kind is VerdictKind.DIVERGED


def test_diffusion_from_the_minimum_without_burn_in_is_drift_and_not_divergence():
    losses = np.arange(300) ** 2 * (1 + 0.1 * np.random.default_rng(0).standard_normal((4, 300)))
    assert diagnose(losses, N_BETA)[2].kind is VerdictKind.DRIFTING


def test_an_llc_around_zero_is_ok_and_says_so_if_it_is_negative():
    rng = np.random.default_rng(3)
    verdicts = [diagnose(rng.standard_normal((4, 300)), N_BETA)[2] for _ in range(RUNS)]
    below = sum(verdict.kind is VerdictKind.BELOW_CHECKPOINT for verdict in verdicts)
    # one-sided at 2 standard errors with 3 degrees of freedom: 7 %; plus 3 standard errors of a share
    assert below <= 0.07 * RUNS + 3 * np.sqrt(RUNS * 0.07 * 0.93)
    assert any("not distinguishable from zero" in verdict.sentence for verdict in verdicts)


def test_chains_that_do_not_move_are_never_ok():
    verdict = diagnose(np.full((4, 300), 0.25), N_BETA)[2]
    assert verdict.kind is VerdictKind.STEP_TOO_SMALL
    assert "never changed" in verdict.sentence


def test_three_draws_are_too_few_to_judge():
    rhat, ess, verdict = diagnose(np.random.default_rng(0).random((4, 3)), N_BETA)
    assert np.isnan([rhat, ess]).all()
    assert verdict.kind is VerdictKind.STEP_TOO_SMALL


def test_rhat_and_effective_draws_of_independent_draws_are_one_and_all():
    rhat, ess, _ = diagnose(np.random.default_rng(0).random((4, 5000)), N_BETA)
    assert rhat == pytest.approx(1, abs=0.002)
    # the relative error of an effective sample size from 20,000 draws is a few per cent
    assert ess == pytest.approx(20_000, rel=0.1)


def run(llc: np.ndarray, loss: np.ndarray, n_beta: float = N_BETA) -> list[VerdictKind]:
    rng = np.random.default_rng(0)
    noise = 0.05 * rng.standard_normal((1, 4, 200))  # the same at all checkpoints, as with common random numbers
    traces = llc[:, None, None] / n_beta + noise
    return [e.verdict.kind for e in estimates_from_traces(range(len(llc)), traces, loss, n_beta, burn_in=0)]


def test_checkpoints_whose_sampled_loss_stays_are_saturated_and_the_others_are_not():
    loss = np.concatenate([np.linspace(4, 2, 20), np.linspace(2, 1, 20)])
    llc = np.concatenate([N_BETA * (4.5 - loss[:20]), np.linspace(25, 30, 20)])
    found = run(llc, loss)
    assert found[:20] == [VerdictKind.SATURATED] * 20
    # a window of 15 may reach past the end by a third, while the sampled loss moves by less than a tenth of the loss
    assert VerdictKind.SATURATED not in found[25:]


def test_a_staircase_of_loss_and_llc_is_not_saturated():
    height = np.cumsum(1 / (1 + np.exp(-(np.arange(60)[:, None] - [10, 30, 50]))), axis=1)[:, -1]
    assert VerdictKind.SATURATED not in run(3 * height, 4 - height)


def test_a_flat_loss_with_noise_is_not_saturated():
    rng = np.random.default_rng(0)
    assert VerdictKind.SATURATED not in run(20 + 0.1 * rng.standard_normal(50), 1 + 1e-3 * rng.standard_normal(50))


def test_six_checkpoints_are_never_called_saturated():
    loss = np.linspace(4, 2, 6)
    assert VerdictKind.SATURATED not in run(N_BETA * (4.5 - loss), loss)


def test_below_the_checkpoint_goes_before_saturated():
    loss = np.linspace(4, 2, 20)
    assert run(N_BETA * (1.5 - loss), loss)[0] is VerdictKind.BELOW_CHECKPOINT


def test_a_step_that_makes_a_tenth_of_the_llc_is_too_large_by_the_scale_of_the_curve():
    rng = np.random.default_rng(0)
    llc, bias = np.array([1.0, 20.0, 20.0, 40.0, 20.0]), np.array([1.5, 2.5, 1.5, 3.9, np.nan])
    traces = llc[:, None, None] / N_BETA + 0.05 * rng.standard_normal((1, 4, 200))
    found = estimates_from_traces(
        range(5), traces, np.zeros(5), N_BETA, burn_in=0, reference="self", step_bias_KC=bias[:, None] * np.ones(4)
    )
    # the first is small beside the others: against their median it is not a tenth
    assert [e.verdict.kind is VerdictKind.STEP_TOO_LARGE for e in found] == [False, True, False, False, False]
    assert "About 2.5 of an LLC of 20 is due to the finite step" in found[1].verdict.sentence
    assert found[1].verdict.statistic == pytest.approx(0.125, rel=0.01)


def test_chains_below_their_checkpoint_keep_that_verdict_whatever_the_step_does():
    rng = np.random.default_rng(0)
    traces = -2.0 + 0.05 * rng.standard_normal((1, 4, 200))
    [one] = estimates_from_traces([1], traces, [1.0], N_BETA, burn_in=0, step_bias_KC=[[9.0] * 4])
    assert one.verdict.kind is VerdictKind.BELOW_CHECKPOINT
