"""Units of work on Ray: a cluster that is named, or one that starts by itself on this machine."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from slt.errors import BadInput
from workers.executor import Failure, Item, Outcome, Result, attempt

# Read by Ray when it is imported or started: no usage report, and no advice on settings printed between progress lines.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray
from ray.exceptions import RayError

RETRIES_OF_SYSTEM_FAILURES = 3
SECONDS_TO_REACH = 10
LOCAL = "local"


class RayExecutor:
    """Runs items as Ray tasks.

    Args:
        cpus: cores of one item. Ray gives its workers OMP_NUM_THREADS to match.
        gpus: cards of one item, whole or a fraction.
        workers: items at once; without it, as many as the cluster can hold.
        address: of a running cluster; without it, a local Ray is started and stopped again, unless
            this process is already connected to one.
        user_code: module files or package folders that the cluster's nodes need besides this project.

    Raises:
        BadInput: the cluster cannot be reached, or can never hold one item.
    """

    def __init__(
        self,
        *,
        cpus: int = 1,
        gpus: float = 0,
        workers: int | None = None,
        address: str | None = None,
        user_code: Iterable[Path] = (),
    ) -> None:
        self.cpus, self.gpus, self.workers = cpus, gpus, workers
        self.address = address
        self.user_code = tuple(user_code)

    def run(
        self,
        function: Callable[[Item], Result],
        items: Iterable[Item],
        on_outcome: Callable[[Outcome[Item, Result]], None],
    ) -> None:
        """Keep the cluster's slots filled and hand over outcomes as they come."""
        ours = not ray.is_initialized()
        if ours:
            self._start()
        try:
            self._drain(function, iter(items), on_outcome)
        finally:
            if ours:
                ray.shutdown()

    def _start(self) -> None:
        options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
        if self.address and self.address != LOCAL:
            _require_reachable(self.address)
            options |= {"address": self.address, "runtime_env": {"py_modules": _own_packages(self.user_code)}}
        else:
            # Without a number of workers every core works; with it, the cluster is made just large enough.
            cores = self.workers * self.cpus if self.workers else max(os.cpu_count() or 1, self.cpus)
            options |= {"address": LOCAL, "num_cpus": cores, "include_dashboard": False}
        main = threading.current_thread() is threading.main_thread()
        handler = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(**options)
            if main:  # Ray puts one of its own in place, which ends the process with a stack trace
                signal.signal(signal.SIGTERM, handler)
        except (ConnectionError, RayError, ValueError, RuntimeError) as error:
            where = self.address or "on this machine"
            raise BadInput(
                f"Ray {where} cannot be used: {_first_line(error)}; run with --serial, or check --address"
            ) from None

    def _drain(self, function: Callable[[Item], Result], items: Any, on_outcome: Callable[..., None]) -> None:
        task = ray.remote(attempt).options(
            num_cpus=self.cpus,
            num_gpus=self.gpus,
            max_retries=RETRIES_OF_SYSTEM_FAILURES,
            retry_exceptions=False,
            name=getattr(function, "__name__", "unit"),
        )
        function_once = ray.put(function)
        running: dict[Any, Item] = {}
        try:
            while True:
                for item in items:
                    running[task.remote(function_once, item)] = item
                    if len(running) >= self._in_flight():
                        break
                if not running:
                    return
                done, _ = ray.wait(list(running), num_returns=1)
                for reference in done:
                    on_outcome(Outcome(running.pop(reference), _result(reference)))
        finally:
            for reference in running:  # interrupted: a shared cluster should not go on for nobody
                ray.cancel(reference, force=True)

    def _in_flight(self) -> int:
        """Twice what fits, so that a free slot never waits for this process; asked anew because nodes come and go."""
        if self.workers:
            return self.workers
        cluster = ray.cluster_resources()
        slots = cluster.get("CPU", 0) / self.cpus
        if self.gpus:
            slots = min(slots, cluster.get("GPU", 0) / self.gpus)
        if slots < 1 and not self.address:
            raise BadInput(
                f"one unit needs {self.cpus} cpus and {self.gpus:g} gpus but this Ray has "
                f"{cluster.get('CPU', 0):g} and {cluster.get('GPU', 0):g}; lower resources.cpus or resources.gpus"
            )
        return max(1, 2 * int(slots))


def _require_reachable(address: str) -> None:
    """Ray itself waits minutes for a cluster that is not there."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():  # "auto": Ray looks for the cluster on this machine
        return
    try:
        socket.create_connection((host, int(port)), timeout=SECONDS_TO_REACH).close()
    except OSError as error:
        reason = error.strerror or error
        raise BadInput(f"no Ray cluster answers at {address}: {reason}; check --address, or run without it") from None


def _result(reference: Any) -> Any:
    try:
        return ray.get(reference)
    except RayError as error:
        return Failure("system", f"{type(error).__name__}: {_first_line(error)}", str(error))


def _own_packages(user_code: Iterable[Path]) -> list[ModuleType | str]:
    import estimators
    import slt
    import workers

    return [slt, estimators, workers, *(str(path) for path in user_code)]


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
