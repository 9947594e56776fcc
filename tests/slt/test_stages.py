"""detect_stages: what it finds, what it refuses, what it warns of."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from slt.errors import TrajectoryError
from slt.stages import Stages, detect_stages
from slt.synthetic import Sampling, SyntheticCurve, jumps, null, ramps, smooth_steps
from slt.trajectory import Trajectory

PUBLISHED = Path(__file__).parents[3] / "shared" / "data" / "llc_regression_seed1.csv"
PUBLISHED_STEPS = ((1000, 1500), (40_000,), (126_000,), (320_000,))
NEAR = 0.10  # decades

needs_published = pytest.mark.skipif(not PUBLISHED.exists(), reason="the published curve is not part of the project")


def matched(found: list[float], truth: np.ndarray) -> int:
    from scipy.optimize import linear_sum_assignment

    if not len(found) or not len(truth):
        return 0
    near = np.abs(np.subtract.outer(np.log10(found), np.log10(truth))) <= NEAR
    rows, columns = linear_sum_assignment(near, maximize=True)
    return int(near[rows, columns].sum())


def f1(curves: list[SyntheticCurve], landmark: str = "boundary") -> float:
    hits = found = true = 0
    for curve in curves:
        boundaries = detect_stages(curve.trajectory, draws=200).boundaries
        steps = [b.step if landmark == "boundary" else b.onset.step for b in boundaries]
        truth = curve.boundaries if landmark == "boundary" else curve.onsets
        hits, found, true = hits + matched(steps, truth), found + len(steps), true + len(truth)
    return 2 * hits / (found + true)


def published_hits(stages: Stages) -> int:
    found = np.log10([boundary.step for boundary in stages.boundaries])
    return sum(any(np.abs(found - np.log10(step)).min() <= NEAR for step in steps) for steps in PUBLISHED_STEPS)


@needs_published
@pytest.mark.parametrize("seed", range(5))
def test_the_published_curve_has_its_four_boundaries_for_any_seed(seed: int) -> None:
    stages = detect_stages(Trajectory.from_csv(PUBLISHED), seed=seed)
    assert (published_hits(stages), len(stages.boundaries)) == (4, 4)
    assert [boundary.kind for boundary in stages.boundaries] == ["shelf", "peak", "shelf", "trough"]
    assert [stage.kind for stage in stages.stages] == ["rise", "rise", "fall", "fall", "rise"]


@needs_published
@pytest.mark.parametrize("seed", range(5))
def test_half_of_the_published_chains_tell_the_same_story(seed: int) -> None:
    trajectory = Trajectory.from_csv(PUBLISHED)
    half = trajectory.llc_chains[:, np.random.default_rng(seed).permutation(10)[:5]]
    stages = detect_stages(replace(trajectory, llc=half.mean(axis=1), llc_chains=half), seed=seed)
    assert (published_hits(stages), len(stages.boundaries)) == (4, 4)


@needs_published
@pytest.mark.parametrize("first", [0, 1])
def test_every_second_published_checkpoint_still_shows_three(first: int) -> None:
    stages = detect_stages(Trajectory.from_csv(PUBLISHED).select(slice(first, None, 2)))
    assert published_hits(stages) >= 3
    assert len(stages.boundaries) <= 4


@pytest.mark.parametrize(("signs", "kinds"), [("rising", {"shelf"}), ("alternating", {"peak", "trough"})])
def test_kinds_are_told_apart(signs: str, kinds: set[str]) -> None:
    curve = smooth_steps(Sampling(points=150, noise=0.002), signs=signs, bursts=4, seed=2)
    assert {boundary.kind for boundary in detect_stages(curve.trajectory).boundaries} == kinds


def test_an_alternating_curve_starts_with_a_peak_and_stages_follow_its_signs() -> None:
    curve = smooth_steps(Sampling(points=150, noise=0.002), signs="alternating", bursts=4, seed=2)
    stages = detect_stages(curve.trajectory)
    assert [boundary.kind for boundary in stages.boundaries] == ["peak", "trough", "peak"]
    assert [stage.kind for stage in stages.stages] == ["rise", "fall", "rise", "fall"]


def test_stages_tile_the_curve_and_their_changes_add_up() -> None:
    curve = smooth_steps(Sampling(points=150, noise=0.005), seed=4)
    stages, trajectory = detect_stages(curve.trajectory), curve.trajectory
    edges = [stages.stages[0].start, *(stage.end for stage in stages.stages)]
    assert edges[1:-1] == [boundary.step for boundary in stages.boundaries]
    assert edges[0] == pytest.approx(trajectory.steps[0])
    assert edges[-1] == pytest.approx(trajectory.steps[-1])
    # both ends of the curve are known to about the noise of one checkpoint, 0.005
    assert sum(s.change for s in stages.stages) == pytest.approx(trajectory.llc[-1] - trajectory.llc[0], abs=0.02)


def test_onsets_follow_their_boundaries_and_draws_agree_with_landmarks() -> None:
    stages = detect_stages(ramps(Sampling(points=150, noise=0.005, chains=6), seed=1).trajectory)
    assert stages.boundary_draws.shape == stages.onset_draws.shape == (400, len(stages.boundaries))
    for k, boundary in enumerate(stages.boundaries):
        draws = stages.boundary_draws[:, k]
        assert np.isfinite(draws).mean() == boundary.probability
        assert np.nanmedian(draws) == pytest.approx(boundary.step, rel=1e-3)
        assert boundary.low <= boundary.step <= boundary.high
        assert boundary.step < boundary.onset.step


def test_the_first_onset_is_that_of_a_curve_that_starts_at_rest() -> None:
    curve = jumps(Sampling(points=120), bursts=1, seed=0)
    stages = detect_stages(curve.trajectory)
    assert not stages.boundaries
    assert [onset.step for onset in stages.onsets] == [stages.first_onset.step]
    steps = curve.trajectory.steps
    jump = int(np.abs(np.diff(curve.trajectory.llc)).argmax())
    assert steps[jump] <= stages.first_onset.step <= steps[jump + 1]


def test_a_curve_that_moves_from_its_first_checkpoint_has_no_first_onset() -> None:
    steps = np.geomspace(10, 1e5, 60)
    assert detect_stages(Trajectory(steps, np.log10(steps))).first_onset is None


@pytest.mark.parametrize("grid", ["log", "mixed", "linear"])
def test_smooth_steps_are_found_on_every_grid(grid: str) -> None:
    curve = smooth_steps(Sampling(points=150, noise=0.002, grid=grid), bursts=4, seed=7)
    stages = detect_stages(curve.trajectory, axis=curve.axis)
    assert stages.axis == curve.axis
    assert len(stages.boundaries) == 3
    if grid == "linear":
        # 0.1 of the span of 5 that a linear axis counts as
        error = np.array([boundary.step for boundary in stages.boundaries]) - curve.boundaries
        assert np.abs(error).max() < 0.1 * np.ptp(curve.trajectory.steps) / 5
    else:
        assert matched([boundary.step for boundary in stages.boundaries], curve.boundaries) == 3


@pytest.mark.parametrize("points", [5_000, 100_000])
def test_many_checkpoints_give_what_few_do(points: int) -> None:
    few, many = (smooth_steps(Sampling(points=n, noise=0.002), bursts=4, seed=7).trajectory for n in (300, points))
    steps = [boundary.step for boundary in detect_stages(many).boundaries]
    assert matched(steps, np.array([boundary.step for boundary in detect_stages(few).boundaries])) == len(steps) == 3


def test_json_goes_both_ways() -> None:
    stages = detect_stages(smooth_steps(Sampling(noise=0.02, chains=5), seed=1).trajectory, draws=50)
    again = Stages.from_dict(json.loads(json.dumps(stages.to_dict(with_draws=True), allow_nan=False)))
    for name in ("boundaries", "tentative", "stages", "warnings", "axis", "first_onset", "onsets"):
        assert getattr(again, name) == getattr(stages, name)
    for name in ("boundary_draws", "onset_draws", "first_onset_draws"):
        np.testing.assert_array_equal(getattr(again, name), getattr(stages, name))
    brief = stages.to_dict()
    assert "draws" not in brief
    assert Stages.from_dict(brief).boundaries == stages.boundaries
    assert set(brief["boundaries"][0]) == {"step", "low", "high", "probability", "kind", "onset"}


def test_a_constant_curve_is_one_flat_stage() -> None:
    stages = detect_stages(Trajectory(np.arange(1.0, 51), np.full(50, 3.0)))
    assert not stages.boundaries
    assert [stage.kind for stage in stages.stages] == ["flat"]
    assert "constant" in stages.warnings[0]
    assert Stages.from_dict(stages.to_dict(with_draws=True)).stages == stages.stages


def test_missing_values_are_left_out_with_a_warning() -> None:
    whole = smooth_steps(Sampling(points=150, noise=0.002), bursts=3, seed=1).trajectory
    holes = whole.llc.copy()
    holes[[3, 40, 41, 90]] = np.nan
    stages = detect_stages(replace(whole, llc=holes))
    assert any("4 of 150 checkpoints have no finite value" in warning for warning in stages.warnings)
    expected = [boundary.step for boundary in detect_stages(whole).boundaries]
    assert matched([boundary.step for boundary in stages.boundaries], np.array(expected)) == len(expected) == 2


@pytest.mark.parametrize(
    ("steps", "axis", "message"),
    [
        (np.arange(0.0, 8), "log", r"^7 checkpoints .* step above 0 \(of 8\) are too few .* at least 8$"),
        (np.arange(0.0, 7), "linear", r"^7 checkpoints with a finite value \(of 7\) are too few .* at least 8$"),
        (np.empty(0), "log", r"^0 checkpoints"),
        (np.arange(1.0, 50), "cubic", r"^axis 'cubic' is not one of: log, linear$"),
    ],
)
def test_what_cannot_be_divided_is_refused_in_a_sentence(steps: np.ndarray, axis: str, message: str) -> None:
    with pytest.raises(TrajectoryError, match=message):
        detect_stages(Trajectory(steps, np.sin(steps)), axis=axis)


def test_eight_checkpoints_are_enough() -> None:
    assert len(detect_stages(Trajectory(np.geomspace(1, 1e4, 8), np.arange(8.0) ** 2)).stages) >= 1


@pytest.mark.parametrize("index", [0, 60, -1])
def test_a_spike_or_a_huge_value_does_not_break_it(index: int) -> None:
    trajectory = smooth_steps(seed=0).trajectory
    llc = trajectory.llc.copy()
    llc[index] = 1e12
    assert np.isfinite([stage.change for stage in detect_stages(replace(trajectory, llc=llc)).stages]).all()


def warned(trajectory: Trajectory, words: str) -> bool:
    return any(words in warning for warning in detect_stages(trajectory, draws=100).warnings)


def test_a_stage_that_copies_the_loss_is_warned_of() -> None:
    trajectory = smooth_steps(Sampling(noise=0.001), bursts=3, seed=1).trajectory
    assert warned(replace(trajectory, loss=4.4 - trajectory.llc / 60), "affine function of the loss")
    other = np.random.default_rng(0).standard_normal(100)
    assert not warned(replace(trajectory, loss=other), "affine function of the loss")


def test_noise_that_lasts_is_warned_of_where_chains_unmask_it() -> None:
    def alarms(correlation: float) -> int:
        seen = Sampling(correlation=correlation, chains=10, common_noise=False)
        return sum(warned(null(seen, seed=seed).trajectory, "noise lasts over several") for seed in range(10))

    # one in ten each way is expected of the worse kind
    assert alarms(0.5) >= 7
    assert alarms(0.0) <= 3


def test_correlated_residuals_are_warned_of() -> None:
    # a wave too quick for a smooth slope and for segments of three points, under noise that differences see
    steps = np.geomspace(10, 1e5, 200)
    wave = 0.05 * np.sin(np.arange(200) * 2 * np.pi / 7)
    shape = np.tanh(np.log10(steps) - 3)
    assert not warned(Trajectory(steps, shape + 0.02 * np.random.default_rng(0).standard_normal(200)), "residuals")
    noise = 0.02 * np.random.default_rng(0).standard_normal(200)
    assert warned(Trajectory(steps, shape + wave + noise), "residuals are correlated")


def test_a_range_near_the_noise_is_warned_of() -> None:
    assert warned(null(seed=0).trajectory, "times its noise")
    assert not warned(smooth_steps(Sampling(noise=0.01), seed=0).trajectory, "times its noise")


def test_few_checkpoints_around_a_boundary_are_warned_of() -> None:
    curves = [smooth_steps(Sampling(points=n, noise=0.001), bursts=3, seed=1).trajectory for n in (50, 300)]
    assert [warned(curve, "its place is coarse") for curve in curves] == [True, False]


def test_a_standard_error_as_large_as_the_change_is_warned_of() -> None:
    trajectory = smooth_steps(Sampling(noise=0.002), bursts=3, seed=1).trajectory
    for error, expected in ((0.0001, False), (0.5, True)):
        seen = replace(trajectory, llc_std_error=np.full(100, error))
        assert warned(seen, "standard error over chains") == expected


@pytest.mark.slow
def test_smooth_steps_with_little_noise_are_found() -> None:
    curves = [smooth_steps(Sampling(n, z), seed=s) for n in (100, 200) for z in (0.002, 0.01) for s in range(500, 530)]
    # standard error over 120 curves about 0.015; the mark to reach is 0.95
    assert f1(curves) > 0.95 - 2 * 0.015


@pytest.mark.slow
@pytest.mark.parametrize("make", [ramps, jumps])
def test_staircase_onsets_are_found(make) -> None:
    assert f1([make(Sampling(100, z), seed=s) for z in (0.002, 0.01) for s in range(500, 520)], "onset") > 0.95


@pytest.mark.slow
def test_noise_alone_seldom_has_a_boundary() -> None:
    found = [bool(detect_stages(null(seed=s).trajectory, draws=200).boundaries) for s in range(500, 700)]
    # at most 7 %; the standard error of a share of 200 is 1.8 %
    assert np.mean(found) < 0.07 + 2 * 0.018


@pytest.mark.slow
def test_chains_with_noise_of_their_own_unmask_noise_that_lasts() -> None:
    replicated = Sampling(correlation=0.5, chains=10, common_noise=False)
    found = [bool(detect_stages(null(replicated, seed=s).trajectory, draws=200).boundaries) for s in range(500, 600)]
    # at most 15 %; the standard error of a share of 100 is 3.6 %
    assert np.mean(found) < 0.15 + 2 * 0.036


@pytest.mark.parametrize("height", [20.0, 250.0])
def test_a_spike_that_few_checkpoints_saw_does_not_have_the_rest_of_the_curve_ring(height: float) -> None:
    x = np.linspace(0.0, 3.6, 100)
    rise_and_fall = 15 / (1 + np.exp(-(x - 1.4) / 0.12)) - 12 / (1 + np.exp(-(x - 3.0) / 0.08)) - (x - 1.4).clip(0)
    spike = height * np.exp(-0.5 * ((x - 3.5) / 0.03) ** 2)
    noise = 0.02 * np.random.default_rng(0).standard_normal(len(x))
    stages = detect_stages(Trajectory(steps=10**x, llc=40 + rise_and_fall + spike + noise))
    assert len(stages.boundaries) <= 3  # the plateau, the trough before the spike, its top
    assert any(abs(np.log10(boundary.step) - 3.5) < 0.06 for boundary in stages.boundaries)


@pytest.mark.parametrize("turned", [False, True])
def test_a_lopsided_peak_is_dated_near_its_top_and_a_flat_one_at_its_middle(turned: bool) -> None:
    x = np.linspace(0, 4, 120)
    lopsided = np.interp(x, [0, 1, 2, 3, 3.4, 4], [0, 0, 20, 16, 2, 2])  # up, slowly down for a decade, down
    flat = np.interp(x, [0, 1, 2, 2.6, 3.4, 4], [0, 0, 20, 20, 0, 0])
    for values, top in ((lopsided, 2.0), (flat, 2.3)):
        noisy = values + 0.1 * np.random.default_rng(0).standard_normal(len(x))
        stages = detect_stages(Trajectory(steps=10**x, llc=-noisy if turned else noisy))
        peak = next(each for each in stages.boundaries if each.kind == ("trough" if turned else "peak"))
        assert np.log10(peak.step) == pytest.approx(top, abs=0.12)  # the middle of the slow side is half a decade later


def test_spikes_at_the_end_of_training_do_not_hide_the_stages_before_them() -> None:
    x = np.linspace(0.0, 4.0, 100)
    curve = 50 + 15 / (1 + np.exp(-(x - 1.2) / 0.15)) - 12 / (1 + np.exp(-(x - 2.8) / 0.15))
    curve[-12:] += [1, 5, 25, 300, 15, 0, 0, 10, 70, 0, 0, 35]  # grokking's, each seen by a checkpoint or two
    noise = 0.04 * np.random.default_rng(0).standard_normal(len(x))
    peak = detect_stages(Trajectory(steps=10**x, llc=curve + noise)).boundaries[0]
    assert (peak.kind, peak.probability) == ("peak", pytest.approx(1, abs=0.05))
    assert np.log10(peak.step) == pytest.approx(2.0, abs=0.15)
