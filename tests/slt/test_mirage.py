"""Jump in the model or in the ruler: closed cases, the cause of a published mirage, and refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from slt.errors import TrajectoryError
from slt.mirage import mirage, transition
from slt.trajectory import Trajectory

STEPS = np.geomspace(10, 1e5, 120)
X = np.log10(STEPS)
NOISE = 0.002 * np.random.default_rng(0).standard_normal(120)


def curve(values: np.ndarray) -> Trajectory:
    return Trajectory(STEPS, values + NOISE)


def rise(middle: float, rate: float) -> np.ndarray:
    return 1 / (1 + np.exp(-rate * (X - middle)))


def test_the_width_of_a_logistic_is_the_closed_form() -> None:
    found = transition(curve(rise(3.0, 6.0)))
    # from 10 % to 90 % a logistic of rate r takes 2 ln 9 / r
    assert found.decades == pytest.approx(2 * np.log(9) / 6, abs=0.05)
    assert np.log10(found.start) == pytest.approx(3 - np.log(9) / 6, abs=0.05)
    assert found.change == pytest.approx(1.0, abs=0.02)


def test_a_power_of_a_smooth_probability_is_a_jump_of_the_ruler() -> None:
    """Exact match on twenty tokens is p^20 (Schaeffer et al. 2023); p itself grows evenly over four decades."""
    p = 0.05 + 0.95 * (X - 1) / 4
    for smooth in (p, -np.log(p)):
        found = mirage(curve(p**20), curve(smooth))
        assert found.verdict == "ruler"
        assert found.done_before > 0.5
        assert "in the ruler" in found.sentence
    # p^20 = 0.1 and 0.9 lie at p = 0.8913 and 0.9947
    assert found.sharp.decades == pytest.approx(4 * (0.9947 - 0.8913) / 0.95, abs=0.05)


def test_where_both_jump_together_the_jump_is_the_models() -> None:
    found = mirage(curve(rise(3.0, 20.0)), curve(2.3 * (1 - rise(3.0, 18.0))))
    assert found.verdict == "model"
    assert found.smooth.change == pytest.approx(-2.3, abs=0.02)


def test_a_slow_tail_after_the_jump_is_no_mirage() -> None:
    slow_after = np.where(X < 3, 0.0, (X - 3) / 2)
    assert mirage(curve(rise(3.0, 40.0)), curve(slow_after)).verdict == "undecided"


def test_a_loss_that_first_rises_starts_to_move_when_it_falls_for_good() -> None:
    """Overfitting before grokking: the test loss climbs, and only its final fall is the transition."""
    climb = 0.5 * rise(2.0, 6.0)
    found = transition(curve(climb - 2.0 * rise(4.0, 12.0)))
    assert np.log10(found.start) > 3.5


def test_a_jump_between_two_checkpoints_is_as_wide_as_their_gap() -> None:
    found = transition(curve((X > 3).astype(float)))
    assert found.decades == pytest.approx(X[1] - X[0])


def test_direction_and_scale_do_not_matter() -> None:
    p = rise(3.0, 5.0)
    first, second = transition(curve(p)), transition(Trajectory(STEPS, 7 - 40 * (p + NOISE)))
    assert second.start == pytest.approx(first.start)
    assert second.decades == pytest.approx(first.decades)


def test_a_metric_that_does_not_change_is_refused() -> None:
    with pytest.raises(TrajectoryError, match=r"continuous metric changes by .* no transition"):
        mirage(curve(rise(3.0, 5.0)), curve(np.zeros(120)))
    with pytest.raises(TrajectoryError, match=r"thresholded metric has a value at 3 checkpoints"):
        mirage(curve(rise(3.0, 5.0)).select(slice(0, 3)), curve(X))


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=8, max_size=30))
@example([0.0, 20673.0, 1.15e-304, 0.0, 0.0, 0.0, 0.0, 0.0])
@example([0.0, 0.0, 0.0, 5e-324, 5e-324, 5e-324, 5e-324, 5e-324])
@example([-1e308, -1e308, -1e308, 0.0, 0.0, 1e308, 1e308, 1e308])
@settings(max_examples=150, deadline=None)
def test_any_curve_has_a_transition_inside_it_or_none(values: list[float]) -> None:
    steps = np.geomspace(1, 1e4, len(values))
    try:
        found = transition(Trajectory(steps, np.array(values)))
    except TrajectoryError:
        return
    assert 1 - 1e-9 <= found.start <= found.end * (1 + 1e-9) <= 1e4 * (1 + 1e-6)
    assert found.decades > 0
