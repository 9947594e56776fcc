"""Which gauge sees which boundary: what is shared, what one sees alone, and what cannot be read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slt.gauges import TOLERANCE, Gauges, compare_gauges, gauges
from slt.stages import Boundary, Stages
from slt.synthetic import Sampling, smooth_steps
from slt.trajectory import Trajectory


def stages(*steps: float, tentative: tuple[float, ...] = ()) -> Stages:
    def marks(places: tuple[float, ...], probability: float) -> tuple[Boundary, ...]:
        return tuple(Boundary(step, 0.9 * step, 1.1 * step, probability, "shelf") for step in places)

    return Stages(marks(steps, 0.9), marks(tentative, 0.3), (), ())


def seen(table: Gauges) -> list[dict[str, float]]:
    return [{name: mark.step for name, mark in boundary.seen.items()} for boundary in table.boundaries]


def test_boundaries_within_the_tolerance_are_one_and_others_stay_alone() -> None:
    table = compare_gauges({"LLC": stages(100.0, 1000.0), "loss": stages(110.0, 5000.0)})
    assert seen(table) == [{"LLC": 100, "loss": 110}, {"LLC": 1000}, {"loss": 5000}]
    assert [boundary.alone for boundary in table.boundaries] == [None, "LLC", "loss"]


def test_a_tentative_boundary_supports_a_row_but_makes_none() -> None:
    table = compare_gauges({"LLC": stages(100.0), "loss": stages(tentative=(105.0, 3000.0))})
    assert seen(table) == [{"LLC": 100, "loss": 105}]
    assert table.boundaries[0].step == 100  # of those who are sure


def test_the_closest_belong_together_even_if_another_came_first() -> None:
    table = compare_gauges({"a": stages(100.0, 118.0), "b": stages(120.0)})
    assert seen(table) == [{"a": 100}, {"a": 118, "b": 120}]


def test_a_chain_of_neighbours_does_not_stretch_a_row_beyond_the_tolerance() -> None:
    steps = 100 * 10 ** (0.07 * np.arange(4))
    table = compare_gauges({f"seed {k}": stages(float(step)) for k, step in enumerate(steps)})
    assert [len(row) for row in seen(table)] == [2, 2]


@given(st.lists(st.lists(st.floats(1, 1e6), max_size=4, unique=True).map(sorted), min_size=1, max_size=4))
@settings(max_examples=100, deadline=None)
def test_every_boundary_is_in_exactly_one_row_and_no_row_is_wider_than_the_tolerance(places: list[list[float]]) -> None:
    table = compare_gauges({f"g{k}": stages(*steps) for k, steps in enumerate(places)})
    rows = seen(table)
    assert sorted(step for row in rows for step in row.values()) == sorted(step for steps in places for step in steps)
    assert all(np.ptp(np.log10(list(row.values()))) <= TOLERANCE for row in rows)
    assert [boundary.step for boundary in table.boundaries] == sorted(boundary.step for boundary in table.boundaries)


def test_curves_of_one_run_share_the_boundaries_that_they_have_in_common() -> None:
    made = smooth_steps(Sampling(points=120, noise=0.003), bursts=3, seed=2)
    llc = made.trajectory
    rng = np.random.default_rng(0)
    x = np.log10(llc.steps)
    scaled = replace(llc, llc=-3 * llc.llc + 0.005 * rng.standard_normal(120))
    table = gauges({"llc": llc, "mirror": scaled, "ramp": replace(llc, llc=x), "short": llc.select(slice(0, 4))})
    assert [set(row) for row in seen(table)] == [{"llc", "mirror"}] * 2
    found = np.log10([boundary.step for boundary in table.boundaries])
    np.testing.assert_allclose(found, np.log10(made.boundaries), atol=0.1)
    assert "too few" in table.unusable["short"]


def test_the_table_survives_json() -> None:
    table = compare_gauges({"LLC": stages(100.0), "loss": stages(105.0, 900.0)}, {"norm": "too few"})
    assert Gauges.from_dict(table.to_dict()) == table


def test_a_gauge_without_boundaries_has_a_column_and_no_row() -> None:
    flat = Trajectory(np.geomspace(1, 1e4, 20), np.ones(20))
    table = gauges({"flat": flat})
    assert (table.names, table.boundaries) == (("flat",), ())


@pytest.mark.parametrize("tolerance", [0.01, 0.05])
def test_a_stricter_tolerance_keeps_them_apart(tolerance: float) -> None:
    table = compare_gauges({"a": stages(100.0), "b": stages(115.0)}, tolerance=tolerance)
    assert len(table.boundaries) == 2
