"""What a cluster can hold, and the shares of its cards."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("ray")

from slt.errors import BadInput
from tests.workers.ray_clusters import add_node, cluster_of, connected
from workers.ray_cluster import LOCAL, card_bytes, connect, share_of_card, slots, smallest_card

GIB = 2**30


def node(alive: bool = True, **resources: float) -> dict:
    return {"Alive": alive, "Resources": resources}


@pytest.mark.parametrize(
    ("nodes", "cpus", "gpus", "expected"),
    [
        ([node(CPU=4), node(CPU=3), node(CPU=8, alive=False)], 2, 0, 3),
        ([node(CPU=8, GPU=2), node(CPU=8)], 1, 1, 2),
        ([node(CPU=1, GPU=2)], 1, 1, 1),
        # two parts of 0.6 share no card, though six cards are ten times 0.6
        ([node(CPU=32, GPU=6)], 1, 0.6, 6),
        ([node(CPU=32, GPU=2)], 1, 0.3333, 6),
        # nor does an item find half of its cards on one node and half on another
        ([node(CPU=8, GPU=1), node(CPU=8, GPU=1)], 1, 2, 0),
        ([], 1, 0, 0),
    ],
)
def test_slots_are_counted_node_by_node_and_card_by_card(nodes, cpus, gpus, expected):
    assert slots(nodes, cpus, gpus) == expected


@pytest.mark.parametrize(
    ("needed", "card", "share"),
    [(10 * GIB, 80 * GIB, 0.1428), (30 * GIB, 80 * GIB, 0.5), (60 * GIB, 80 * GIB, 1.0), (0, 80 * GIB, 0.125),
     (200 * GIB, 80 * GIB, 1.0), (10 * GIB, None, 1.0)],
)  # fmt: skip
def test_a_share_is_one_over_a_whole_number_of_parts(needed, card, share):
    assert share_of_card(needed, card) == share


def a_tool_that_knows_cards(folder: Path) -> None:
    tool = folder / "nvidia-smi"
    tool.write_text("#!/bin/sh\nprintf '81559\\n40960\\n'\n")
    tool.chmod(0o755)


def test_the_smallest_card_is_asked_of_the_cards_own_tool(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert card_bytes() is None
    a_tool_that_knows_cards(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin")
    assert card_bytes() == 40960 * 2**20


@pytest.mark.parametrize("late", [1, 3])
def test_a_ray_that_is_late_is_started_again_and_then_said_to_be_late(monkeypatch, late):
    import ray

    starts = []

    def init(**options: object) -> None:
        starts.append(options["num_cpus"])
        if len(starts) <= late:  # Ray's own words, and its own class
            raise Exception("The current node timed out during startup. This could happen because ...")

    monkeypatch.setattr(ray, "init", init)
    if late == 1:
        connect(LOCAL, 2, [])
    else:
        with pytest.raises(BadInput, match="cannot be used: The current node timed out during startup"):
            connect(None, 2, [])
    assert len(starts) == min(late + 1, 3)


@pytest.mark.slow
def test_auto_is_no_card_without_cards_and_the_share_that_a_unit_needs_with_them(tmp_path, monkeypatch):
    import ray

    from workers.ray_executor import RayExecutor

    def cards(x: int) -> float:
        return ray.get_runtime_context().get_assigned_resources().get("GPU", 0.0)

    def granted() -> float:
        found = []
        executor = RayExecutor(gpus="auto", card_bytes=lambda item: 15 * GIB)
        executor.run(cards, [0], lambda outcome: found.append(outcome.result))
        return found[0]

    with cluster_of({"num_cpus": 1}) as cluster, connected(cluster):
        assert smallest_card() == 0
        assert granted() == 0
        a_tool_that_knows_cards(tmp_path)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        add_node(cluster, num_cpus=2, num_gpus=1)
        assert smallest_card() == 40960 * 2**20
        assert granted() == 0.5
