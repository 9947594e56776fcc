"""Noise of a curve, from its differences and from its chains."""

from __future__ import annotations

import numpy as np
import pytest

from slt.noise import BLOCK, FLOOR, SAFETY, differences, lasting_noise, local_noise


def uneven(points: int, rng: np.random.Generator) -> np.ndarray:
    return np.cumsum(rng.uniform(0.3, 1.7, points))


def test_differences_keep_the_variance_of_white_noise() -> None:
    rng = np.random.default_rng(0)
    found = differences(uneven(200, rng), 3.0 * rng.standard_normal((400, 200)))
    # neighbouring differences are correlated; the spread over 400 independent curves is the standard error
    per_curve = (found**2).mean(axis=1)
    assert per_curve.mean() == pytest.approx(9.0, abs=4 * per_curve.std() / 20)


def test_differences_do_not_see_a_parabola() -> None:
    x = uneven(50, np.random.default_rng(0))
    np.testing.assert_allclose(differences(x, 1.0 - 2.0 * x + 0.3 * x**2), 0.0, atol=1e-9)


def test_noise_is_found_on_a_curve_that_moves() -> None:
    rng = np.random.default_rng(1)
    x = np.sort(rng.uniform(0, 5, 200))
    y = 10 * np.tanh(x - 2.5) + 0.1 * rng.standard_normal((100, 200))
    found = np.median(local_noise(x, y)) / SAFETY
    # the median of 31 correlated differences is 3 % low, and gaps of random size cost a little: 10 % in all
    assert found == pytest.approx(0.1, rel=0.1)


def test_noise_that_grows_is_followed() -> None:
    rng = np.random.default_rng(2)
    x = np.linspace(0, 5, 300)
    found = local_noise(x, np.where(x < 2.5, 0.01, 0.1) * rng.standard_normal((50, 300))).mean(axis=0)
    assert found[250] > 4 * found[50]


def test_an_exact_curve_has_the_floor_as_noise() -> None:
    x = np.linspace(0, 5, 40)
    np.testing.assert_allclose(local_noise(x, 7.0 * x), SAFETY * FLOOR * 35.0)


def test_chains_with_frozen_offsets_have_no_lasting_noise() -> None:
    rng = np.random.default_rng(3)
    x = np.linspace(0, 5, 100)
    chains = np.sin(x)[:, None] + rng.standard_normal(10) + 0.3 * x[:, None] * rng.standard_normal(10)
    np.testing.assert_allclose(lasting_noise(x, chains), 0.0, atol=1e-9)


def test_lasting_noise_of_white_chains_is_that_of_their_mean() -> None:
    rng = np.random.default_rng(4)
    x = np.linspace(0, 5, 120)
    found = [np.mean(lasting_noise(x, rng.standard_normal((120, 8)))) / SAFETY for _ in range(100)]
    # standard error over 100 curves, plus 5 % because a median of few chains is no Gaussian's
    assert np.mean(found) == pytest.approx(1 / np.sqrt(8), abs=4 * np.std(found) / 10 + 0.05 / np.sqrt(8))


def test_noise_that_lasts_is_larger_than_single_checkpoints_tell() -> None:
    rng = np.random.default_rng(5)
    x = np.linspace(0, 5, 300)
    noise = rng.standard_normal((300, 20))
    for i in range(1, 300):
        noise[i] = 0.5 * noise[i - 1] + np.sqrt(0.75) * noise[i]
    assert np.mean(lasting_noise(x, noise)) > 1.4 * np.mean(local_noise(x, noise.mean(axis=1)))


def test_too_few_checkpoints_for_blocks_have_no_lasting_noise() -> None:
    x = np.arange(3.0 * BLOCK + BLOCK - 1)
    assert not lasting_noise(x, np.random.default_rng(0).standard_normal((len(x), 4))).any()
