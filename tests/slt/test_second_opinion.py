"""The Gaussian process: what it sees, and what it confirms."""

from __future__ import annotations

import numpy as np
import pytest

from slt.errors import TrajectoryError
from slt.second_opinion import confirmed, second_opinion
from slt.stages import Boundary, Stage, Stages, detect_stages
from slt.synthetic import LINEAR_STEP, Sampling, smooth_steps
from slt.trajectory import Trajectory


def found_by(*steps: float, axis: str = "log") -> Stages:
    boundaries = tuple(Boundary(step, step, step, 1.0, "peak") for step in steps)
    return Stages(boundaries, (), (Stage(0.0, 1000.0, "rise", 1.0),), (), axis)


@pytest.mark.parametrize("seed", range(5))
def test_it_finds_every_boundary_of_a_clear_smooth_curve(seed: int) -> None:
    made = smooth_steps(Sampling(points=100, noise=0.002), seed=seed)
    opinion = second_opinion(made.trajectory)
    assert len(opinion) == len(made.boundaries)
    np.testing.assert_allclose(np.log10(opinion), np.log10(made.boundaries), atol=0.1)


def test_it_works_on_a_linear_axis() -> None:
    made = smooth_steps(Sampling(points=100, noise=0.002, grid="linear"), bursts=3, seed=1)
    opinion = second_opinion(made.trajectory, axis="linear")
    np.testing.assert_allclose(opinion, made.boundaries, atol=0.1 * LINEAR_STEP)
    assert confirmed(detect_stages(made.trajectory, axis="linear"), opinion) == (True, True)


def test_what_it_confirms_is_right_more_often_than_what_it_does_not() -> None:
    """On 3 % noise, where the detector errs often enough to be told apart."""
    right: dict[bool, list[bool]] = {True: [], False: []}
    for seed in range(40):
        made = smooth_steps(Sampling(points=50, noise=0.03), seed=seed)
        stages = detect_stages(made.trajectory, draws=100)
        for boundary, agreed in zip(stages.boundaries, confirmed(stages, second_opinion(made.trajectory)), strict=True):
            right[agreed].append(bool(np.abs(np.log10(made.boundaries / boundary.step)).min() <= 0.1))
    assert min(len(right[True]), len(right[False])) >= 5
    assert np.mean(right[True]) > np.mean(right[False])


def test_one_opinion_confirms_one_boundary_within_a_tenth_of_a_decade() -> None:
    assert confirmed(found_by(100.0, 110.0, 1000.0), np.array([112.0, 1300.0])) == (False, True, False)
    assert confirmed(found_by(100.0), np.array([125.0])) == (True,)
    assert confirmed(found_by(100.0), np.array([127.0])) == (False,)


def test_on_a_linear_axis_a_fiftieth_of_the_range_is_the_tolerance() -> None:
    assert confirmed(found_by(500.0, axis="linear"), np.array([519.0])) == (True,)
    assert confirmed(found_by(500.0, axis="linear"), np.array([521.0])) == (False,)


def test_no_opinion_confirms_nothing_and_no_boundary_needs_none() -> None:
    assert confirmed(found_by(100.0), np.empty(0)) == (False,)
    assert confirmed(found_by(), np.array([100.0])) == ()


def test_a_constant_curve_has_no_second_opinion_and_too_few_points_are_refused() -> None:
    assert len(second_opinion(Trajectory(np.geomspace(1, 1e4, 20), np.ones(20)))) == 0
    with pytest.raises(TrajectoryError, match="too few"):
        second_opinion(Trajectory(np.arange(1.0, 5.0), np.ones(4)))
