"""Landmarks from draws."""

from __future__ import annotations

import numpy as np

from slt.clusters import by_draw, clusters


def test_two_groups_of_positions_are_two_clusters() -> None:
    rng = np.random.default_rng(0)
    position = np.concatenate([rng.normal(1, 0.02, 200), rng.normal(2, 0.02, 100)])
    assert [len(members) for members in clusters(position, 0.03)] == [200, 100]


def test_groups_closer_than_the_kernel_are_one_cluster() -> None:
    rng = np.random.default_rng(0)
    position = np.concatenate([rng.normal(1, 0.02, 200), rng.normal(1.04, 0.02, 200)])
    assert [len(members) for members in clusters(position, 0.03)] == [400]


def test_every_position_is_in_exactly_one_cluster() -> None:
    position = np.random.default_rng(1).uniform(0, 5, 500)
    together = np.sort(np.concatenate(clusters(position, 0.03)))
    assert together.tolist() == list(range(500))


def test_no_positions_give_no_cluster_and_one_gives_one() -> None:
    assert clusters(np.empty(0), 0.03) == []
    assert [members.tolist() for members in clusters(np.array([2.0]), 0.03)] == [[0]]


def test_of_a_draw_with_two_members_the_one_nearer_to_the_median_counts() -> None:
    position, draw = np.array([1.0, 1.01, 1.02, 1.3]), np.array([0, 1, 3, 3])
    found = by_draw(position, draw, np.arange(4), 5)
    np.testing.assert_array_equal(found, [1.0, 1.01, np.nan, 1.02, np.nan])
