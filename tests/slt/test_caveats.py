"""Warnings about what a curve cannot show."""

from __future__ import annotations

import numpy as np
import pytest

from slt.stages import detect_stages
from slt.synthetic import Sampling, jumps, smooth_steps
from slt.trajectory import Trajectory


def noise_with_a_spike(seed: int) -> Trajectory:
    values = np.random.default_rng(seed).standard_normal(100)
    values[50] += 25.0
    return Trajectory(steps=np.logspace(1, 5, 100), llc=values)


@pytest.mark.parametrize("seed", range(5))
def test_one_wild_checkpoint_is_named_and_makes_no_boundary(seed: int) -> None:
    stages = detect_stages(noise_with_a_spike(seed))
    assert not stages.boundaries
    assert any("1,048" in warning and "far off" in warning for warning in stages.warnings)


@pytest.mark.parametrize("seed", range(5))
def test_jumps_and_smooth_steps_are_no_wild_checkpoints(seed: int) -> None:
    smooth = [smooth_steps(Sampling(points=100, noise=noise), seed=seed) for noise in (0.0, 0.0002, 0.01)]
    for curve in (jumps(Sampling(points=100, noise=0.01), seed=seed), *smooth):
        warnings = detect_stages(curve.trajectory).warnings
        assert not any("far off" in warning for warning in warnings)


def test_without_chains_a_reader_is_told_that_lasting_noise_cannot_be_seen() -> None:
    curve = smooth_steps(Sampling(points=100, chains=6), bursts=3, seed=1).trajectory
    bare = Trajectory(steps=curve.steps, llc=curve.llc)
    assert any("no chains" in warning for warning in detect_stages(bare).warnings)
    assert not any("no chains" in warning for warning in detect_stages(curve).warnings)


@pytest.mark.parametrize("turned", [False, True])
def test_where_a_lopsided_peak_is_highest_is_said(turned: bool) -> None:
    x = np.linspace(0, 4, 120)
    lopsided = np.interp(x, [0, 1, 2, 3, 3.4, 4], [0, 0, 20, 16, 2, 2])  # up, slowly down for a decade, down
    even = np.interp(x, [0, 1, 2, 2.1, 3.1, 4], [0, 0, 20, 20, 0, 0])
    for values, said in ((lopsided, True), (even, False)):
        noisy = values + 0.1 * np.random.default_rng(0).standard_normal(len(x))
        stages = detect_stages(Trajectory(steps=10**x, llc=-noisy if turned else noisy))
        kind = "trough" if turned else "peak"
        assert kind in [boundary.kind for boundary in stages.boundaries]
        assert said == any(warning.startswith(f"the {kind} dated") for warning in stages.warnings)
