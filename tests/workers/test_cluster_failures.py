"""What the executor promises when things fail, on Ray clusters of several nodes, with payloads of one line."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from slt.errors import BadInput
from tests.workers.ray_clusters import cluster_of, connected, kill_node, wait_for

pytestmark = pytest.mark.slow
pytest.importorskip("ray")


def run(function, items, **settings) -> dict:
    from workers.ray_executor import RayExecutor

    outcomes = {}
    RayExecutor(**settings).run(function, items, lambda outcome: outcomes.__setitem__(outcome.item, outcome.result))
    return outcomes


# Two clusters of their own come first: this process can be the driver of one cluster at a time.


def test_code_that_nodes_cannot_be_given_is_one_error():
    import ray

    from workers.ray_executor import RayExecutor

    code = {"working_dir": "https://127.0.0.1:9/nowhere.zip"}
    with cluster_of({"num_cpus": 1}) as cluster:
        ray.init(address=cluster.address, runtime_env=code, log_to_driver=False, logging_level="ERROR")
        try:
            with pytest.raises(BadInput, match="nodes cannot be given the code"):
                RayExecutor().run(abs, range(20), lambda outcome: None)
        finally:
            ray.shutdown()


def test_a_worker_that_its_node_kills_for_memory_is_retried_and_then_one_failed_item(tmp_path):
    memory = {
        line.split(":")[0]: int(line.split()[1]) * 1024 for line in Path("/proc/meminfo").read_text().splitlines()
    }
    total, free = memory["MemTotal"], memory["MemAvailable"]
    if free < 8 * 2**30 or Path("/sys/fs/cgroup/memory.max").exists():
        pytest.skip("needs 8 GiB of free memory, counted for the whole machine")
    # the node kills workers once 5 GiB more than now are in use: other tests may take some of them
    system = {
        "memory_usage_threshold": (total - free + 5 * 2**30) / total,
        "memory_monitor_refresh_ms": 100,
        "task_oom_retries": 1,
    }

    def grows(x: int) -> int:
        held = []
        while x == 1:
            held.append(b"x" * 2**26)
            time.sleep(0.01)
        return x

    with cluster_of(head={"num_cpus": 1, "_system_config": system}) as cluster, connected(cluster):
        outcomes = run(grows, [0, 1, 2])
    assert (outcomes[0], outcomes[2]) == (0, 2)
    assert outcomes[1].kind == "system"
    assert "its node ran out of memory" in outcomes[1].error


@pytest.fixture(scope="module")
def pair():
    """A cluster of two nodes with two cores each, and this process as its driver."""
    with cluster_of({"num_cpus": 2, "resources": {"one": 1}}, {"num_cpus": 2}) as cluster, connected(cluster):
        yield cluster


def test_an_item_that_hangs_is_stopped_and_the_others_finish(pair):
    def hangs(x: int) -> int:
        if x == 1:
            time.sleep(600)
        return x

    started = time.monotonic()
    outcomes = run(hangs, [0, 1, 2], seconds=3)
    assert time.monotonic() - started < 300  # it sleeps for 600
    assert (outcomes[0], outcomes[2]) == (0, 2)
    assert outcomes[1].kind == "time"
    assert outcomes[1].error == "stopped after 3 s, its time limit"


def test_waiting_for_a_slot_does_not_count_against_the_time_limit(pair):
    def takes_one_second(x: int) -> int:
        time.sleep(1)
        return x

    # four slots and 20 items: the last ones wait for longer than the limit
    assert run(takes_one_second, range(20), seconds=4) == {x: x for x in range(20)}


def test_an_item_begins_anew_on_another_worker_with_its_whole_time(pair, tmp_path):
    def dies_once_late(x: int) -> int:
        time.sleep(5)
        if x == 0 and not (tmp_path / "died").exists():
            (tmp_path / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    assert run(dies_once_late, [0, 1], seconds=9.5) == {0: 0, 1: 1}
    assert (tmp_path / "died").exists()


def test_python_that_runs_out_of_memory_is_one_failed_item(pair):
    def asks_for_too_much(x: int) -> int:
        return len(bytearray(2**62)) if x == 1 else x

    outcomes = run(asks_for_too_much, [0, 1, 2])
    assert (outcomes[0], outcomes[2]) == (0, 2)
    assert outcomes[1].kind == "application"
    assert outcomes[1].error.startswith("MemoryError")


def test_a_worker_that_always_dies_is_one_failed_item_with_a_sentence(pair):
    def dies(x: int) -> int:
        if x == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    outcomes = run(dies, [0, 1, 2])
    assert (outcomes[0], outcomes[2]) == (0, 2)
    assert outcomes[1].kind == "system"
    assert outcomes[1].error == "WorkerCrashedError: its worker process died, killed or crashed, 4 times in a row"


def test_a_result_lost_with_its_node_is_computed_again(pair, tmp_path):
    import numpy as np
    import ray

    from workers.ray_executor import RayExecutor

    node = pair.add_node(num_cpus=1)
    dying = node.node_id
    begun, waits = tmp_path / "begun", tmp_path / "waits"
    computed = tmp_path / "computed"
    computed.mkdir()

    def large(x: int) -> object:
        """Five items for five slots: one of them is on the new node, and is there while the driver waits for it."""
        here = ray.get_runtime_context().get_node_id()
        if here == dying:
            begun.touch()
        wait_for((waits if here == dying else begun).exists)
        (computed / f"{x}.{here}.{time.time_ns()}").touch()
        return np.full(10**6, float(x))  # stays in the store of its node until the driver fetches it

    lost: set[int] = set()
    sums = {}

    def there() -> set[int]:
        """Items that were computed on the node."""
        return {int(path.name.split(".")[0]) for path in computed.iterdir() if path.name.split(".")[1] == dying}

    def keep(outcome) -> None:
        sums[outcome.item] = outcome.result.sum()
        if not lost:  # nothing is fetched while this runs
            waits.touch()
            lost.update(wait_for(there))
            time.sleep(1)
            kill_node(pair, node)

    RayExecutor(workers=5).run(large, range(10), keep)
    assert sums == {x: x * 10**6 for x in range(10)}
    times = [int(path.name.split(".")[0]) for path in computed.iterdir()]
    assert lost
    assert all(times.count(item) == 2 for item in lost)
