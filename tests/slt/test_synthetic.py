"""Synthetic curves are what they say."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from slt.synthetic import Sampling, SyntheticCurve, jumps, null, ramps, smooth_steps

CLEAN = Sampling(points=4001, noise=0.0)


def speed(curve: SyntheticCurve) -> tuple[np.ndarray, np.ndarray]:
    x = np.log10(curve.trajectory.steps)
    return x, np.abs(np.gradient(curve.trajectory.llc, x))


@pytest.mark.parametrize("seed", range(10))
def test_boundaries_are_slow_and_onsets_are_at_half_speed(seed: int) -> None:
    curve = smooth_steps(CLEAN, seed=seed)
    x, fast = speed(curve)
    edges = np.log10([curve.trajectory.steps[0], *curve.boundaries, curve.trajectory.steps[-1]])
    burst = [fast[(x >= a) & (x < b)].max() for a, b in pairwise(edges)]
    for k, (boundary, onset) in enumerate(zip(np.log10(curve.boundaries), np.log10(curve.onsets), strict=True)):
        assert np.interp(boundary, x, fast) < 0.6 * min(burst[k], burst[k + 1])
        assert np.interp(onset, x, fast) == pytest.approx(0.5 * burst[k + 1], rel=0.02)
        assert boundary < onset


@pytest.mark.parametrize(("signs", "turns"), [("rising", False), ("alternating", True)])
def test_signs_decide_between_shelves_and_turning_points(signs: str, turns: bool) -> None:
    curve = smooth_steps(CLEAN, signs=signs, bursts=4, seed=3)
    llc = curve.trajectory.llc
    reversals = int((np.diff(np.sign(np.diff(llc)[np.abs(np.diff(llc)) > 1e-9])) != 0).sum())
    assert reversals == (3 if turns else 0)


@pytest.mark.parametrize("make", [smooth_steps, ramps, jumps])
def test_noise_is_a_share_of_the_range(make) -> None:
    clean, noisy = make(CLEAN, seed=1), make(Sampling(points=4001, noise=0.03), seed=1)
    assert np.ptp(clean.trajectory.llc) == pytest.approx(1.0, abs=1e-6)
    # standard error of a standard deviation from 4,001 points is 1.1 %
    assert np.std(noisy.trajectory.llc - clean.trajectory.llc) == pytest.approx(0.03, rel=0.045)
    np.testing.assert_array_equal(clean.boundaries, noisy.boundaries)


def test_correlated_noise_has_its_correlation_and_variance() -> None:
    noise = null(Sampling(points=20_000, correlation=0.5), seed=0).trajectory.llc
    # standard errors about 0.006 and 0.011
    assert np.corrcoef(noise[1:], noise[:-1])[0, 1] == pytest.approx(0.5, abs=0.025)
    assert noise.std() == pytest.approx(1.0, abs=0.045)


def test_a_null_has_no_boundary() -> None:
    assert not len(null(seed=0).boundaries)
    assert not len(null(seed=0).onsets)


def test_chains_with_common_noise_differ_by_frozen_offsets_only() -> None:
    chains = smooth_steps(Sampling(chains=5), seed=0).trajectory.llc_chains
    np.testing.assert_allclose(np.diff(chains - chains[:, :1], axis=0), 0.0, atol=1e-12)
    assert np.ptp(chains[0]) > 0


@pytest.mark.parametrize("common", [True, False])
def test_the_curve_is_the_mean_of_its_chains(common: bool) -> None:
    trajectory = ramps(Sampling(chains=6, common_noise=common), seed=0).trajectory
    np.testing.assert_allclose(trajectory.llc, trajectory.llc_chains.mean(axis=1))


def test_same_seed_same_curve() -> None:
    np.testing.assert_array_equal(smooth_steps(seed=4).trajectory.llc, smooth_steps(seed=4).trajectory.llc)
    assert not np.array_equal(smooth_steps(seed=4).trajectory.llc, smooth_steps(seed=5).trajectory.llc)


def test_the_mixed_grid_is_dense_late_and_the_linear_one_even() -> None:
    mixed = smooth_steps(Sampling(points=200, grid="mixed"), seed=0).trajectory.steps
    assert (mixed > 1e5).mean() > 0.4
    assert (mixed < 1e4).mean() > 0.2
    linear = smooth_steps(Sampling(grid="linear"), seed=0)
    np.testing.assert_allclose(np.diff(linear.trajectory.steps), np.diff(linear.trajectory.steps)[0])
    assert linear.axis == "linear"
