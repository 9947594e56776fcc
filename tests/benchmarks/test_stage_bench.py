"""The stage bench: its curves, how peers are read, and what its table says."""

from __future__ import annotations

from dataclasses import replace
from math import nan

import numpy as np
import pytest

from benchmarks.stages.cells import Spec, changes, curve, grid, nulls
from benchmarks.stages.changepoints import read
from benchmarks.stages.figures import Figure
from benchmarks.stages.marks import Row, percent, plain
from benchmarks.stages.methods import Found, Method
from benchmarks.stages.online import Online, OnlineRun, _hidden, _run, sentence
from benchmarks.stages.others import LinearRun
from benchmarks.stages.plan import QUICK, Plan
from benchmarks.stages.scores import count
from benchmarks.stages.smoothers import GP_READINGS, gaussian_process, rests
from benchmarks.stages.work import OURS, Outcome, Task, choose, fit
from slt.synthetic import Sampling


def test_no_curve_that_sets_knobs_is_scored():
    plan = Plan(QUICK)
    scored = {(spec.family, spec.sampling, spec.seed) for spec in plan.shared}
    assert not scored & {(spec.family, spec.sampling, spec.seed) for spec in plan.tuned}
    assert all(spec.seed % 2 == 0 for spec in plan.tuned)


def test_thinning_in_two_halves_keeps_every_checkpoint_once():
    spec = Spec("smooth", seed=1)
    halves = [curve(half).trajectory.steps for half in changes([spec], 2) if half.change == "thinned"]
    assert np.array_equal(np.sort(np.concatenate(halves)), curve(spec).trajectory.steps)


def test_twice_the_noise_is_twice_the_noise():
    spec = Spec("smooth", Sampling(points=5000, noise=0.01), seed=3)
    clean = curve(replace(spec, sampling=Sampling(points=5000, noise=0.0))).trajectory.llc
    noise = curve(replace(spec, change="noisier")).trajectory.llc - clean
    # The sd of 5,000 Gaussian values has a relative error of 1 / sqrt(10,000): 4 of them are 4 %.
    assert noise.std() == pytest.approx(0.02, rel=0.04)


def test_half_of_the_chains_is_half_and_the_curve_is_their_mean():
    spec = Spec("smooth", Sampling(chains=8, common_noise=False), seed=5, change="half chains")
    trajectory = curve(spec).trajectory
    assert trajectory.llc_chains.shape == (100, 4)
    assert np.allclose(trajectory.llc, trajectory.llc_chains.mean(axis=1))
    assert {tuple(c) for c in trajectory.llc_chains.T} <= {tuple(c) for c in curve(spec.whole).trajectory.llc_chains.T}


def test_steps_are_read_as_boundaries_in_the_middle_between_them():
    x = np.linspace(0, 6, 61)
    stairs = (x > 2).astype(float) + (x > 4)
    cuts, middles, _ = read(x, stairs, [21, 41])
    assert np.allclose(cuts.boundaries, [2.05, 4.05])
    assert np.allclose(middles.boundaries, [3.05])
    assert np.allclose(middles.onsets, [2.05, 4.05])


def test_slow_pieces_between_fast_ones_are_read_as_rests():
    x = np.linspace(0, 5, 51)
    ramps = np.interp(x, [0, 1, 2, 3, 4, 5], [0, 0, 1, 1, 2, 2])
    _, _, pieces = read(x, ramps, [11, 21, 31, 41])
    assert np.allclose(pieces.boundaries, [2.55])
    assert np.allclose(pieces.onsets, [1.05, 3.05])  # the first burst starts from rest, and so has an onset


def test_rests_are_found_at_the_zeros_of_a_slope_and_onsets_at_half_of_the_next_speed():
    x = np.linspace(0, 4, 4001)
    found = rests(x, np.sin(np.pi * x / 2), np.zeros(4001))  # zeros at 0, 2, 4: only the one inside is a boundary
    assert np.allclose(found.boundaries, [2.0], atol=0.002)
    assert np.allclose(found.onsets, [1 / 3, 2 + 1 / 3], atol=0.002)  # sin(pi x / 2) is one half at x = 1/3


def test_the_gaussian_process_crosses_zero_at_the_peaks_and_troughs_of_a_clear_curve():
    known = curve(Spec("peaks", Sampling(points=100, noise=0.002), seed=1))
    crossings = gaussian_process(known, "fitted")[GP_READINGS.index((0.0, 2.0))]
    # At 0.2 % noise a peak of a smooth curve has one place: 0.05 decades is the grid of 100 checkpoints.
    assert count(crossings.boundaries, known.boundaries, 0.05).f1 == 1.0


def test_the_knob_and_reading_that_are_best_on_the_tuning_curves_are_chosen():
    method = Method("shifted", find=lambda known: (), knobs=({"shift": 0.2}, {"shift": 0.05}), readings=("far", "near"))
    outcomes = {}
    for spec in grid(("smooth",), 1, half=0, noises=(0.01,), points=(50,)):
        true = curve(spec)
        for knob, shift in enumerate((0.2, 0.05)):
            found = tuple(Found(true.boundaries + shift + more, true.onsets) for more in (0.3, 0.0))
            outcomes[Task("shifted", spec, knob)] = Outcome(found, true.boundaries, true.onsets, 0.0)
    (chosen,) = choose(outcomes, [method])
    assert (chosen.knob, chosen.reading) == (1, 1)
    assert method.setting(1, 1) == "shift 0.05, near"


def test_our_detector_is_given_to_the_bench_in_decades():
    outcome = fit(Task(OURS.name, Spec("jumps", Sampling(points=100, noise=0.002), seed=1)))
    assert count(outcome.found[0].onsets, outcome.onsets).f1 == 1.0


def test_a_linear_axis_counts_as_five_decades():
    known = curve(Spec("smooth", Sampling(grid="linear"), seed=1))
    assert known.axis == "linear"
    assert ((known.boundaries > 1) & (known.boundaries < 6)).all()


def test_chains_of_a_null_are_replicates_of_its_noise():
    spec = Spec("null", Sampling(points=5000, correlation=0.5, chains=4, common_noise=False), seed=1)
    deviations = np.diff(curve(spec).trajectory.llc_chains, axis=0)
    # Independent chains' differences correlate to 1.1 (for their own correlation) / sqrt(4,999): 4 of it are 0.062.
    assert np.abs(np.corrcoef(deviations.T) - np.eye(4)).max() < 0.062


def test_nulls_have_nothing_to_find():
    assert all(len(curve(spec).boundaries) == len(curve(spec).onsets) == 0 for spec in nulls(0.5, 1, half=1))


@pytest.mark.parametrize(
    ("value", "bounds", "verdict"),
    [
        (0.86, {"least": 0.85, "aim": 0.9}, "reached"),
        (0.91, {"least": 0.85, "aim": 0.9}, "reached, the aim too"),
        (0.84, {"least": 0.85, "aim": 0.9}, "**missed**"),
        (0.06, {"most": 0.07, "aim": 0.05}, "reached"),
        (0.04, {"most": 0.07, "aim": 0.05}, "reached, the aim too"),
        (0.96, {"least": 0.85, "most": 0.95}, "**missed**"),
        (nan, {"least": 0.9}, ""),
        (0.5, {}, ""),
    ],
)
def test_a_mark_is_held_to_the_value(value, bounds, verdict):
    assert Row("what", Figure(value), plain, **bounds).verdict == verdict


def test_a_row_shows_its_error_where_it_has_one():
    assert Row("what", Figure(0.123, 0.01), percent).ours == "12.3 % ± 1.0 %"
    assert Row("what", Figure(0.123), percent).ours == "12.3 %"
    assert Row("what", Figure(nan), percent).ours == "not measured"


@pytest.mark.parametrize(
    ("boundaries", "holds"),
    [((150, 250), True), ((150,), False), ((150, 160), False), ((50, 150, 250), False), ((150, 250, 350), False)],
)
def test_a_linear_run_needs_one_boundary_between_each_two_modes(boundaries, holds):
    assert LinearRun(0, (100.0, 200.0, 300.0), boundaries).one_mode_a_stage is holds


def test_a_settled_boundary_is_taken_back_if_the_whole_curve_has_it_not():
    settled, truth, onsets = np.array([2.01, 3.5]), np.array([2.0, 3.0]), np.array([2.3, 3.3])
    run = OnlineRun(settled, np.array([2.4, 3.9]), np.array([2.05]), truth, onsets, 1, np.array([1.0, 3.0]))
    result = Online((run,))
    assert (result.count, result.taken_back, result.missing, result.hidden) == (2, 1, 1, 2.0)
    assert (result.precision.value, result.recall.value) == (0.5, 0.5)
    assert (result.after_boundary, result.after_onset, result.wait) == pytest.approx((0.4, 0.1, 0.3))
    assert "1 were missing at some later checkpoint, 1 on the whole curve" in sentence(result)


def test_a_run_fed_point_by_point_settles_what_is_true():
    run = _run(0)  # 100 checkpoints with 0.2 % noise
    assert len(run.places) == len(run.boundaries) > 0
    assert np.abs(run.places - run.boundaries).max() < 0.1
    assert (run.settled > run.boundaries).all()
    assert run.missing == 0


def test_what_noise_hides_is_less_with_less_noise():
    loud, quiet = (_hidden(Sampling(noise=noise), 7) for noise in (0.02, 0.01))
    assert np.allclose(quiet, 2 * loud)
