from __future__ import annotations

import json
from itertools import permutations

import numpy as np
import pytest

from slt.comparison import Comparison, compare, same_signal, seed_shuffle
from slt.errors import BadInput, EventsError
from slt.events import CircuitEvent
from slt.stages import detect_stages
from slt.synthetic import Sampling, ramps
from slt.trajectory import Trajectory
from tests import scenarios

STEPS = np.logspace(1, 4, 151)  # gaps of 0.02 decades
CURVE = Trajectory(STEPS, np.linspace(0, 1, 151))


def at(*decades: float, group: str = "events", low: float = 0.0, high: float = 0.0) -> list[CircuitEvent]:
    return [
        CircuitEvent(f"e{i}", 10**x, 10 ** (x - low) if low else None, 10 ** (x + high) if high else None, group)
        for i, x in enumerate(decades)
    ]


def stages(*decades: float, **how):
    return scenarios.stages_at([10**x for x in decades], [None] * len(decades), **how)


def test_matching_minimises_the_total_distance_and_not_each_in_turn():
    # greedily e0 at 2.2 would take 2.25, and leave 2.0 to e1 at 2.4, beyond the reach
    result = compare(stages(2.0, 2.25), at(2.2, 2.4))
    assert [(m.event, round(np.log10(m.landmark_step), 2)) for m in result.matches] == [("e0", 2.0), ("e1", 2.25)]


def test_the_assignment_is_the_best_of_all_assignments():
    rng = np.random.default_rng(0)
    for _ in range(20):
        events, marks = np.sort(rng.uniform(1.1, 3.9, (2, 4)))
        result = compare(stages(*marks), at(*events))
        cost = sum(abs(m.lag_decades) for m in result.matches) + 0.4 * (4 - len(result.matches))
        every = [np.minimum(np.abs(events - marks[list(p)]), 0.4).sum() for p in permutations(range(4))]
        assert cost == pytest.approx(min(every))


def test_what_is_out_of_reach_stays_unmatched_on_both_sides():
    result = compare(stages(2.0, 3.5), at(2.05, 2.9))
    assert [m.event for m in result.matches] == ["e0"]
    assert result.unmatched_events == ("e1",)
    assert result.unmatched_boundaries == pytest.approx((10**3.5,))


def test_a_boundary_matched_by_its_onset_alone_is_not_unmatched():
    found = scenarios.stages_at([100.0], [1000.0])
    result = compare(found, at(3.0))
    assert [(m.landmark, m.landmark_step) for m in result.matches] == [("onset", 1000.0)]
    assert result.unmatched_boundaries == ()


@pytest.mark.parametrize(
    ("lag", "event", "relation"),
    [
        (0.10, {}, "lags"),
        (-0.10, {}, "leads"),
        (0.02, {}, "together"),
        (0.10, {"low": 0.15, "high": 0.15}, "undecided"),
        (0.10, {"low": 0.15}, "lags"),  # earlier is possible, later is not
    ],
)
@pytest.mark.parametrize("trajectory", [CURVE, None])
def test_the_relation_follows_from_the_interval(lag, event, relation, trajectory):
    (match,) = compare(stages(2.5 + lag), at(2.5, **event), trajectory=trajectory).matches
    assert match.lag_decades == pytest.approx(lag)
    assert match.low < lag < match.high
    assert match.relation == relation


def test_a_lag_below_half_the_gap_between_checkpoints_is_neither_lead_nor_lag():
    coarse = Trajectory(np.logspace(1, 4, 13), np.linspace(0, 1, 13))  # gaps of 0.25 decades
    sharp = stages(2.6, width=0.001)
    assert compare(sharp, at(2.5), trajectory=coarse).matches[0].relation == "undecided"
    assert compare(sharp, at(2.5), trajectory=CURVE).matches[0].relation == "lags"


def test_the_interval_of_a_lag_adds_the_draws_the_gap_and_the_events_own_interval():
    (match,) = compare(stages(2.6, width=0.03, draws=4000), at(2.5, low=0.06, high=0.06), trajectory=CURVE).matches
    # 1.645 sd of the landmark and the event's half width in quadrature, plus half a gap of 0.02
    half = np.hypot(1.645 * 0.03, 0.06) + 0.01
    # 5 % quantiles of 4,000 draws are known to 3 %, the draws behind them as well; 4 standard errors of both
    assert (match.low, match.high) == pytest.approx((0.1 - half, 0.1 + half), abs=4 * 0.045 * half)


def test_an_event_within_reach_of_a_probable_landmark_is_seen_and_says_where():
    result = compare(scenarios.stages_at([200.0], [1000.0]), [CircuitEvent("grokked", 900.0)])
    assert result.sightings[0].seen
    assert (
        result.sightings[0].sentence
        == "'grokked' at step 900: the LLC saw it, with an onset at 1,000 (0.05 decades later)."
    )


def test_an_event_that_was_not_seen_says_what_is_nearest():
    (sighting,) = compare(scenarios.stages_at([200.0], [1000.0]), [CircuitEvent("grokked", 4000.0)]).sightings
    assert not sighting.seen
    assert (
        "did not see it; the nearest are an onset at 1,000 (0.60 decades earlier) and a boundary" in sighting.sentence
    )
    assert (sighting.boundary_step, sighting.onset_step) == (200.0, 1000.0)
    assert (sighting.boundary_decades, sighting.onset_decades) == pytest.approx((np.log10(1 / 20), np.log10(1 / 4)))


def test_what_the_stages_call_a_boundary_counts_but_no_onset_of_low_probability():
    result = compare(scenarios.stages_at([100.0], [1000.0], probability=0.4), at(2.0, 3.0))
    assert [sighting.seen for sighting in result.sightings] == [True, False]
    assert [match.landmark for match in result.matches] == ["boundary"]


def test_an_event_at_step_zero_is_not_seen_and_is_no_error():
    (sighting,) = compare(stages(2.0), [CircuitEvent("start", 0.0)]).sightings
    assert not sighting.seen
    assert sighting.boundary_step is None


def test_stages_without_boundaries_see_nothing():
    result = compare(stages(), at(2.0, 2.5, 3.0))
    assert "no boundary at all" in result.sightings[0].sentence
    assert result.groups[0].p_value is None
    assert result.groups[0].note == "No p-value: the stages have no boundary."
    assert result.chance == 0


@pytest.mark.parametrize("count", [1, 2])
def test_fewer_than_three_events_have_no_p_value_and_the_note_says_why(count):
    (test,) = compare(stages(2.0, 3.0), at(2.0, 3.0)[:count]).groups
    assert test.p_value is None
    assert test.p_holm is None
    assert test.statistic == pytest.approx(0)
    assert test.note.startswith(f"No p-value: with {count} of the 3 events")


def test_matched_events_have_a_small_p_value_and_events_elsewhere_do_not():
    marks = (1.5, 2.2, 2.9, 3.5)
    result = compare(stages(*marks), [*at(1.52, 2.18, 2.93, 3.5, group="near"), *at(1.7, 2.0, 2.5, 3.8, group="far")])
    near, far = result.groups
    assert near.p_value < 0.01
    assert far.p_value > 0.2
    # two tests: the smaller is doubled, the larger is itself
    assert (near.p_holm, far.p_holm) == pytest.approx((2 * near.p_value, far.p_value))
    assert near.statistic == pytest.approx(0.0175)


def test_onsets_are_tested_rather_than_boundaries_where_there_are_any():
    found = scenarios.stages_at([30.0, 300.0, 3000.0], [60.0, 600.0, 6000.0])
    (test,) = compare(found, [CircuitEvent(f"e{i}", step) for i, step in enumerate((60.0, 600.0, 6000.0))]).groups
    assert test.landmark == "onset"
    assert test.statistic == pytest.approx(0)


def test_the_note_says_when_the_test_could_have_found_nothing():
    crowded = stages(*np.linspace(1.05, 3.95, 40))
    (test,) = compare(crowded, at(2.0, 2.5, 3.0)).groups
    assert "too few, or too crowded" in test.note


def test_the_same_seed_gives_the_same_comparison():
    arguments = (stages(2.0, 2.8, 3.3), at(2.1, 2.9, 3.6))
    assert compare(*arguments, seed=3) == compare(*arguments, seed=3)
    assert compare(*arguments, seed=3) != compare(*arguments, seed=4)


def test_a_comparison_survives_json_without_nan():
    found = scenarios.stages_at([100.0, 1000.0], [200.0, None])
    events = [*at(2.0, 2.3, 3.1), CircuitEvent("start", 0.0, group="other")]
    result = compare(found, events, trajectory=CURVE)
    assert Comparison.from_dict(json.loads(json.dumps(result.to_dict(), allow_nan=False))) == result


def test_the_chance_of_being_seen_is_the_share_of_the_range_near_a_landmark():
    # of 3 decades: 1.8 to 2.5, where two neighbourhoods overlap, and the last 0.25 before the end
    assert compare(stages(2.0, 2.3, 3.95), []).chance == pytest.approx((0.7 + 0.25) / 3)


def test_a_series_that_copies_the_llc_is_the_same_signal_and_not_a_match():
    llc = np.sin(3 * np.log10(STEPS)) + 1e-3 * np.random.default_rng(0).standard_normal(151)
    curve = Trajectory(STEPS, llc)
    noise = np.random.default_rng(1).standard_normal(151)
    found = stages(2.0, 3.0)
    series = {"copy": 5 - 2 * llc, "other": noise}
    events = [*at(2.0, 3.0, group="copy"), *at(2.01, 3.01, group="other")]
    result = compare(found, events, trajectory=curve, series=series)
    assert [s.same_signal for s in result.sightings] == [True, True, False, False]
    assert {match.group for match in result.matches} == {"other"}
    assert "is the same signal as the LLC" in result.sightings[0].sentence
    assert [stage for stage, _ in same_signal(curve, series["copy"], found)] == list(found.stages)
    assert same_signal(curve, noise, found) == []


def test_four_checkpoints_of_a_stage_are_too_few_for_the_same_signal():
    steps = np.array([10.0, 20, 30, 40, 1000, 5000, 10_000])
    curve = Trajectory(steps, steps)
    assert same_signal(curve, 2 * steps, stages(2.0)) == []


def test_the_stages_of_a_staircase_match_its_own_onsets():
    curve = ramps(Sampling(points=200, noise=0.005), seed=1)
    events = [CircuitEvent(f"ramp {i}", float(step)) for i, step in enumerate(curve.onsets)]
    result = compare(detect_stages(curve.trajectory), events, trajectory=curve.trajectory)
    assert all(sighting.seen for sighting in result.sightings)
    assert result.groups[0].p_value < 0.05


def runs_where(events_of, count: int = 6, seed: int = 0):
    rng = np.random.default_rng(seed)
    runs = []
    for _ in range(count):
        marks = np.sort(rng.uniform([1.2, 2.2, 3.2], [1.8, 2.8, 3.8]))
        runs.append((stages(*marks), at(*events_of(marks, rng))))
    return runs


def test_the_seed_shuffle_finds_events_that_follow_their_own_run():
    # exact over 6! pairings: the identity alone is as good, so p = 1/720
    assert seed_shuffle(runs_where(lambda marks, rng: marks + rng.uniform(-0.02, 0.02, 3))) == pytest.approx(1 / 720)


def test_the_seed_shuffle_ignores_what_all_runs_have_in_common():
    found = [
        seed_shuffle(runs_where(lambda _, rng: rng.uniform([1.2, 2.2, 3.2], [1.8, 2.8, 3.8]), 5, s)) for s in range(60)
    ]
    # p is uniform on multiples of 1/120; at most 5 % of 60 plus 3 standard errors
    assert sum(p <= 0.05 for p in found) <= 3 + 3 * np.sqrt(60 * 0.05 * 0.95)


def test_the_seed_shuffle_draws_pairings_above_seven_runs():
    assert seed_shuffle(runs_where(lambda marks, _: marks, 9)) == pytest.approx(1 / 5000)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: seed_shuffle(runs_where(lambda marks, _: marks, 4)), BadInput, "at least 5 runs, there are 4"),
        (
            lambda: seed_shuffle([*runs_where(lambda m, _: m, 4), (stages(), at(2.0))]),
            BadInput,
            "run 5 has 0 landmarks",
        ),
        (lambda: compare(stages(2.0), at(2.0), series={"events": STEPS}), BadInput, "without the trajectory"),
        (lambda: same_signal(CURVE, [1.0, 2.0], stages(2.0)), BadInput, "series of 2 values does not fit the 151"),
        (
            lambda: compare(stages(2.0), [*at(2.0), *at(3.0)]),
            EventsError,
            "two events of group 'events' are called 'e0'",
        ),
    ],
)
def test_what_cannot_be_compared_is_named(call, error, says):
    with pytest.raises(error, match=says):
        call()


@pytest.mark.parametrize("tolerance", [0.0, -1.0, float("nan"), float("inf")])
def test_a_tolerance_that_means_nothing_is_refused(tolerance):
    with pytest.raises(BadInput, match=r"a tolerance of .* give a number above 0"):
        compare(stages(2.0), at(2.0), tolerance=tolerance)


def test_events_may_come_from_a_generator():
    assert compare(stages(2.0, 3.0), (event for event in at(2.0, 3.0))) == compare(stages(2.0, 3.0), at(2.0, 3.0))
