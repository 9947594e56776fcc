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
