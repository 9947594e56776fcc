"""One slow node does not hold up the end: the real loop on a simulated cluster, and a real cluster of several nodes."""

from __future__ import annotations

import time
from collections import Counter

import pytest

pytest.importorskip("ray")

from benchmarks.simulated_cluster import Shape, SimulatedExecutor
from benchmarks.simulation import end_of_job
from tests.workers.ray_clusters import add_node, cluster_of, connected
from workers.ray_flight import SECONDS_OF_PATIENCE, Late


def outcomes_of(shape: Shape, items: list, seconds: float) -> tuple[Counter, SimulatedExecutor]:
    executor = SimulatedExecutor(shape, lambda item: seconds, lambda item: -item)
    found: Counter = Counter()
    executor.run(abs, items, lambda outcome: found.update([(outcome.item, outcome.result)]))
    return found, executor


@pytest.mark.parametrize("workers", [2, 3, 5, 8, 13])
@pytest.mark.parametrize("checkpoints", [50, 100, 300])
def test_a_worker_five_times_slower_puts_off_the_end_by_a_small_unit_at_most(checkpoints, workers):
    found = end_of_job(checkpoints, workers)
    assert found["with"] <= found["without"] + found["small"] + 0.1


def test_each_item_has_one_outcome_however_often_it_was_computed():
    found, executor = outcomes_of(Shape(20, slots=2, slow=3, seconds_to_death=2000.0, spread=0.2), list(range(500)), 60)
    assert found == Counter((item, -item) for item in range(500))
    assert executor.cluster.deaths > 0
    assert executor.cluster.twice > 0


def test_nothing_is_computed_twice_where_all_nodes_are_alike():
    _, executor = outcomes_of(Shape(20, slots=2, spread=0.1), list(range(500)), 30)
    assert executor.cluster.twice == 0


def test_an_item_is_late_by_what_others_took_and_counts_from_when_its_slot_came_free():
    now = 0.0
    late = Late(lambda: now)
    for number in range(4):
        late.add(number)
    late.place(2)
    assert late.numbers(9) == []  # nobody knows yet how long an item takes
    now = 100.0
    late.end(1)
    late.place(2)  # the third begins
    now = 151.0
    assert late.numbers(9) == [0]
    assert late.numbers(9) == []  # named once
    now = 251.0
    assert late.numbers(0) == []
    assert late.numbers(9) == [2]


def test_short_items_are_never_late():
    now = 0.0
    late = Late(lambda: now)
    for number in range(2):
        late.add(number)
    late.place(2)
    now = 0.1
    late.end(0)
    now = SECONDS_OF_PATIENCE
    assert late.numbers(9) == []


@pytest.mark.slow
def test_what_a_slow_node_has_begun_with_is_computed_on_another_and_the_job_does_not_wait():
    import ray

    from workers.ray_executor import RayExecutor

    def takes_its_time(item: int) -> str:
        name = "slow" if ray.get_runtime_context().get_node_id() in slow else "fast"
        time.sleep(200 if name == "slow" else 0.5)
        return name

    with cluster_of({"num_cpus": 1}, {"num_cpus": 1}) as cluster:
        slow = {add_node(cluster, num_cpus=1).node_id}
        found = {}
        with connected(cluster):
            began = time.monotonic()
            RayExecutor().run(takes_its_time, range(12), lambda each: found.__setitem__(each.item, each.result))
            seconds = time.monotonic() - began
    assert sorted(found) == list(range(12))
    assert set(found.values()) == {"fast"}
    assert seconds < 150
