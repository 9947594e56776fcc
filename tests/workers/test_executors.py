"""The executors' contract, with payloads of one line; the science is not needed to test a scheduler."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable

import pytest

from workers.executor import Executor, Failure, Outcome, SerialExecutor


def inc(x: int) -> int:
    return x + 1


def odd_throws(x: int) -> int:
    if x % 2:
        raise ValueError(f"{x} is odd")
    return x


def collected(executor: Executor, function: Callable, items: list) -> dict:
    results = {}

    def keep(outcome: Outcome) -> None:
        assert outcome.item not in results, "an outcome came twice"
        results[outcome.item] = outcome.result

    executor.run(function, items, keep)
    return results


@pytest.fixture(scope="module")
def ray_executor():
    """One local Ray for this file."""
    ray = pytest.importorskip("ray")
    from workers.ray_executor import RayExecutor

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield RayExecutor()
    ray.shutdown()


@pytest.fixture(params=["serial", pytest.param("ray", marks=pytest.mark.slow)])
def executor(request: pytest.FixtureRequest) -> Executor:
    return SerialExecutor() if request.param == "serial" else request.getfixturevalue("ray_executor")


def test_every_item_has_its_own_result(executor):
    assert collected(executor, inc, list(range(20))) == {x: x + 1 for x in range(20)}


def test_no_items_is_no_work(executor):
    assert collected(executor, inc, []) == {}


def test_an_application_error_is_one_failed_item_and_the_others_finish(executor):
    results = collected(executor, odd_throws, [0, 1, 2])
    assert results[0] == 0
    assert results[2] == 2
    assert results[1].kind == "application"
    assert results[1].error == "ValueError: 1 is odd"
    assert "odd_throws" in results[1].traceback


def test_an_application_error_is_never_retried(executor, tmp_path):
    def throws_and_counts(x: int) -> None:
        (tmp_path / f"{time.monotonic_ns()}").touch()
        raise ValueError("always")

    assert isinstance(collected(executor, throws_and_counts, [0])[0], Failure)
    assert len(list(tmp_path.iterdir())) == 1


def test_an_exception_in_the_callback_stops_the_run(executor):
    def full_disk(outcome: Outcome) -> None:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        executor.run(inc, range(100), full_disk)


@pytest.mark.slow
def test_a_killed_worker_is_retried_and_its_item_finishes(ray_executor, tmp_path):
    first_time = tmp_path / "first"

    def dies_once(x: int) -> int:
        if x == 1 and not first_time.exists():
            first_time.touch()
            os.kill(os.getpid(), 9)
        return x

    assert collected(ray_executor, dies_once, [0, 1, 2]) == {0: 0, 1: 1, 2: 2}
    assert first_time.exists()


@pytest.mark.slow
def test_a_worker_that_always_dies_is_one_failed_item_of_the_system(ray_executor):
    def dies(x: int) -> int:
        if x == 1:
            os.kill(os.getpid(), 9)
        return x

    results = collected(ray_executor, dies, [0, 1, 2])
    assert (results[0], results[2]) == (0, 2)
    assert results[1].kind == "system"


@pytest.mark.slow
def test_items_are_taken_only_as_slots_come_free(ray_executor):
    taken = []

    def items():
        for x in range(30):
            taken.append(x)
            yield x

    most_ahead = 0

    def keep(outcome: Outcome) -> None:
        nonlocal most_ahead, done
        most_ahead = max(most_ahead, len(taken) - done)
        done += 1

    done = 0
    ray_executor.run(inc, items(), keep)
    assert done == 30
    # two slots, twice as many in flight
    assert most_ahead == 4


@pytest.mark.slow
def test_items_run_at_once_up_to_the_number_of_workers(ray_executor):
    from workers.ray_executor import RayExecutor

    def interval(x: int) -> tuple[float, float]:
        started = time.monotonic()
        time.sleep(0.5)
        return started, time.monotonic()

    collected(ray_executor, inc, [0, 1])  # both workers are warm
    overlaps = {}
    for workers in (1, 2):
        spans = sorted(collected(RayExecutor(workers=workers), interval, list(range(4))).values())
        overlaps[workers] = sum(start < end for (_, end), (start, _) in itertools.pairwise(spans))
    assert overlaps[1] == 0
    assert overlaps[2] > 0


def test_serial_runs_in_the_calling_thread():
    assert collected(SerialExecutor(), lambda x: threading.get_ident(), [0])[0] == threading.get_ident()


@pytest.mark.slow
def test_overhead_per_unit_on_ray_is_under_20_ms(ray_executor):
    def seconds(units: int) -> float:
        started = time.perf_counter()
        collected(ray_executor, inc, list(range(units)))
        return (time.perf_counter() - started) / units

    # the quickest of some rounds: other work on the machine only ever adds
    assert min(seconds(100) for _ in range(5)) < 0.020
