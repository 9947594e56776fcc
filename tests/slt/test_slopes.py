"""Slope draws on a uniform grid."""

from __future__ import annotations

import numpy as np
import pytest

from slt.partitions import PartitionPosterior
from slt.slopes import draw_lines, hann, on_grid


def drawn(x: np.ndarray, y: np.ndarray, noise: float, count: int = 300) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    posterior = PartitionPosterior(x, y[None], np.full((1, len(x)), noise))
    return draw_lines(posterior, posterior.draw(rng, count), count, rng)[:2]


def test_lines_follow_a_curve_of_straight_pieces() -> None:
    x = np.linspace(0, 5, 100)
    y = 7.0 + np.abs(x - 2.5)
    value, slope = drawn(x, y + 0.01 * np.random.default_rng(1).standard_normal(100), 0.01)
    # each piece holds 50 points: its line is known to 2 sd of 0.01 / sqrt(50) at its ends
    np.testing.assert_allclose(value.mean(axis=0), y, atol=0.015)
    np.testing.assert_allclose(slope.mean(axis=0)[[20, 80]], [-1, 1], atol=0.01)


def test_a_jump_between_two_points_keeps_its_height_on_the_grid() -> None:
    x = np.linspace(0, 5, 100)
    y = np.where(x < 2.5, 0.0, 1.0)
    _, slope = drawn(x, y + 0.001 * np.random.default_rng(1).standard_normal(100), 0.001)
    edges = np.linspace(0, 5, 38)  # cells wider than the gap
    rise = on_grid(x, slope, edges) * np.diff(edges)
    np.testing.assert_allclose(rise.max(axis=1), 1.0, atol=0.01)
    np.testing.assert_allclose(rise.sum(axis=1), 1.0, atol=0.02)


def test_a_kink_has_the_mean_of_both_slopes_in_its_gap() -> None:
    x = np.arange(40.0)
    _, slope = drawn(x, np.maximum(x - 19.5, 0), 1e-3)
    assert np.median(slope[:, 19]) == pytest.approx(0.5, abs=0.01)


def test_the_window_keeps_a_constant_and_the_total() -> None:
    slope = np.zeros((1, 100))
    slope[0, 50] = 1.0
    np.testing.assert_allclose(hann(np.full((2, 100), 3.0), 0.01, 0.04), 3.0)
    smooth = hann(slope, 0.01, 0.04)
    assert smooth.sum() == pytest.approx(1.0)
    assert np.flatnonzero(smooth[0]).tolist() == [47, 48, 49, 50, 51, 52, 53]


def test_a_window_narrower_than_a_cell_changes_nothing() -> None:
    slope = np.random.default_rng(0).standard_normal((2, 50))
    np.testing.assert_array_equal(hann(slope, 0.05, 0.04), slope)
