"""The partition posterior against enumeration and dense Gaussian computation."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from slt.partitions import SHORTEST, PartitionPosterior


def made(points: int, seed: int = 0) -> PartitionPosterior:
    rng = np.random.default_rng(seed)
    x = np.cumsum(rng.uniform(0.2, 1.0, points))
    y = np.where(x < np.median(x), 0.3 * x, 2.0 - 0.5 * x) + 0.3 * rng.standard_normal((2, points))
    return PartitionPosterior(x, y, rng.uniform(0.2, 0.5, (2, points)), knot_probability=0.3)


def dense_log_evidence(posterior: PartitionPosterior, curve: int, first: int, stop: int) -> float:
    """Log density of the points under N(0, noise + level + slope), levels and slopes about the weighted centre."""
    from scipy.stats import multivariate_normal

    x, y = posterior.x_T[first:stop], posterior.y_BT[curve, first:stop]
    weight = posterior.noise_BT[curve, first:stop] ** -2
    centred = x - (weight * x).sum() / weight.sum()
    covariance = (
        np.diag(1 / weight)
        + 1 / posterior.level_precision_B[curve]
        + np.outer(centred, centred) / posterior.slope_precision_B[curve]
    )
    return float(multivariate_normal(np.zeros(len(x)), covariance).logpdf(y))


def noise_only(posterior: PartitionPosterior, curve: int, first: int, stop: int) -> float:
    from scipy.stats import norm

    y, noise = posterior.y_BT[curve, first:stop], posterior.noise_BT[curve, first:stop]
    return float(norm(0, noise).logpdf(y).sum())


def every_partition(points: int) -> list[tuple[int, ...]]:
    """All tuples of segment starts, with no segment shorter than allowed."""
    found = []
    for count in range(points):
        for knots in combinations(range(1, points), count):
            starts = (0, *knots)
            if all(b - a >= SHORTEST for a, b in zip(starts, (*knots, points), strict=True)):
                found.append(starts)
    return found


def enumerated(posterior: PartitionPosterior, curve: int, knot: float) -> dict[tuple[int, ...], float]:
    points = len(posterior.x_T)
    weights = {}
    for starts in every_partition(points):
        stops = (*starts[1:], points)
        evidence = sum(dense_log_evidence(posterior, curve, a, b) for a, b in zip(starts, stops, strict=True))
        prior = (len(starts) - 1) * np.log(knot) + (points - len(starts)) * np.log(1 - knot)
        weights[starts] = evidence + prior
    return weights


@pytest.mark.parametrize(("first", "stop"), [(0, 3), (2, 7), (0, 8)])
def test_segment_evidence_is_that_of_a_dense_gaussian(first: int, stop: int) -> None:
    posterior = made(8)
    for curve in (0, 1):
        ours = posterior.segment_log_evidence(np.array([curve]), np.array([first]), np.array([stop]))[0]
        dense = dense_log_evidence(posterior, curve, first, stop) - noise_only(posterior, curve, first, stop)
        assert ours == pytest.approx(dense, abs=1e-9)


@pytest.mark.parametrize("points", [3, 5, 6, 7, 8])
def test_evidence_is_the_sum_over_all_partitions(points: int) -> None:
    posterior = made(points)
    for curve in (0, 1):
        weights = np.array(list(enumerated(posterior, curve, 0.3).values()))
        assert posterior.log_evidence_B[curve] == pytest.approx(np.logaddexp.reduce(weights), abs=1e-9)


@pytest.mark.parametrize("points", [5, 6, 7, 8])
def test_knot_probabilities_are_those_of_enumeration(points: int) -> None:
    posterior = made(points)
    for curve in (0, 1):
        weights = enumerated(posterior, curve, 0.3)
        total = np.logaddexp.reduce(list(weights.values()))
        expected = np.zeros(points)
        for starts, weight in weights.items():
            expected[list(starts)] += np.exp(weight - total)
        np.testing.assert_allclose(posterior.knot_probability_BT[curve], expected, atol=1e-9)


def test_partitions_are_drawn_as_often_as_they_are_probable() -> None:
    posterior, count = made(8), 20_000
    segments = posterior.draw(np.random.default_rng(1), count)
    for curve in (0, 1):
        weights = enumerated(posterior, curve, 0.3)
        total = np.logaddexp.reduce(list(weights.values()))
        mine = segments.draw_S // count == curve
        drawn: dict[int, list[int]] = {}
        for draw, first in zip(segments.draw_S[mine], segments.first_S[mine], strict=True):
            drawn.setdefault(int(draw), []).append(int(first))
        tally: dict[tuple[int, ...], int] = {}
        for starts in drawn.values():
            tally[tuple(starts)] = tally.get(tuple(starts), 0) + 1
        assert set(tally) <= set(weights)
        for starts, weight in weights.items():
            share = np.exp(weight - total)
            # 4.5 standard errors of a share of 20,000 draws; the test looks at about 10 shares
            error = 4.5 * np.sqrt(share * (1 - share) / count) + 1e-4
            assert tally.get(starts, 0) / count == pytest.approx(share, abs=error)


def test_segments_tile_the_points() -> None:
    rng = np.random.default_rng(3)
    x = np.arange(60.0)
    posterior = PartitionPosterior(x, np.abs(x - 30)[None] + rng.standard_normal((1, 60)), np.ones((1, 60)))
    segments = posterior.draw(rng, 50)
    assert (segments.stop_S - segments.first_S >= SHORTEST).all()
    assert np.bincount(segments.draw_S, segments.stop_S - segments.first_S).tolist() == [60.0] * 50


def test_a_sharp_kink_is_where_the_knot_is() -> None:
    x = np.arange(60.0)
    y = np.abs(x - 30.5)[None] + 0.2 * np.random.default_rng(0).standard_normal((1, 60))
    knots = PartitionPosterior(x, y, np.full((1, 60), 0.2)).knot_probability_BT[0]
    assert knots[29:33].sum() > 0.99
    # prior odds of a further knot are 4/60 a gap; the slope's and the level's Occam factors make it rarer
    assert knots[1:].sum() < 1.5
