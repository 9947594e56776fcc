"""The rules of calibration, on numbers whose right answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from slt.calibration import (
    LOCALIZATIONS,
    Setting,
    Trial,
    better_than_failed,
    candidates,
    demanded,
    hopeless,
    ranked,
    relative_bias,
    rounded_down,
    tells_apart_as_well,
    told_apart,
    trial,
)
from slt.calibration_length import length
from slt.learning_coefficient import default_n_beta
from tests.scenarios import slow_chains

PROBES = (0, 1, 2)


def quadratic_trial(n_beta: float, localization: float, scales: tuple[float, ...] = (1.0, 2.0, 4.0)) -> Trial:
    """The exact LLC of quadratics of ten equal curvatures: 5 h / (h + gamma) with h = n_beta * scale."""
    llc = tuple(5 * n_beta * scale / (n_beta * scale + localization) for scale in scales)
    return Trial(Setting(1e-3, n_beta, localization), 0.92, llc, (0.1, 0.1, 0.1), ("ok", "ok", "ok"))


def test_pairs_run_from_a_low_temperature_to_n_over_log_n_and_cover_the_decades() -> None:
    pairs = candidates(4000, None, None)
    n_betas = sorted({n_beta for n_beta, _ in pairs})
    assert n_betas[0] == 2
    assert n_betas[-1] == pytest.approx(default_n_beta(4000), rel=5e-3)
    assert {gamma for _, gamma in pairs} == set(LOCALIZATIONS)
    assert len(pairs) == len(n_betas) * len(LOCALIZATIONS)


def test_a_number_that_is_given_is_the_only_one_tried() -> None:
    assert {n_beta for n_beta, _ in candidates(4000, 17.0, None)} == {17.0}
    assert {gamma for _, gamma in candidates(4000, None, 3.0)} == {3.0}
    assert candidates(4000, 17.0, 3.0) == [(17.0, 3.0)]
    assert {n_beta for n_beta, _ in candidates(2, None, 3.0)} == {2.0, 2.89}


def test_a_run_that_can_afford_few_pairs_gets_a_coarser_grid_with_the_same_ends() -> None:
    n_betas = sorted({n_beta for n_beta, _ in candidates(4000, None, None)})
    few = candidates(4000, None, None, most=9)
    assert len(few) <= 9
    assert {n_beta for n_beta, _ in few} == {n_betas[0], n_betas[-1]}
    least = candidates(4000, None, None, most=0.1)
    assert {gamma for _, gamma in least} == {10.0, 100.0}
    assert {n_beta for n_beta, _ in least} == {n_betas[0], n_betas[-1]}
    assert candidates(4000, 17.0, 3.0, most=0.1) == [(17.0, 3.0)]


def test_pairs_below_one_that_lost_the_model_are_hopeless_and_those_above_are_not() -> None:
    lost = Trial(Setting(1e-3, 50, 1000), 0.92, (0.1,) * 3, (0.01,) * 3, ("ok", "only gamma", "only gamma"))
    for pair, expected in (((10, 1000), True), ((2, 100), True), ((10, 100), False), ((50, 100), False)):
        assert hopeless(pair, [lost], PROBES) is expected
    assert not hopeless((10, 1000), [lost], (0,))


def test_a_pilot_that_failed_rules_out_what_would_fail_alike() -> None:
    def pair(n_beta: float, localization: float, step: float, *words: str) -> Trial:
        return Trial(Setting(step, n_beta, localization), 0.92, (1.0,) * 3, (0.1,) * 3, words or ("ok",) * 3)

    disagreed = pair(50, 10, 1e-3, "ok", "chains disagree", "too slow")
    assert not better_than_failed(pair(50, 1, 1e-3), disagreed, PROBES)
    assert better_than_failed(pair(50, 100, 1e-4), disagreed, PROBES)
    assert better_than_failed(pair(2, 10, 1e-3), disagreed, PROBES)
    slow = pair(50, 1, 1e-3, "ok", "too slow", "ok")
    assert not better_than_failed(pair(2, 1, 1.5e-3), slow, PROBES)
    assert better_than_failed(pair(2, 1, 3e-3), slow, PROBES)


def test_slow_chains_resolve_less_and_a_single_checkpoint_is_told_from_nothing() -> None:
    fast = quadratic_trial(2, 10)
    slow = Trial(fast.setting, 0.92, fast.llc, fast.std_error, fast.health, slowness=4.0)
    assert ranked([slow], PROBES)[0].resolution == pytest.approx(ranked([fast], PROBES)[0].resolution / 2)
    alone = Trial(Setting(1e-3, 2, 10), 0.92, (5.0,), (0.25,), ("ok",))
    assert ranked([alone], (0,))[0].resolution == pytest.approx(20)


def test_an_llc_that_only_measures_localization_has_a_localized_share_of_one() -> None:
    tight = ranked([quadratic_trial(1, 1e4), quadratic_trial(1, 1e5)], PROBES)
    loose = ranked([quadratic_trial(1, 1e-4), quadratic_trial(1, 1e-3)], PROBES)
    assert [each.localized_share for each in tight] == pytest.approx([1, 1], abs=1e-3)
    assert [each.localized_share for each in loose] == pytest.approx([0, 0], abs=1e-3)


def test_the_share_of_localization_is_not_read_off_chains_that_have_not_settled() -> None:
    tight, loose = quadratic_trial(1, 1e4), quadratic_trial(1, 1e3)
    under_way = Trial(loose.setting, 0.92, tight.llc, tight.std_error, tight.health, slowness=5.0)
    shares = {
        each.setting.localization: each.localized_share
        for each in ranked([tight, under_way, quadratic_trial(1, 1e5)], PROBES)
    }
    assert shares[1e4] == pytest.approx(1, abs=0.01)


def test_of_five_probes_one_may_be_spared() -> None:
    assert demanded(np.array([3.0, 9.0, 1.0, 2.0]), True) == 9
    assert demanded(np.array([3.0, 900.0, 1.0, 2.0, 4.0]), True) == 4
    assert demanded(np.array([3.0, 900.0, 1.0, 2.0, 4.0]), False) == 900
    words = ("ok", "step too large", "ok", "step too large", "ok")
    found = Trial(Setting(1e-3, 2, 1), 0.92, (1.0,) * 5, (0.1,) * 5, words)
    assert found.healthy(range(5)) == 4
    assert found.healthy((0, 2, 4)) == 3
    assert Trial(Setting(1e-3, 2, 1), 0.92, (1.0,) * 4, (0.1,) * 4, words[:4]).healthy(range(4)) == 2


def test_a_probe_whose_step_is_too_large_does_not_count_for_what_is_told_apart() -> None:
    rng = np.random.default_rng(0)
    excess = (np.array([10, 11, 12, 13, 500])[:, None, None] + rng.standard_normal((5, 2, 300))) / 10
    bias = relative_bias(np.array([0.1, 0.1, 0.1, 0.1, 300])[:, None] * np.ones(2), 10 * excess.mean(axis=(1, 2)))
    settings = {"parameters": 100, "memory": 10, "short": True, "bias_K": bias}
    found = trial(Setting(1e-3, 10.0, 1.0), 0.9, excess, np.full(5, np.nan), **settings)
    assert found.health == ("ok",) * 4 + ("step too large",)
    assert bias == pytest.approx([0.1 / 12, 0.1 / 12, 0.1 / 12, 0.1 / 13, 0.6], rel=0.05)
    [scored] = ranked([found], range(5))
    assert scored.resolution == pytest.approx(3 * np.sqrt(600), rel=0.3)


def test_an_llc_of_zero_owes_all_that_it_may_show_to_the_step() -> None:
    assert relative_bias(np.array([[0.1, 0.1]]), np.zeros(1)) == [np.inf]


def test_noise_that_all_checkpoints_share_does_not_blur_what_is_told_apart() -> None:
    rng = np.random.default_rng(0)
    own, shared = 0.1 * rng.standard_normal((3, 4, 400)), 5 * rng.standard_normal((1, 4, 400))
    llc = np.array([1.0, 2.0, 3.0])[:, None, None]
    expected = 2 / (0.1 * np.sqrt(2) / np.sqrt(1600))
    assert told_apart(llc + own) == pytest.approx(expected, rel=0.3)
    assert told_apart(llc + own + shared) == pytest.approx(expected, rel=0.3)
    assert np.isnan(told_apart(llc[:1] + own[:1]))


@pytest.mark.parametrize(
    ("here", "there", "as_well"), [(50, 60, True), (40, 60, False), (70, 1e4, True), (50, 1e4, False)]
)
def test_more_than_enough_to_tell_apart_is_enough(here: float, there: float, as_well: bool) -> None:
    assert tells_apart_as_well(here, there) is as_well


def test_more_healthy_probes_win_over_any_score() -> None:
    sick = Trial(Setting(1e-3, 2, 1), 0.92, (1.0, 500.0, 900.0), (0.1, 0.1, 0.1), ("ok", "ok", "saturated"))
    assert ranked([sick, quadratic_trial(2, 10)], PROBES)[0].setting.localization == 10
    assert ranked([sick, quadratic_trial(2, 10)], (0, 1))[0].setting.localization == 1


def test_a_sampled_loss_that_stays_while_the_loss_moves_is_saturated() -> None:
    rng = np.random.default_rng(0)
    loss = np.array([4.0, 3.0, 2.0, 1.0])
    common_level = 10.0
    forgetful = (common_level - loss)[:, None, None] + 0.01 * rng.standard_normal((4, 2, 200))
    own_level = 6.0 + 0.01 * rng.standard_normal((4, 2, 200))
    setting = Setting(1e-3, 10.0, 1.0)
    assert trial(setting, 0.9, forgetful, loss, parameters=100, memory=10, short=False).health == ("saturated",) * 4
    assert trial(setting, 0.9, own_level, loss, parameters=100, memory=10, short=False).health == ("ok",) * 4


def test_each_illness_of_a_probe_is_named() -> None:
    rng = np.random.default_rng(0)
    healthy = 1 + 0.1 * rng.standard_normal((2, 200))
    lost = healthy.copy()
    lost[0, 50] = np.inf
    climbing = healthy * np.linspace(0.2, 1, 200)
    cases = np.stack([healthy, lost, healthy - 3, 1e-3 * healthy, climbing])
    found = trial(Setting(1e-3, 10.0, 1.0), 0.9, cases, np.full(5, np.nan), parameters=100, memory=1000, short=False)
    assert found.health == ("ok", "diverged", "below the checkpoint's loss", "only gamma", "too slow")


def test_draws_reach_the_wished_error_of_chains_with_a_known_memory() -> None:
    rng = np.random.default_rng(0)
    pilot = slow_chains(rng, time=10, chains=4, draws=4000, modes=2)[None]
    found = length(pilot, 0.02, 4, 20.0)
    # the squares of AR(1) modes with coefficient a decorrelate with a^2: (1 + a^2)/(1 - a^2) draws per independent one
    a2 = np.exp(-0.2)
    time = (1 + a2) / (1 - a2)
    # 16,000 draws are worth 1,600: their own correlation time is known to about a fifth
    assert found.correlation_time == pytest.approx(time, rel=0.2)
    # a mean of two squares has standard deviation equal to its mean
    assert found.draws == pytest.approx(time / 4 / 0.02**2, rel=0.3) or found.draws == 3000


def test_burn_in_covers_the_way_from_the_checkpoint() -> None:
    rng = np.random.default_rng(0)
    draw = np.arange(1000)
    pilot = (1 - np.exp(-draw / 50)) + 0.02 * rng.standard_normal((3, 4, 1000))
    found = length(pilot, 0.05, 4, 50.0)
    # within 5 % of the end after 150 draws, in blocks of 50
    assert 100 <= found.settles_after <= 200
    assert found.burn_in >= found.settles_after
    climbing = np.broadcast_to(draw / 1000, (3, 4, 1000)) + 0.001 * rng.standard_normal((3, 4, 1000))
    assert not length(climbing, 0.05, 4, 5000.0).enough


def test_a_step_is_rounded_to_two_digits_and_never_up() -> None:
    assert rounded_down(0.00299) == 0.0029
    assert rounded_down(0.0029) == 0.0029
    assert rounded_down(123.4) == 120
