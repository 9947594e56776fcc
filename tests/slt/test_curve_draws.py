"""Which view of a curve its draws come from."""

from __future__ import annotations

import numpy as np

from slt.curve_draws import SMOOTH_SHARE, draw_curves
from slt.curves import curve_of
from slt.slope_process import SlopeProcess
from slt.synthetic import Sampling, SyntheticCurve, jumps, smooth_steps


def smooth_draws(made: SyntheticCurve) -> int:
    """Of 100 draws, those without a kink: their slope differs between all neighbouring gaps."""
    drawn = draw_curves(curve_of(made.trajectory, "log"), 100, np.random.default_rng(0))
    assert len(drawn) == 100
    return int((np.diff(drawn.slope_DI, axis=1) != 0).all(axis=1).sum())


def test_a_smooth_curve_has_six_draws_in_ten_of_a_smooth_slope_and_pieces_keep_the_rest() -> None:
    assert smooth_draws(smooth_steps(Sampling(points=100, noise=0.002), seed=1)) == 100 * SMOOTH_SHARE


def test_a_curve_of_jumps_has_none() -> None:
    assert smooth_draws(jumps(Sampling(points=100, noise=0.01), seed=1)) == 0


def test_a_rest_that_only_the_wandering_of_draws_interrupts_is_one() -> None:
    """A smooth slope wanders within the noise; no such wandering is a burst."""
    made = smooth_steps(Sampling(points=100, noise=0.03), bursts=2, signs="rising", seed=3)
    drawn = draw_curves(curve_of(made.trajectory, "log"), 200, np.random.default_rng(0))
    counted = np.bincount(drawn.minima().draw_M, minlength=len(drawn))
    assert np.median(counted) == 1


def test_chains_are_resampled_for_both_views() -> None:
    made = smooth_steps(Sampling(points=60, noise=0.002, chains=6), seed=1)
    curve = curve_of(made.trajectory, "log")
    drawn = draw_curves(curve, 200, np.random.default_rng(0))
    assert len(drawn) == 200
    np.testing.assert_allclose(drawn.fitted_T, curve.y_T, atol=5 * 0.002)
    assert SlopeProcess(curve.x_T, curve.y_T[None], np.full(60, 0.002)).deviation_T.max() < 0.002
