"""Whole jobs on Ray clusters of several nodes, some of which die: the same numbers, and nothing done is lost."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import estimators
import slt
import workers
from tests.workers.conftest import Workplace
from tests.workers.ray_clusters import (
    COMMAND,
    RECONNECT,
    add_node,
    children,
    cluster_of,
    kill_node,
    wait_for,
)

pytestmark = pytest.mark.slow
pytest.importorskip("ray")

MODULE = '''
"""Linear regression that writes down where and when each checkpoint was sampled."""
import os
import time
from pathlib import Path
from typing import Any

import ray
import torch
from torch import nn

from estimators.problem import Problem

began = None


def build(seconds=0.0, marks=""):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 3, generator=generator)
    y = x.sum(dim=1, keepdim=True) + torch.randn(64, 1, generator=generator)

    def loss(model, batch):
        global began
        began = began or time.time()
        time.sleep(seconds)
        return 0.5 * ((model(batch[0]) - batch[1]) ** 2).sum(dim=1)

    def mark(problem, model):
        global began
        if ray.is_initialized():  # in a worker
            node, card = ray.get_runtime_context().get_node_id(), os.environ.get("CUDA_VISIBLE_DEVICES", "")
            line = f"{model.weight.sum().item():.6f} {began} {time.time()} {node} {card}"
            Path(marks, f"{os.getpid()}-{time.time_ns()}").write_text(line)
            if Path(marks).with_name("hang").exists() and model.weight.sum() > 0.94:  # the eighth checkpoint
                time.sleep(3600)
        began = None
        return {"mark": 0.0}

    return Problem(nn.Linear(3, 1, bias=False), (x, y), loss, measures={"mark": mark}, name="marked")
'''


WITHOUT_BACKUPS = [
    *COMMAND[:-1],
    "from workers import ray_flight; ray_flight.SECONDS_OF_PATIENCE = 1e9; " + COMMAND[-1],
]
"""A second try of a unit that is late, as on a busy machine many are, may end just beside the first."""


@dataclass(frozen=True)
class Mark:
    """One checkpoint computed once."""

    checkpoint: str
    began: float
    ended: float
    node: str
    card: str


class Site(Workplace):
    """A directory with checkpoints, one a unit, and `slt run` in processes of its own."""

    def __init__(self, path: Path, units: int, *, seconds: float = 0.02, **resources: object) -> None:
        super().__init__(path)
        (path / "marked.py").write_text(MODULE)
        (path / "runs").mkdir()
        (path / "marks").mkdir()
        for step in range(1, units + 1):
            self.save(step)
        self.configure(
            problem="marked:build",
            problem_args={"seconds": seconds, "marks": str(path / "marks")},
            measures=["loss", "mark"],
            resources={"checkpoints_per_unit": 1, **resources},
        )

    def start(self, address: str, command: list[str] = COMMAND, **environment: str) -> subprocess.Popen[str]:
        """`slt run` as a driver of the cluster."""
        with open(self.path / "stdout", "w") as out, open(self.path / "stderr", "w") as errors:
            return subprocess.Popen(
                [*command, "run", "tiny.yaml", "--json", "--address", address],
                cwd=self.path,
                env=os.environ | environment,
                stdout=out,
                stderr=errors,
                text=True,
            )

    def serially(self) -> bytes:
        """The table of the same job in one process."""
        out = self.path / "serial"
        assert (
            self.run("--out", str(out), "--set", "resources.gpus=0", "--set", "problem_args.seconds=0").exit_code == 0
        )
        return (out / "trajectory.csv").read_bytes()

    @property
    def done(self) -> list[str]:
        """Units in the job folder."""
        return [path.name for path in self.out.glob("units/*.npz") if not path.name.startswith(".")]

    @property
    def marks(self) -> list[Mark]:
        """All computations, in the order in which they began."""
        lines = [path.read_text().split(" ") for path in (self.path / "marks").iterdir()]
        marks = [Mark(one, float(began), float(ended), node, card) for one, began, ended, node, card in lines]
        return sorted(marks, key=lambda mark: mark.began)


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def finished(driver: subprocess.Popen[str], seconds: float = 1200) -> dict:
    """What the driver says at its end."""
    assert driver.wait(timeout=seconds) == 0, Path("stderr").read_text()
    return json.loads(Path("stdout").read_text())


def test_sixty_units_on_three_nodes_of_two_cards_survive_a_node_and_use_a_new_one(directory):
    site = Site(directory, units=60, gpus=1)
    expected = site.serially()
    with cluster_of(*[{"num_cpus": 2, "num_gpus": 2}] * 3) as cluster:
        driver = site.start(cluster.address, WITHOUT_BACKUPS)
        wait_for(lambda: len(site.done) >= 15 and len({mark.node for mark in site.marks}) == 3, 600)
        victim = sorted(cluster.worker_nodes, key=id)[0]
        saved, killed = len(site.done), time.time()
        kill_node(cluster, victim)
        add_node(cluster, num_cpus=2, num_gpus=2)
        document = finished(driver)
    assert document["units"] == {"computed": 60, "reused": 0, "failed": 0}
    assert site.trajectory == expected
    assert 15 <= saved < 60

    marks = site.marks
    assert len({mark.node for mark in marks}) == 4
    # a card is never granted to two units at once; so there are never more units than cards
    by_card = defaultdict(list)
    for mark in marks:
        by_card[mark.node, mark.card].append(mark)
    assert len(by_card) == 8
    assert {card for _, card in by_card} == {"0", "1"}
    for of_card in by_card.values():
        assert all(one.ended <= next.began for one, next in itertools.pairwise(of_card))
    # what was computed twice had ended on the dying node, and had not reached the driver
    twice = [one for one, count in Counter(mark.checkpoint for mark in marks).items() if count > 1]
    assert len(marks) == 60 + len(twice)
    for one in twice:
        first = min((mark for mark in marks if mark.checkpoint == one), key=lambda mark: mark.ended)
        assert first.node == victim.node_id
        assert first.ended > killed - 1


@pytest.fixture(scope="module")
def small() -> Iterator[Any]:
    """A cluster of one node with two cores, for several tests; the last of them kills its head."""
    with cluster_of({"num_cpus": 2}) as cluster:
        yield cluster


def test_a_driver_that_is_killed_goes_on_where_it_was(directory, small):
    site = Site(directory, units=16)
    expected = site.serially()
    driver = site.start(small.address)
    wait_for(lambda: len(site.done) >= 4, 300)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    done = set(site.done)
    document = finished(site.start(small.address))
    assert 4 <= len(done) < 16
    assert document["units"] == {"computed": 16 - len(done), "reused": len(done), "failed": 0}
    assert site.trajectory == expected
    computed = Counter(mark.checkpoint for mark in site.marks)
    assert len(computed) == 16
    # at most what the two cores and the queue behind them held when the driver died
    assert sum(computed.values()) <= 16 + 4


def test_a_cluster_without_token_is_shown_none_though_ray_has_left_one_here(directory, small, monkeypatch):
    (directory / ".ray").mkdir()
    (directory / ".ray" / "auth_token").write_text("0123456789abcdef" * 4)
    monkeypatch.delenv("RAY_AUTH_MODE")
    site = Site(directory, units=8)
    refused = site.start(small.address, HOME=str(directory), RAY_AUTH_MODE="token")
    assert refused.wait(timeout=300) == 2
    error = (directory / "stderr").read_text()
    assert f"{small.address} asks for no token (RAY_AUTH_MODE is token); unset RAY_AUTH_MODE" in " ".join(error.split())
    document = finished(site.start(small.address, HOME=str(directory)))
    assert document["units"] == {"computed": 8, "reused": 0, "failed": 0}


def test_a_unit_that_hangs_is_a_failed_item_of_the_job_and_the_others_have_their_numbers(directory, small):
    site = Site(directory, units=8, seconds=0.0, unit_seconds=20)
    (directory / "hang").touch()
    driver = site.start(small.address)
    assert driver.wait(timeout=300) == 1, (directory / "stderr").read_text()
    document = json.loads((directory / "stdout").read_text())
    assert document["units"] == {"computed": 7, "reused": 0, "failed": 1}
    [failure] = document["failures"]
    assert failure == {"step": 8, "error": "no estimate: stopped after 20 s, its time limit"}


def test_a_job_whose_head_is_killed_says_so_and_goes_on_with_a_new_cluster(directory, small):
    site = Site(directory, units=16, seconds=0.4)
    expected = site.serially()
    driver = site.start(small.address, **{RECONNECT: "20"})
    wait_for(lambda: len(site.done) >= 4, 300)
    kill_node(small, small.head_node)
    assert driver.wait(timeout=300) == 2
    errors = (directory / "stderr").read_text()
    assert "Traceback" not in errors
    assert "start the cluster again and run the same command" in errors
    done = set(site.done)
    assert 4 <= len(done) < 16
    with cluster_of({"num_cpus": 2}) as cluster:
        document = finished(site.start(cluster.address))
    assert document["units"] == {"computed": 16 - len(done), "reused": len(done), "failed": 0}
    assert site.trajectory == expected


def namespaces_work() -> bool:
    return subprocess.run(["unshare", "--mount", "--uts", "true"], capture_output=True, check=False).returncode == 0


namespaces = pytest.mark.skipif(
    shutil.which("unshare") is None or not namespaces_work(), reason="needs mount namespaces (root)"
)


@contextmanager
def blind_node(cluster: Any, *hidden: Path) -> Iterator[None]:
    """A node by the name of blind, for which these folders and files are empty."""
    hide = [f"mount -t tmpfs none {each}" if each.is_dir() else f"mount --bind /dev/null {each}" for each in hidden]
    ray = Path(COMMAND[0]).with_name("ray")
    script = " && ".join(
        ["hostname blind", *hide, f"exec {ray} start --address={cluster.address} --num-cpus=1 --block"]
    )
    before = len(cluster.global_state._live_node_ids())
    blind = subprocess.Popen(["unshare", "--mount", "--uts", "sh", "-c", script], stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: len(cluster.global_state._live_node_ids()) > before, 120)
        yield
    finally:
        for pid in [*children(blind.pid), blind.pid]:
            os.kill(pid, signal.SIGKILL)
        blind.wait()


@namespaces
def test_a_path_that_a_node_cannot_see_is_one_error_that_names_node_and_path(directory):
    site = Site(directory, units=12)
    with cluster_of({"num_cpus": 1}) as cluster, blind_node(cluster, directory / "runs"):
        driver = site.start(cluster.address)
        assert driver.wait(timeout=300) == 2
    errors = (directory / "stderr").read_text()
    assert "Traceback" not in errors
    [line] = [line for line in errors.splitlines() if "cannot see" in line]
    assert "node blind cannot see" in line
    assert str(directory / "runs" / "step_0000") in line


@namespaces
def test_code_reaches_a_node_that_has_neither_ours_nor_the_users(directory):
    site = Site(directory, units=8)
    code = [Path(package.__file__).parent for package in (slt, estimators, workers)]
    with cluster_of() as cluster, blind_node(cluster, directory / "marked.py", *code):
        document = finished(site.start(cluster.address))
    assert document["units"] == {"computed": 8, "reused": 0, "failed": 0}
    assert len(site.marks) == 8
    assert site.trajectory == site.serially()
