"""Checkpoints as they arrive: settled boundaries stay, and are those of the whole curve."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from slt.errors import TrajectoryError
from slt.online import OnlineDetector, Settled
from slt.stages import detect_stages
from slt.synthetic import LINEAR_STEP, Sampling, SyntheticCurve, null, smooth_steps


def fed(made: SyntheticCurve, axis: str = "log") -> tuple[list[tuple[Settled, ...]], OnlineDetector]:
    detector = OnlineDetector(axis=axis)
    trajectory = made.trajectory
    chains = trajectory.llc_chains if trajectory.llc_chains is not None else [None] * len(trajectory)
    return [detector.update(*row) for row in zip(trajectory.steps, trajectory.llc, chains, strict=True)], detector


@pytest.fixture(scope="module")
def run() -> tuple[SyntheticCurve, list[tuple[Settled, ...]], OnlineDetector]:
    made = smooth_steps(Sampling(points=80, noise=0.003), bursts=3, seed=5)
    return made, *fed(made)


def test_what_is_settled_stays(run: tuple[SyntheticCurve, list[tuple[Settled, ...]], OnlineDetector]) -> None:
    _, history, detector = run
    assert all(later[: len(earlier)] == earlier for earlier, later in pairwise(history))
    assert history[-1] == detector.settled


def test_settled_boundaries_are_those_of_the_whole_curve(
    run: tuple[SyntheticCurve, list[tuple[Settled, ...]], OnlineDetector],
) -> None:
    made, history, _ = run
    found = [each.boundary.step for each in history[-1]]
    whole = [boundary.step for boundary in detect_stages(made.trajectory).boundaries]
    assert len(found) == len(whole) == 2
    np.testing.assert_allclose(np.log10(found), np.log10(whole), atol=0.1)


def test_nothing_settles_long_before_the_next_burst_has_half_its_speed(
    run: tuple[SyntheticCurve, list[tuple[Settled, ...]], OnlineDetector],
) -> None:
    made, history, _ = run
    for settled, onset in zip(history[-1], made.onsets, strict=True):
        assert np.log10(settled.at / onset) > -0.1
        assert settled.delay >= 0.1  # it had to hold as long
        assert settled.delay == pytest.approx(np.log10(settled.at / settled.boundary.step))


@pytest.mark.slow
def test_settled_boundaries_of_fifteen_curves_are_found_on_the_whole_curve() -> None:
    """Curves on which no constant of the rule was set."""
    near = []
    for seed in range(100, 115):
        made = smooth_steps(Sampling(points=100, noise=0.01 if seed % 2 else 0.002), seed=seed)
        _, detector = fed(made)
        whole = [boundary.step for boundary in detect_stages(made.trajectory).boundaries]
        near += [
            np.abs(np.log10(np.array(whole) / settled.boundary.step)).min(initial=np.inf) <= 0.1
            for settled in detector.settled
        ]
    assert len(near) >= 25
    assert all(near)


def test_noise_settles_nothing() -> None:
    # a null curve has a boundary with probability from 0.5 in at most 7 of 100; here one has to last
    for seed in range(4):
        assert fed(null(Sampling(points=60), seed=seed))[1].settled == ()


def test_a_linear_axis_and_chains_work_too() -> None:
    made = smooth_steps(Sampling(points=60, noise=0.003, grid="linear", chains=4), bursts=2, seed=3)
    _, detector = fed(made, axis="linear")
    [settled] = detector.settled
    # settled when two thirds of the range were known, where a tenth of a unit is less
    assert abs(settled.boundary.step - made.boundaries[0]) < 0.15 * LINEAR_STEP


def test_missing_values_are_taken_in_and_left_out() -> None:
    made = smooth_steps(Sampling(points=60, noise=0.003), bursts=2, seed=3)
    detector = OnlineDetector()
    for index, (step, value) in enumerate(zip(made.trajectory.steps, made.trajectory.llc, strict=True)):
        detector.update(step, float("nan") if index % 10 == 4 else value)
    assert len(detector.settled) == len(made.boundaries)


def test_few_checkpoints_have_no_stages_yet() -> None:
    detector = OnlineDetector()
    assert [detector.update(step, 1.0) for step in range(1, 8)] == [()] * 7
    assert detector.stages is None


def test_a_step_back_is_refused_and_changes_nothing() -> None:
    detector = OnlineDetector()
    detector.update(10, 1.0)
    with pytest.raises(TrajectoryError, match="is followed by 5"):
        detector.update(5, 2.0)
    detector.update(20, 2.0)


def test_chains_that_come_and_go_are_refused() -> None:
    detector = OnlineDetector()
    detector.update(10, 1.0, [1.0, 1.1])
    for chains in (None, [1.0]):
        with pytest.raises(TrajectoryError, match="same chains"):
            detector.update(20, 1.0, chains)


@pytest.mark.parametrize("row", [("ten", 1.0), (20, "high"), (20, 1.0, 3.0), (20, 1.0, ["x", 2])])
def test_what_is_no_number_is_refused_and_changes_nothing(row: tuple[object, ...]) -> None:
    detector = OnlineDetector()
    with pytest.raises(TrajectoryError, match=r"is not an array of numbers|needs 1 axis"):
        detector.update(*row)  # type: ignore[arg-type]
    detector.update(10, 1.0)


def test_an_unknown_axis_is_refused_at_once() -> None:
    with pytest.raises(TrajectoryError, match="'square' is not one of: log, linear"):
        OnlineDetector(axis="square")
