"""What must not matter to the stages of a curve, and what must turn round with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slt.stages import Boundary, detect_stages
from slt.synthetic import Sampling, smooth_steps
from slt.trajectory import Trajectory

OTHER_WAY = {"peak": "trough", "trough": "peak", "shelf": "shelf", "rise": "fall", "fall": "rise", "flat": "flat"}


def curve(seed: int, chains: int = 5) -> Trajectory:
    return smooth_steps(Sampling(points=80, noise=0.005, chains=chains), seed=seed).trajectory


def scaled(trajectory: Trajectory, scale: float, shift: float) -> Trajectory:
    chains = trajectory.llc_chains
    return replace(
        trajectory,
        llc=scale * trajectory.llc + shift,
        llc_chains=None if chains is None else scale * chains + shift,
        llc_std_error=None,
    )


def places(boundaries: tuple[Boundary, ...]) -> np.ndarray:
    return np.array([[b.step, b.low, b.high, b.probability, b.onset.step] for b in boundaries])


@given(seed=st.integers(0, 50), scale=st.sampled_from([1e-6, 0.3, 7.0, 1e6]), shift=st.sampled_from([0.0, -3.0, 50.0]))
@settings(max_examples=12, deadline=None)
def test_shift_and_scale_do_not_matter(seed: int, scale: float, shift: float) -> None:
    before = detect_stages(curve(seed), draws=100)
    after = detect_stages(scaled(curve(seed), scale, scale * shift), draws=100)
    # rounding can move a draw from one cell or segment to the next, and with it a share of 1 in 100
    assert len(after.boundaries) == len(before.boundaries)
    np.testing.assert_allclose(places(after.boundaries), places(before.boundaries), rtol=0.03)
    assert [stage.kind for stage in after.stages] == [stage.kind for stage in before.stages]


@pytest.mark.parametrize("seed", range(6))
def test_reversing_the_sign_turns_peaks_into_troughs(seed: int) -> None:
    # lines are drawn with the same random numbers, not with reversed ones: places agree to a good part of an interval
    before = detect_stages(curve(seed))
    after = detect_stages(scaled(curve(seed), -1.0, 0.0))
    assert [OTHER_WAY[boundary.kind] for boundary in after.boundaries] == [b.kind for b in before.boundaries]
    assert [OTHER_WAY[stage.kind] for stage in after.stages] == [stage.kind for stage in before.stages]
    np.testing.assert_allclose(
        np.log10([b.step for b in after.boundaries]), np.log10([b.step for b in before.boundaries]), atol=0.05
    )


@pytest.mark.parametrize("factor", [1e-3, 64.0, 1e9])
def test_the_unit_of_the_step_does_not_matter(factor: float) -> None:
    trajectory = curve(3)
    before = detect_stages(trajectory)
    after = detect_stages(replace(trajectory, steps=factor * trajectory.steps))
    np.testing.assert_allclose(
        [b.step / factor for b in after.boundaries], [b.step for b in before.boundaries], rtol=0.02
    )


@pytest.mark.parametrize("shift", [0.0, 12_345.0])
def test_on_a_linear_axis_the_first_step_does_not_matter(shift: float) -> None:
    trajectory = smooth_steps(Sampling(points=120, noise=0.002, grid="linear"), bursts=3, seed=0).trajectory
    before = detect_stages(trajectory, axis="linear")
    after = detect_stages(replace(trajectory, steps=trajectory.steps + shift), axis="linear")
    assert len(before.boundaries) == 2
    np.testing.assert_allclose(
        [b.step - shift for b in after.boundaries], [b.step for b in before.boundaries], atol=500
    )


def test_step_zero_does_not_matter_on_a_log_axis() -> None:
    trajectory = curve(2, chains=0)
    more = Trajectory(np.append(0.0, trajectory.steps), np.append(99.0, trajectory.llc))
    assert detect_stages(more).boundaries == detect_stages(trajectory).boundaries


def test_same_seed_same_stages_and_another_seed_nearly_so() -> None:
    trajectory = curve(1)
    first, again, other = (detect_stages(trajectory, seed=seed) for seed in (0, 0, 1))
    assert first.to_dict(with_draws=True) == again.to_dict(with_draws=True)
    assert not np.array_equal(first.boundary_draws, other.boundary_draws)
    np.testing.assert_allclose(
        np.log10([b.step for b in other.boundaries]), np.log10([b.step for b in first.boundaries]), atol=0.05
    )


def test_the_order_of_chains_does_not_matter_much() -> None:
    trajectory = curve(1)
    turned = replace(trajectory, llc_chains=trajectory.llc_chains[:, ::-1])
    np.testing.assert_allclose(
        np.log10([b.step for b in detect_stages(turned).boundaries]),
        np.log10([b.step for b in detect_stages(trajectory).boundaries]),
        atol=0.05,
    )


def test_an_offset_of_a_chain_does_not_matter() -> None:
    """Frozen offsets, as common random numbers leave them, are not noise of the curve."""
    trajectory = curve(1)
    offset = 3.0 * np.random.default_rng(0).standard_normal(5)
    moved = trajectory.llc_chains + offset - offset.mean()
    before = detect_stages(trajectory)
    after = detect_stages(replace(trajectory, llc_chains=moved))
    assert len(before.boundaries) == len(after.boundaries) >= 1
    np.testing.assert_allclose(places(after.boundaries), places(before.boundaries), rtol=0.03)
