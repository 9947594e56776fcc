"""The Gaussian process on the slope: its evidence against the Gaussian it is, its draws against the curve."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from slt import slope_process
from slt.slope_process import SlopeProcess

X = np.sort(np.concatenate([np.linspace(1.0, 4.0, 30), [2.01, 2.0100001]]))
NOISE = np.full(len(X), 0.02)


def curve(seed: int = 0) -> np.ndarray:
    return 3.0 + np.tanh(2 * (X - 2.5)) + NOISE * np.random.default_rng(seed).standard_normal(len(X))


def test_the_evidence_is_that_of_the_gaussian_with_the_same_covariance() -> None:
    y = curve()
    process = SlopeProcess(X, y[None], NOISE)
    unit, log = float(np.ptp(y)), []
    for prior_K in process._prior_HK:
        root_TK = unit * process._values(X) * prior_K
        covariance = root_TK @ root_TK.T + np.diag(NOISE**2)
        log.append(multivariate_normal(np.zeros(len(X)), covariance).logpdf(y - y.mean()))
    assert process.log_evidence_B[0] == pytest.approx(np.logaddexp.reduce(log) - np.log(len(log)), rel=1e-6)


def test_draws_follow_the_curve_and_their_slopes_are_its_differences() -> None:
    y_BT = np.stack([curve(0), 10.0 + curve(1)])
    process = SlopeProcess(X, y_BT, NOISE)
    value_DT, slope_DI = process.draw(np.random.default_rng(0), 300)
    assert value_DT.shape == (600, len(X))
    # rises over the tiny gap cancel to the last digits: compared over the others
    wide = np.diff(X) > 1e-3
    np.testing.assert_allclose(slope_DI[:, wide], (np.diff(value_DT) / np.diff(X))[:, wide], atol=1e-6)
    truth = 3.0 + np.tanh(2 * (X - 2.5))
    np.testing.assert_allclose(value_DT[:300].mean(axis=0), truth, atol=3 * 0.02)
    np.testing.assert_allclose(value_DT[300:].mean(axis=0), 10.0 + truth, atol=3 * 0.02)


def test_its_deviation_is_that_of_its_draws() -> None:
    process = SlopeProcess(X, curve()[None], NOISE)
    value_DT, _ = process.draw(np.random.default_rng(0), 2000)
    # draws take all lengths and heights, the deviation the best pair of them: a fifth apart at most
    together = np.sqrt((process.deviation_T**2).mean())
    assert together == pytest.approx(np.sqrt(value_DT.var(axis=0).mean()), rel=0.2)
    assert process.deviation_T == pytest.approx(value_DT.std(axis=0), rel=0.3)  # at single points a little more


@pytest.mark.parametrize("scale", [1e-90, 1.0, 1e90])
def test_the_unit_of_the_curve_does_not_matter(scale: float) -> None:
    one, other = (SlopeProcess(X, curve()[None] * s, NOISE * s) for s in (1.0, scale))
    assert other.log_evidence_B + len(X) * np.log(scale) == pytest.approx(one.log_evidence_B)
    assert other.deviation_T == pytest.approx(scale * one.deviation_T)


def test_a_span_of_hundreds_of_decades_needs_no_more_functions_than_one_of_ten() -> None:
    x = np.linspace(-300.0, 300.0, 60)
    wide = SlopeProcess(x, np.tanh(x)[None], np.full(60, 0.01))
    assert wide._prior_HK.shape[1] <= 2 + slope_process.HIGHEST / slope_process.OVER_SPAN / np.pi
