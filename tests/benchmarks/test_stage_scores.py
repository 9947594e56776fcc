"""The scoring of the stage bench: every score against an answer that can be worked out by hand."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest

from benchmarks.stages.scores import Counts, calibration, count, covering, f1_error, hausdorff, inside, pairs, total

SPAN = (1.0, 6.0)


def most_and_closest(found: np.ndarray, true: np.ndarray, tolerance: float) -> tuple[int, float]:
    """By enumeration: the largest number of one-to-one pairs within the tolerance, and the least sum of distances."""
    best = (0, 0.0)
    for size in range(1, min(len(found), len(true)) + 1):
        for chosen in combinations(range(len(found)), size):
            for order in permutations(range(len(true)), size):
                distance = np.abs(found[list(chosen)] - true[list(order)])
                if (distance <= tolerance).all() and (size, -distance.sum()) > (best[0], -best[1]):
                    best = (size, float(distance.sum()))
    return best


@pytest.mark.parametrize("seed", range(20))
def test_pairs_are_as_many_and_as_close_as_enumeration_finds(seed):
    rng = np.random.default_rng(seed)
    found, true = rng.uniform(0, 0.6, rng.integers(0, 5)), rng.uniform(0, 0.6, rng.integers(0, 5))
    made = pairs(found, true, 0.1)
    size, closest = most_and_closest(found, true, 0.1)
    assert len(made) == size
    assert sum(abs(found[i] - true[j]) for i, j in made) == pytest.approx(closest)


def test_a_true_landmark_found_twice_counts_once():
    assert count([3.00, 3.02], [3.01]) == Counts(right=1, found=2, true=1)


def test_the_tolerance_itself_is_still_right_and_a_little_more_is_wrong():
    assert count([3.1], [3.0]).right == 1
    assert count([3.1001], [3.0]).right == 0


def test_two_found_share_two_true_where_the_nearest_alone_would_take_the_only_one():
    # Greedy pairing of the nearest (3.00 with 3.04) leaves 2.95 with nothing; one to one there is a place for both.
    assert count([2.95, 3.04], [3.00, 3.12]).right == 2


def test_precision_recall_and_f1_follow_their_definitions():
    counts = Counts(right=3, found=4, true=6)
    assert (counts.precision, counts.recall) == (0.75, 0.5)
    assert counts.f1 == pytest.approx(2 * 0.75 * 0.5 / (0.75 + 0.5))


def test_finding_nothing_is_perfect_where_there_is_nothing_and_worthless_elsewhere():
    assert count([], []).f1 == 1.0
    assert count([], [3.0]).f1 == 0.0
    assert count([3.0], []).f1 == 0.0


def test_pooled_f1_weighs_landmarks_and_not_curves():
    assert total([Counts(1, 1, 1), Counts(0, 0, 9)]).f1 == pytest.approx(2 / 11)


def test_the_error_of_a_pooled_f1_is_the_spread_over_repetitions():
    rng = np.random.default_rng(0)

    def curves() -> list[Counts]:
        return [Counts(int(rng.binomial(3, 0.8)), 3, 3) for _ in range(60)]

    spread = np.std([total(curves()).f1 for _ in range(2000)])
    # The jackknife's own error: sd / sqrt(2 x 60) a time, over 50 times 1.3 %; the spread's 1.6 %; 4 of both is 8 %.
    assert np.mean([f1_error(curves()) for _ in range(50)]) == pytest.approx(spread, rel=0.08)


def test_hausdorff_is_the_worst_distance_on_either_side():
    assert hausdorff([2.0, 4.0], [2.1, 4.0], SPAN) == pytest.approx(0.1)
    assert hausdorff([2.0, 3.2], [2.0], SPAN) == pytest.approx(1.2)  # a cut too many is as bad as one that is missed
    assert hausdorff([2.0], [2.0, 3.2], SPAN) == pytest.approx(1.2)


def test_hausdorff_without_cuts_is_the_distance_to_the_nearer_end():
    assert hausdorff([], [], SPAN) == 0.0
    assert hausdorff([], [2.5], SPAN) == pytest.approx(1.5)


def test_covering_is_one_for_the_truth_and_the_largest_stage_for_nothing_found():
    assert covering([2.0, 4.0], [2.0, 4.0], SPAN) == pytest.approx(1.0)
    # Stages of 1, 2, 2 of 5 decades, each against one whole of 5: (1 x 1/5 + 2 x 2/5 + 2 x 2/5) / 5.
    assert covering([], [2.0, 4.0], SPAN) == pytest.approx(1.8 / 5)


def test_covering_of_one_shifted_cut_is_the_overlap_over_the_union():
    # True stages 1..3 and 3..6 against 1..3.5 and 3.5..6: 2/2.5 of 2 decades and 2.5/3 of 3 decades.
    assert covering([3.5], [3.0], SPAN) == pytest.approx((2 * 0.8 + 3 * 2.5 / 3) / 5)


def test_intervals_are_judged_for_landmarks_within_twice_the_tolerance():
    held = inside([2.9, 4.1, 5.5], [3.1, 4.2, 5.6], [3.0, 4.15, 5.55], [3.05, 4.0, 5.0])
    assert held == [True, False]  # the third is 0.55 away: not the same landmark at all


def test_calibration_of_honest_claims_is_the_diagonal():
    rng = np.random.default_rng(1)
    probability = rng.uniform(size=20_000)
    for cell in calibration(probability, rng.uniform(size=20_000) < probability, (0.0, 0.25, 0.5, 0.75, 1.0)):
        # About 5,000 claims a bin, each with a variance of at most 1/4: 4 standard errors are 0.028.
        assert cell.observed == pytest.approx(cell.stated, abs=0.028)


def test_every_claim_falls_into_one_bin_and_certainty_into_the_last():
    bins = calibration([0.2, 0.5, 0.75, 1.0], [1, 0, 1, 1], (0.2, 0.5, 0.75, 1.0))
    assert [cell.claims for cell in bins] == [1, 1, 2]
    assert bins[-1].observed == 1.0
