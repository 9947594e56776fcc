"""Units of work on Ray: tasks that Ray places, queues and retries; see `executor` for what is promised."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import Any

from estimators.engines.memory import limit_to_share
from slt.errors import BadInput
from workers.executor import Failure, Item, Outcome, Result, attempt
from workers.ray_cluster import connect, first_line, share_of_card, slots, smallest_card

import ray  # isort: skip  (after ray_cluster, which tells Ray to be quiet)
from ray.exceptions import (
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayError,
    RayTaskError,
    RuntimeEnvSetupError,
    WorkerCrashedError,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

logger = logging.getLogger(__name__)

RETRIES_OF_SYSTEM_FAILURES = 3

LOOK_EVERY = 2.0
"""Seconds between two looks at the cluster: what it can hold now, and which items are past their time limit."""

QUEUED_FOR_AUTOSCALER = 100
"""Items that wait at a named cluster at least: Ray's autoscaler starts nodes for what waits."""

SECONDS_TO_ANSWER = 10.0

UNPLACED_SECONDS = 30.0
"""Without a node that could hold an item, until the user is told."""


class RayExecutor:
    """Runs items as Ray tasks.

    Args:
        cpus: cores of one item. Ray gives its workers OMP_NUM_THREADS to match.
        gpus: cards of one item, whole or a fraction; "auto" is no card where no node has one, and else the share of
            the smallest card that `card_bytes` asks for. An item on a card begins in a fresh process.
        workers: items at once; without it, as many as the cluster can hold.
        address: of a running cluster; without it, a local Ray is started and stopped again, unless
            this process is already connected to one.
        user_code: module files or package folders that the cluster's nodes need besides this project.
        seconds: time limit of one item, from when a worker begins with it; None is no limit.
        card_bytes: what an item keeps busy on a card, for `gpus="auto"`.

    Raises:
        BadInput: the cluster cannot be reached, is lost, or can never hold one item.
    """

    def __init__(
        self,
        *,
        cpus: int = 1,
        gpus: float | str = 0,
        workers: int | None = None,
        address: str | None = None,
        user_code: Iterable[Path] = (),
        seconds: float | None = None,
        card_bytes: Callable[[Any], int] = lambda item: 0,
    ) -> None:
        self.cpus, self.gpus, self.workers = cpus, gpus, workers
        self.address = address
        self.user_code = tuple(user_code)
        self.seconds, self.card_bytes = seconds, card_bytes

    def run(
        self,
        function: Callable[[Item], Result],
        items: Iterable[Item],
        on_outcome: Callable[[Outcome[Item, Result]], None],
    ) -> None:
        """Keep the cluster's slots filled and hand over outcomes as they come."""
        ours = not ray.is_initialized()
        if ours:
            # Without a number of workers every core works; with it, the cluster is made just large enough.
            cores = self.workers * self.cpus if self.workers else max(os.cpu_count() or 1, self.cpus)
            connect(self.address, cores, self.user_code)
        try:
            self._drain(function, iter(items), on_outcome)
        finally:
            if ours:
                ray.shutdown()

    def _drain(self, function: Callable[[Item], Result], items: Iterator[Any], on_outcome: Callable[..., None]) -> None:
        head = list(islice(items, 1))
        if not head:
            return
        gpus = self._settle(head[0])
        items = chain(head, items)
        flight, room = _Flight(function, self.cpus, gpus, self.seconds), _Room(self, gpus)

        def fill() -> None:
            for item in islice(items, max(0, room.items() - len(flight))):
                flight.add(item)

        try:
            fill()
            while len(flight):
                for outcome in flight.land():
                    on_outcome(outcome)
                    fill()
                fill()
        finally:  # interrupted: a shared cluster should not go on for nobody
            flight.cancel()

    def _settle(self, item: Any) -> float:
        """Cards of every item, by the first of them."""
        if self.gpus != "auto":
            return float(self.gpus)
        card = smallest_card()
        return 0.0 if card == 0 else share_of_card(self.card_bytes(item), card)


class _Room:
    """How many items may be in flight; asked anew every while, because nodes come and go."""

    def __init__(self, executor: RayExecutor, gpus: float) -> None:
        self._executor, self._gpus = executor, gpus
        self._slots, self._looked, self._placed = 0, float("-inf"), time.monotonic()

    def items(self) -> int:
        """Twice what fits, so that a free slot never waits for this process; on a named cluster at least a queue.

        Raises:
            BadInput: nothing fits, and no node can join.
        """
        executor, now = self._executor, time.monotonic()
        if executor.workers:
            return executor.workers
        if now - self._looked > LOOK_EVERY:
            self._slots, self._looked = slots(ray.nodes(), executor.cpus, self._gpus), now
            self._say_if_nothing_fits(now)
        return self._slots + max(self._slots, QUEUED_FOR_AUTOSCALER if executor.address else 1)

    def _say_if_nothing_fits(self, now: float) -> None:
        needs = f"one unit needs {self._executor.cpus} cpus and {self._gpus:g} gpus"
        if self._slots:
            self._placed = now
        elif not self._executor.address:
            cluster = ray.cluster_resources()
            raise BadInput(
                f"{needs} but this Ray has {cluster.get('CPU', 0):g} and {cluster.get('GPU', 0):g}; "
                f"lower resources.cpus or resources.gpus"
            )
        elif now - self._placed > UNPLACED_SECONDS:
            logger.warning("%s, and no node of the cluster has that many; waiting for one that has", needs)
            self._placed = float("inf")  # said once


class _Flight:
    """Items that Ray has been handed and that have no outcome yet."""

    def __init__(self, function: Callable[[Any], Any], cpus: int, gpus: float, seconds: float | None) -> None:
        # A process that has once used a card keeps it, whichever card Ray grants it next: hence one call a process.
        self._task = ray.remote(max_calls=1 if gpus else 0)(_on_node).options(
            num_cpus=cpus,
            num_gpus=gpus,
            max_retries=RETRIES_OF_SYSTEM_FAILURES,
            retry_exceptions=False,
            name=getattr(function, "__name__", "unit"),
        )
        self._function, self._gpus, self._seconds = ray.put(function), gpus, seconds
        self._begun: Any = _begun_nearby() if seconds else None
        self._running: dict[Any, tuple[int, Any]] = {}
        self._handed, self._looked = 0, time.monotonic()

    def __len__(self) -> int:
        return len(self._running)

    def add(self, item: Any) -> None:
        """Hand an item to Ray."""
        reference = self._task.remote(self._function, item, self._gpus, self._handed, self._begun)
        self._running[reference] = self._handed, item
        self._handed += 1

    def land(self) -> Iterator[Outcome[Any, Any]]:
        """Outcomes that are there, those of one wait; waits a little for the first."""
        references = list(self._running)
        if ray.wait(references, num_returns=1, timeout=LOOK_EVERY)[0]:
            for reference in ray.wait(references, num_returns=len(references), timeout=0)[0]:
                _, item = self._running.pop(reference)
                yield Outcome(item, _result(reference))
        if self._begun is not None and time.monotonic() - self._looked > LOOK_EVERY:
            self._looked = time.monotonic()
            yield from self._overdue()

    def _overdue(self) -> Iterator[Outcome[Any, Any]]:
        late: set[int] = set()
        with suppress(RayError):  # asked again in a moment
            late = set(ray.get(self._begun.longer_than.remote(self._seconds), timeout=SECONDS_TO_ANSWER))
        for reference, (number, item) in list(self._running.items()):
            if number in late and not ray.wait([reference], timeout=0)[0]:
                del self._running[reference]
                ray.cancel(reference, force=True)
                yield Outcome(item, Failure("time", f"stopped after {self._seconds:g} s, its time limit"))

    def cancel(self) -> None:
        """Stop what is in flight."""
        for reference in self._running:
            with suppress(RayError, RuntimeError):  # the cluster may be what has gone
                ray.cancel(reference, force=True)


class _Begun:
    """Which items a worker has begun with and not ended, by one clock. A retried item begins anew."""

    def __init__(self) -> None:
        self._at: dict[int, float] = {}

    def begin(self, number: int) -> None:
        self._at[number] = time.monotonic()

    def end(self, number: int) -> None:
        self._at.pop(number, None)

    def longer_than(self, seconds: float) -> list[int]:
        now = time.monotonic()
        return [number for number, began in self._at.items() if now - began > seconds]


def _begun_nearby() -> Any:
    """The actor on this process's own node, which does not go away before this process does."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, max_restarts=-1)(_Begun).options(scheduling_strategy=here).remote()


def _on_node(function: Callable[[Item], Result], item: Item, gpus: float, number: int, begun: Any) -> Result | Failure:
    """What a worker does with one item."""
    if begun is not None:
        begun.begin.remote(number)
    limit_to_share(gpus)
    result = attempt(function, item)
    if begun is not None:
        begun.end.remote(number)
    return result


_SENTENCES = (
    (OutOfMemoryError, "its worker was killed because its node ran out of memory; ask for more resources.cpus, so that "
     "fewer units share a node, or for fewer resources.checkpoints_per_unit"),
    (WorkerCrashedError, "its worker process died, killed or crashed"),
    (NodeDiedError, "its node died"),
    (ObjectLostError, "its result was lost with a node"),
)  # fmt: skip


def _result(reference: Any) -> Any:
    try:
        return ray.get(reference)
    except RuntimeEnvSetupError as error:
        raise BadInput(f"the cluster's nodes cannot be given the code: {first_line(error)}") from None
    except RayTaskError as error:  # outside the function: it or the item could not be unpacked there
        return Failure("system", f"{type(error.cause).__name__}: {first_line(error.cause)}", str(error))
    except RayError as error:
        tries = f", {1 + RETRIES_OF_SYSTEM_FAILURES} times in a row"
        words = next((words for kind, words in _SENTENCES if isinstance(error, kind)), None)
        sentence = f"{words}{tries}" if words else first_line(error)
        return Failure("system", f"{type(error).__name__}: {sentence}", str(error))
