"""Advice: where more checkpoints or draws would sharpen a boundary, and that they do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from slt.advice import advise
from slt.stages import detect_stages
from slt.synthetic import Sampling, smooth_steps
from slt.trajectory import Trajectory

DENSE = smooth_steps(Sampling(points=400, noise=0.002), bursts=3, seed=2)


def test_a_sharp_boundary_needs_nothing() -> None:
    trajectory = smooth_steps(Sampling(points=250, noise=0.002), bursts=3, seed=2).trajectory
    assert advise(trajectory, detect_stages(trajectory)) == ()


def test_thin_places_get_new_steps_around_the_boundary() -> None:
    thin = DENSE.trajectory.select(slice(None, None, 10))
    stages = detect_stages(thin)
    advice = [each for each in advise(thin, stages) if each.action == "more checkpoints"]
    assert [each.boundary for each in advice] == [boundary.step for boundary in stages.boundaries]
    for each in advice:
        assert np.abs(np.log10(np.array(each.steps) / each.boundary)).max() <= 0.15
        assert not set(each.steps) & set(thin.steps)


def test_advice_that_is_followed_is_not_repeated() -> None:
    thin = DENSE.trajectory.select(slice(None, None, 10))
    stages = detect_stages(thin)
    new = [step for each in advise(thin, stages) if each.action == "more checkpoints" for step in each.steps]
    steps = np.unique(np.concatenate([thin.steps, new]))
    followed = Trajectory(steps, np.interp(np.log10(steps), np.log10(DENSE.trajectory.steps), DENSE.trajectory.llc))
    assert [each for each in advise(followed, stages) if each.action == "more checkpoints"] == []


def test_a_large_standard_error_asks_for_as_many_more_draws_as_it_takes() -> None:
    stages = detect_stages(DENSE.trajectory)
    change = min(abs(stage.change) for stage in stages.stages[:2])
    loud = replace(DENSE.trajectory, llc_std_error=np.full(400, 0.2 * change))
    first = advise(loud, stages)[0]
    assert first.action == "more draws"
    assert "4 times the draws" in first.reason  # twice too large an error takes four times the draws
    assert set(first.steps) <= set(loud.steps)


def test_a_doubtful_boundary_asks_for_less_noise() -> None:
    noisy = smooth_steps(Sampling(points=200, noise=0.03), bursts=4, seed=3).trajectory
    stages = detect_stages(noisy)
    doubtful = [b.step for b in (*stages.boundaries, *stages.tentative) if b.probability < 0.9]
    asked = [each.boundary for each in advise(noisy, stages) if "its probability is" in each.reason]
    assert doubtful
    assert asked == sorted(doubtful)


def test_thin_places_on_a_linear_axis_get_new_steps_too() -> None:
    thin = smooth_steps(Sampling(points=40, noise=0.002, grid="linear"), bursts=3, seed=2).trajectory
    stages = detect_stages(thin, axis="linear")
    advice = [each for each in advise(thin, stages) if each.action == "more checkpoints"]
    assert [each.boundary for each in advice] == [boundary.step for boundary in stages.boundaries] != []
    near = 0.15 * np.ptp(thin.steps) / 5  # the whole axis counts as five decades
    for each in advice:
        assert np.abs(np.array(each.steps) - each.boundary).max() <= near + 1
        assert f"{near:,.0f} steps" in each.reason
