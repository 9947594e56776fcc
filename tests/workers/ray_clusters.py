"""Ray clusters of several nodes on this machine, with a folder and ports of their own, for tests."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.workers.patience import until

RECONNECT = "RAY_gcs_rpc_server_reconnect_timeout_s"
COMMAND = [sys.executable, "-c", "from workers.cli import main; main()"]


@contextmanager
def cluster_of(*nodes: dict[str, Any], head: dict[str, Any] | None = None) -> Iterator[Any]:
    """A `ray.cluster_utils.Cluster`: a head without cores, unless it is given some, and these nodes."""
    from ray.cluster_utils import Cluster

    # Sockets need short paths; and the file that `address="auto"` reads must not be that of another cluster here.
    folder = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))
    (folder / "ray").mkdir()
    before = os.environ.get("RAY_TMPDIR")
    os.environ["RAY_TMPDIR"] = str(folder)
    cluster = Cluster()
    try:
        add_node(cluster, **{"num_cpus": 0, "include_dashboard": False, "include_log_monitor": False} | (head or {}))
        for node in nodes:
            add_node(cluster, **node)
        yield cluster
    finally:
        cluster.shutdown()
        if before is None:
            del os.environ["RAY_TMPDIR"]
        else:
            os.environ["RAY_TMPDIR"] = before
        shutil.rmtree(folder, ignore_errors=True)


def add_node(cluster: Any, tries: int = 3, **node: Any) -> Any:
    """Another node. Ray gives it 30 s to start, which a busy machine may exceed.

    Its workers, of which there may be more than cores, yield to what tests beside start in the same 30 s.
    """
    try:
        added = cluster.add_node(**node)
    except Exception as error:
        if tries == 1 or "timed out" not in str(error):
            raise
        return add_node(cluster, tries - 1, **node)
    (raylet,) = added.all_processes["raylet"]
    for pid in [raylet.process.pid, *children(raylet.process.pid)]:
        with suppress(ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, pid, 10)
    return added


@contextmanager
def connected(cluster: Any) -> Iterator[Any]:
    """This process as a driver on the cluster."""
    import ray

    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    try:
        yield ray
    finally:
        ray.shutdown()


def kill_node(cluster: Any, node: Any) -> None:
    """SIGKILL to a node and, with it, to its workers, none of which says goodbye."""
    (raylet,) = node.all_processes["raylet"]
    workers = children(raylet.process.pid)
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    for pid in [raylet.process.pid, *workers]:
        os.kill(pid, signal.SIGKILL)
    cluster.remove_node(node, allow_graceful=False)


def children(pid: int) -> list[int]:
    """Processes that a process has started and that live."""
    reply = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in reply.stdout.split()]


def wait_for(what: Callable[[], Any], seconds: float = 300) -> Any:
    """Until it is true, looked at often."""
    return until(what, f"{what}", seconds)
