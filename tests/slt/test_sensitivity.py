"""The one knob: boundaries expected on noise alone."""

from __future__ import annotations

import numpy as np
import pytest

from slt.errors import BadInput
from slt.sensitivity import DEFAULT, PER_NULL, probability_for
from slt.stages import FIRST_CLASS, detect_stages
from slt.synthetic import Sampling, null, smooth_steps


def test_fewer_false_boundaries_ask_for_a_higher_probability() -> None:
    asked = np.geomspace(max(PER_NULL.values()), min(PER_NULL.values()), 20)
    needed = [probability_for(float(np.clip(count, min(PER_NULL.values()), max(PER_NULL.values())))) for count in asked]
    assert needed == sorted(needed)
    assert (needed[0], needed[-1]) == pytest.approx((min(PER_NULL), max(PER_NULL)))


def test_the_default_is_the_detectors_own() -> None:
    assert DEFAULT == FIRST_CLASS
    assert max(PER_NULL) < DEFAULT


@pytest.mark.slow
def test_a_null_curve_has_as_many_boundaries_as_asked_for() -> None:
    """Fresh curves; counts of rare events vary by their root, and 4 of those are allowed."""
    curves, asked = 200, 0.2
    probability = probability_for(asked)
    found = sum(
        len(detect_stages(null(Sampling(points=100), seed=seed).trajectory, probability=probability).boundaries)
        for seed in range(curves)
    )
    assert abs(found - asked * curves) < 4 * np.sqrt(asked * curves)


def test_a_boundary_that_is_not_named_stays_tentative() -> None:
    trajectory = smooth_steps(Sampling(points=80, noise=0.03), bursts=3, signs="rising", seed=7).trajectory
    ready, strict = (detect_stages(trajectory, probability=p) for p in (0.2, 0.99))
    everything = sorted(boundary.step for boundary in ready.boundaries)
    assert everything
    assert ready.tentative == ()
    assert sorted(b.step for b in (*strict.boundaries, *strict.tentative)) == everything
    assert len(strict.boundaries) < len(everything)
    assert len(strict.stages) == len(strict.boundaries) + 1


@pytest.mark.parametrize("count", [0.0, -1.0, 1e-6, 5.0, float("nan")])
def test_what_was_not_counted_is_refused(count: float) -> None:
    with pytest.raises(BadInput, match="cannot be had; the detector was calibrated from"):
        probability_for(count)
