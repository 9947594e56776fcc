from __future__ import annotations

import numpy as np
import pytest

from slt.chance import holm, jitter_test, share_near, shuffle_test

LOW, HIGH = 1.0, 4.0


def uniform(rng, count):
    return rng.uniform(LOW, HIGH, count)


def late(rng, count):
    """Uniform in the step itself: nine tenths fall into the last of three decades."""
    return np.log10(rng.uniform(10**LOW, 10**HIGH, count))


def rejections(events_and_landmarks, runs: int) -> float:
    rng = np.random.default_rng(0)
    found = [jitter_test(*events_and_landmarks(rng), LOW, HIGH, rng).p_value <= 0.05 for _ in range(runs)]
    return float(np.mean(found))


@pytest.mark.slow
@pytest.mark.parametrize("where", [uniform, late])
@pytest.mark.parametrize(("events", "landmarks"), [(3, 3), (4, 4), (5, 5), (5, 8), (8, 5)])
def test_unrelated_events_are_found_related_in_at_most_five_per_cent(where, events, landmarks):
    runs = 800
    found = rejections(lambda rng: (where(rng, events), where(rng, landmarks)), runs)
    # 3 standard errors of a share of 5 %
    assert found <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / runs)


@pytest.mark.slow
@pytest.mark.parametrize("where", [uniform, late])
@pytest.mark.parametrize("count", [4, 5])
def test_events_within_a_twentieth_of_a_decade_are_found(where, count):
    def matched(rng):
        landmarks = where(rng, count)
        return landmarks + rng.uniform(-0.05, 0.05, count), landmarks

    assert rejections(matched, 400) >= 0.85


def test_the_p_value_is_never_zero_and_says_what_a_close_match_would_give():
    marks = np.array([1.5, 2.2, 2.9, 3.5])
    test = jitter_test(marks, marks, LOW, HIGH, np.random.default_rng(0))
    assert test.statistic == 0
    assert test.p_value == pytest.approx(1 / 5000)
    assert test.p_value < test.p_if_close < 0.05


def test_three_equally_far_events_have_the_p_value_of_their_irwin_hall_sum():
    marks = np.array([1.5, 2.5, 3.5])
    test = jitter_test(marks + 0.1, marks, 0.0, 5.0, np.random.default_rng(0))
    # an event sees its landmark at U(-0.3, 0.5): the distance has density 2.5 below 0.3, so that the sum of three is
    # below 3 * 0.1 with probability 2.5^3 0.3^3 / 6 (a simplex); 4 standard errors of 4,999 draws
    exact = 2.5**3 * 0.3**3 / 6
    assert abs(test.p_value - exact) < 4 * np.sqrt(exact * (1 - exact) / 4999)


def test_holm_multiplies_the_smallest_by_all_and_never_decreases():
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_shuffle_test_counts_pairings_at_least_as_good():
    table = np.array([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]])
    assert shuffle_test(table, np.random.default_rng(0)) == pytest.approx(1 / 6)
    assert shuffle_test(np.ones((5, 5)), np.random.default_rng(0)) == 1


def test_overlapping_neighbourhoods_are_counted_once():
    assert share_near(np.array([2.1, 2.0]), 1.0, 4.0, 0.2) == pytest.approx(0.5 / 3)
    assert share_near(np.array([]), 1.0, 4.0, 0.2) == 0
