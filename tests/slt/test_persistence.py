"""Persistent minima of a speed, and the onset of bursts."""

from __future__ import annotations

import numpy as np
import pytest

from slt.persistence import DIP, burst_maxima, burst_onsets, persistent_minima

X = np.linspace(0, 1, 300)


def bumps(*parts: tuple[float, float, float]) -> np.ndarray:
    """(1, 300) a sum of Gaussian bursts: (height, centre, width)."""
    return sum(h * np.exp(-0.5 * ((X - c) / w) ** 2) for h, c, w in parts)[None]


def test_two_bursts_have_one_minimum_between_them() -> None:
    found = persistent_minima(bumps((1, 0.3, 0.07), (1, 0.7, 0.07)))
    assert found.middle_M == pytest.approx([149.5], abs=1)
    assert found.before_M == pytest.approx([90], abs=1)
    assert found.after_M == pytest.approx([209], abs=1)
    assert found.until_M.tolist() == [300]


def test_one_burst_has_no_minimum_however_deep_its_ends() -> None:
    assert not len(persistent_minima(bumps((1, 0.5, 0.05))).draw_M)


def test_a_constant_speed_has_no_minimum() -> None:
    assert not len(persistent_minima(np.full((2, 300), 3.0)).draw_M)
    assert not len(persistent_minima(np.zeros((2, 300))).draw_M)


@pytest.mark.parametrize(("share", "count"), [(DIP - 0.1, 1), (DIP + 0.1, 0)])
def test_a_dip_counts_from_a_set_share_of_the_bursts(share: float, count: int) -> None:
    speed = np.where((X > 0.4) & (X < 0.6), share, 1.0)[None]
    assert len(persistent_minima(speed).draw_M) == count


def test_a_burst_without_mass_makes_no_minimum() -> None:
    assert not len(persistent_minima(bumps((1, 0.3, 0.1), (1, 0.9, 0.0001))).draw_M)


def test_a_shallow_minimum_goes_and_the_deep_ones_stay() -> None:
    # between the first two the speed falls only to 0.8 of them
    found = persistent_minima(bumps((1, 0.2, 0.05), (0.9, 0.3, 0.05), (1, 0.7, 0.05)))
    assert len(found.cell_M) == 1
    assert 120 < found.middle_M[0] < 180


def test_a_level_rest_is_dated_at_its_middle() -> None:
    speed = np.where((X < 0.2) | (X > 0.5), 1.0, 0.0)[None]
    inside = np.flatnonzero(speed[0] == 0)
    assert persistent_minima(speed).middle_M == pytest.approx([inside.mean()])


def test_draws_do_not_mix() -> None:
    some = [bumps((1, 0.3, 0.07), (1, 0.7, 0.07)), bumps((1, 0.5, 0.05)), bumps((1, 0.2, 0.05), (2, 0.6, 0.05))]
    together = persistent_minima(np.concatenate(some))
    assert together.draw_M.tolist() == [0, 2]
    for draw in (0, 2):
        alone = persistent_minima(some[draw])
        assert together.middle_M[together.draw_M == draw] == pytest.approx(alone.middle_M)


def test_speed_has_no_unit() -> None:
    speed = np.abs(np.random.default_rng(0).standard_normal((20, 30))).repeat(10, axis=1)
    for scale in (1e-6, 3.7, 1e6):
        assert persistent_minima(scale * speed).cell_M.tolist() == persistent_minima(speed).cell_M.tolist()


def test_a_burst_begins_at_about_half_of_its_speed() -> None:
    speed = np.clip(X - 0.3, 0, 0.2)[None]  # half of its greatest value at 0.4
    whole = np.array([0]), np.array([10]), np.array([300])
    cell = burst_onsets(speed, burst_maxima(speed, *whole), *whole)
    assert pytest.approx(0.4, abs=0.015) == X[cell[0]]


def test_a_burst_is_looked_for_in_its_own_cells_only() -> None:
    speed = bumps((5, 0.1, 0.02), (1, 0.6, 0.05), (9, 0.9, 0.02))
    middle = np.array([0]), np.array([90]), np.array([230])
    greatest = burst_maxima(speed, *middle)
    assert greatest == pytest.approx([1.0], abs=1e-3)
    assert 150 < burst_onsets(speed, greatest, *middle)[0] < 175
    assert burst_onsets(speed, np.array([100.0]), *middle).tolist() == [90]


@pytest.mark.parametrize(("smallest", "count"), [(0.1, 1), (0.4, 0)])
def test_a_burst_must_amount_to_what_is_known_to_be_one(smallest: float, count: int) -> None:
    speed = bumps((1, 0.3, 0.07), (0.4, 0.7, 0.07))
    found = persistent_minima(speed, np.full_like(speed, smallest * speed.sum()))
    assert len(found.draw_M) == count


def test_a_burst_is_held_against_the_noise_where_it_is() -> None:
    speed = bumps((1, 0.2, 0.05), (1, 0.4, 0.05), (9, 0.9, 0.03))
    noisy = np.where(X > 0.7, speed.sum(), 1e-3 * speed.sum())
    assert len(persistent_minima(speed).draw_M) == 2
    assert persistent_minima(speed, noisy).middle_M == pytest.approx([90], abs=2)  # the last burst may be noise
    assert not len(persistent_minima(speed, np.full_like(speed, noisy.max())).draw_M)
