"""Ray's own autoscaler starts nodes for a job's pending units: its fake provider makes real nodes on this machine.

`ray.cluster_utils.AutoscalingCluster` would be shorter, but reads a file that Ray's wheel leaves out, and begins and
ends with `ray stop --force`, which takes every other Ray of the machine with it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.workers.ray_clusters import COMMAND, children, wait_for
from tests.workers.test_clusters import Site, finished

pytestmark = pytest.mark.slow
ray = pytest.importorskip("ray")

HEAD = "ray.head.default"
FLAGS = dict.fromkeys(
    ("disable_node_updaters", "disable_launch_config_check", "foreground_node_launch", "use_node_id_as_ip"), True
)
PARTS = ("auth", "docker", "file_mounts")
LISTS = ("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands")
LISTS += ("head_start_ray_commands", "worker_start_ray_commands", "cluster_synced_files", "rsync_exclude")


def configuration(address: str, most: int, **resources: float) -> dict[str, Any]:
    """A head without cores, and up to so many nodes that are not there until somebody waits for them."""
    node = {"resources": resources, "node_config": {}, "min_workers": 0, "max_workers": most}
    head = {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}
    return {
        "cluster_name": "grows",
        "max_workers": most,
        "upscaling_speed": 100.0,
        "idle_timeout_minutes": 10,
        "provider": {"type": "fake_multinode", "gcs_address": address, **FLAGS},
        "available_node_types": {HEAD: head, "cards": node},
        "head_node_type": HEAD,
        **{name: {} for name in PARTS},
        **{name: [] for name in LISTS},
    }


@contextmanager
def growing_cluster(most: int, **resources: float) -> Iterator[str]:
    """The address of a head with Ray's autoscaler, which starts such nodes."""
    folder = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))  # sockets need short paths
    (folder / "ray").mkdir()
    with socket.create_server(("", 0)) as free:
        port = free.getsockname()[1]
    host = ray.util.get_node_ip_address()
    address = f"{host}:{port}"
    (folder / "cluster.yaml").write_text(json.dumps(configuration(address, most, **resources)))
    command = [str(Path(COMMAND[0]).with_name("ray")), "start", "--head", "--block", f"--port={port}", "--num-cpus=0"]
    command += ["--include-dashboard=false", f"--temp-dir={folder / 'ray'}"]
    command += [f"--autoscaling-config={folder / 'cluster.yaml'}", "--disable-usage-stats"]
    settings = {"AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_FAKE_CLUSTER": "1"}
    settings["RAY_worker_niceness"] = "0"  # on a busy machine Ray's workers would get next to nothing of it
    with open(folder / "log", "wb") as log:
        head = subprocess.Popen(command, env=os.environ | settings, stdout=log, stderr=log)
    try:
        wait_for(lambda: answers(host, port), 60)
        yield address
    finally:
        for pid in [head.pid, *descendants(head.pid)]:
            os.kill(pid, signal.SIGKILL)
        head.wait()
        shutil.rmtree(folder, ignore_errors=True)


def answers(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


def descendants(pid: int) -> list[int]:
    """Processes that a process has started, and those that they have."""
    return [each for child in children(pid) for each in (child, *descendants(child))]


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With a home in which Ray has left a token before, as it does: then `ray start` asks every driver for it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("0123456789abcdef" * 4)
    return tmp_path


def test_pending_units_make_nodes_with_cards_join_and_the_job_is_finished_on_them(directory):
    site = Site(directory, units=8, gpus=1, seconds=0.0, checkpoints_per_unit=2)
    with growing_cluster(most=2, CPU=2, GPU=2) as address:
        stranger = site.start(address, HOME=str(directory / "elsewhere"))
        assert stranger.wait(timeout=300) == 2
        assert f"{address} asks for a token (RAY_AUTH_MODE is not set)" in (directory / "stderr").read_text()
        driver = site.start(address)
        try:
            document = finished(driver, 300)
        finally:
            driver.kill()
    assert document["units"] == {"computed": 4, "reused": 0, "failed": 0}
    assert site.trajectory == site.serially()
    assert len({mark.node for mark in site.marks}) == 2
    assert {mark.card for mark in site.marks} == {"0", "1"}
