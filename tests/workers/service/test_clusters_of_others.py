"""A Ray that the service did not start: straight to it, and through a service that is told of it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.workers.object_store import Gate
from workers.service import local_ray

from .conftest import SLT, Process, job

pytestmark = pytest.mark.slow


class Busy(Gate):
    """Closes every third connection on a GET or PUT without an answer, as a dashboard with too much to do."""

    asked = 0
    dropped = 0

    def _pass(self, client: socket.socket) -> None:
        repeatable = client.recv(4, socket.MSG_PEEK) in (b"GET ", b"PUT ")
        self.asked += repeatable
        if repeatable and self.asked % 3 == 1:
            self.dropped += 1
        else:
            super()._pass(client)


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A busy Ray with token authentication; its token is in Ray's own environment variables, as a user has it."""
    place = tmp_path / "cluster"
    place.mkdir()
    ray, _ = local_ray.ensure(place)
    for name, value in local_ray.environment(place).items():
        monkeypatch.setenv(name, value)
    gate = Busy(urlsplit(ray.address).port)
    yield gate.url
    gate.shut()
    local_ray.stop(place)
    assert gate.dropped > 5


def slt(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    ran = subprocess.run([SLT, *arguments], capture_output=True, text=True, env=os.environ, check=False, timeout=300)
    assert ran.returncode == code, ran.stdout + ran.stderr
    return ran


def test_a_job_straight_on_a_cluster_and_one_through_a_service(workplace, cluster):
    at = ("--address", cluster)
    Path("events.csv").write_text("name,step\nrest,100\n")
    workplace.configure(events="events.csv", out="results/tiny")
    submitted = slt("submit", "tiny.yaml", *at)
    job_id = submitted.stdout.strip()
    assert "out is results/tiny" in submitted.stderr
    assert "all nodes of the cluster must see" in submitted.stderr
    assert json.loads(slt("submit", "tiny.yaml", *at, "--json").stdout)["new"] is False
    watched = slt("watch", job_id, *at)
    assert "estimating: 12/12" in watched.stderr
    assert "SUCCEEDED" in watched.stdout
    assert json.loads(slt("status", job_id, *at, "--json").stdout)["state"] == "SUCCEEDED"
    assert [each["id"] for each in json.loads(slt("list", *at, "--json").stdout)["jobs"]] == [job_id]
    assert "12 checkpoints" in slt("logs", job_id, *at).stdout
    on_cluster = workplace.trajectory
    assert (workplace.out / "comparison.json").exists()

    through = Process(workplace.path / "service", workplace.path, "--address", cluster)
    try:
        made, _ = through.client.submit(job(measures=["loss", "weight_norm"])["job"])
        [*_, (kind, end)] = through.client.watch(made["id"])
        assert (kind, end["state"], end["message"]) == ("end", "SUCCEEDED", "")
        assert (through.folder / "jobs" / made["id"] / "trajectory.csv").read_bytes() == on_cluster
        assert not (through.folder / "ray.json").exists()
    finally:
        through.stop()
    assert json.loads(slt("status", job_id, *at, "--json").stdout)["state"] == "SUCCEEDED"  # the cluster is still there
