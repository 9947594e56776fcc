"""Units of work on Ray: tasks that Ray places, queues and retries; see `executor` for what is promised."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

from slt.errors import BadInput
from workers.executor import Item, Outcome, Result
from workers.ray_cluster import answers, connect, share_of_card, slots, smallest_card
from workers.ray_flight import LOOK_EVERY, RESUME, ClusterLost, Flight

import ray  # isort: skip  (after ray_cluster, which tells Ray to be quiet)

logger = logging.getLogger(__name__)

QUEUED_FOR_AUTOSCALER = 100
"""Items that wait at a named cluster at least: Ray's autoscaler starts nodes for what waits."""

SECONDS_OF_SILENCE = 0.6 * float(os.environ.get("RAY_gcs_rpc_server_reconnect_timeout_s", "60"))  # noqa: SIM112
"""Of the cluster's head, until it is taken for lost: before Ray ends this process, which it does without a word."""

UNPLACED_SECONDS = 30.0
"""Without a node that could hold an item, until the user is told."""

_END = object()


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
        items: Iterable[Item | None],
        on_outcome: Callable[[Outcome[Item, Result]], None],
    ) -> None:
        """Keep the cluster's slots filled and hand over outcomes as they come."""
        ours = not ray.is_initialized()
        with redirect_stdout(sys.stderr):  # where Ray tells of nodes that die, at its end too; ours is for results
            if ours:
                # Without a number of workers every core works; with it, the cluster is made just large enough.
                cores = self.workers * self.cpus if self.workers else max(os.cpu_count() or 1, self.cpus)
                connect(self.address, cores, self.user_code)
            try:
                self._drain(function, iter(items), on_outcome)
            finally:
                if ours and answers():  # of a head that is gone Ray would take leave until it ends this process
                    ray.shutdown()

    def _drain(self, function: Callable[[Item], Result], items: Iterator[Any], on_outcome: Callable[..., None]) -> None:
        first = next((item for item in items if item is not None), None)
        if first is None:
            return
        gpus = self._settle(first)
        flight = Flight(function, self.cpus, gpus, self.seconds)
        drain(flight, Room(self, gpus), chain([first], items), on_outcome)

    def _settle(self, item: Any) -> float:
        """Cards of every item, by the first of them."""
        if self.gpus != "auto":
            return float(self.gpus)
        card = smallest_card()
        return 0.0 if card == 0 else share_of_card(self.card_bytes(item), card)


class InFlight(Protocol):
    """Items that are under way: `ray_flight.Flight`, and in a simulation what stands for it."""

    def __len__(self) -> int: ...

    def add(self, item: Any) -> None:
        """Hand an item over."""

    def land(self) -> Iterator[Outcome[Any, Any]]:
        """Outcomes that are there; waits a little for the first."""

    def place(self, slots: int) -> None:
        """So many items run at once."""

    def repeat_late(self, slots: int) -> None:
        """Compute what is late a second time where slots are free."""

    def forget(self) -> None:
        """Nothing is in flight any more."""

    def cancel(self) -> None:
        """Stop what is in flight."""


def drain(flight: InFlight, room: Room, items: Iterator[Any], on_outcome: Callable[[Outcome[Any, Any]], None]) -> None:
    """Keep as many items in flight as there is room for, and hand over what lands, until nothing is left."""
    more = True

    def fill() -> None:
        nonlocal more
        while len(flight) < room.items() and more:  # asked though nothing waits: it tells of a lost cluster
            item = next(items, _END)
            if item is None:
                break
            more = item is not _END
            if more:
                flight.add(item)
        flight.place(room.slots)

    try:
        fill()
        while more or len(flight):
            for outcome in flight.land() if len(flight) else ():
                on_outcome(outcome)
                fill()
            fill()
            if not more:  # slots that have nothing to do: one slow node is not to hold up the end
                flight.repeat_late(room.slots)
    except ClusterLost:  # whoever could be told to stop is gone, and Ray would wait for an answer
        flight.forget()
        raise
    finally:  # interrupted: a shared cluster should not go on for nobody
        flight.cancel()


class Room:
    """How many items may be in flight; asked anew every while, because nodes come and go.

    Args:
        executor: whose items they are.
        gpus: cards of one item.
        nodes: of the cluster, as `ray.nodes()` gives them.
        reachable: whether the cluster answers.
        clock: seconds from some moment on.
    """

    def __init__(
        self,
        executor: RayExecutor,
        gpus: float,
        nodes: Callable[[], Sequence[Mapping[str, Any]]] = ray.nodes,
        reachable: Callable[[], bool] = answers,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._executor, self._gpus = executor, gpus
        self._nodes, self._reachable, self._clock = nodes, reachable, clock
        now = clock()
        self._slots, self._looked, self._placed, self._answered = 0, float("-inf"), now, now

    @property
    def slots(self) -> int:
        """Items that run at once."""
        return self._executor.workers or self._slots

    def items(self) -> int:
        """Twice what fits, so that a free slot never waits for this process; on a named cluster at least a queue.

        Raises:
            BadInput: nothing fits, and no node can join; or the cluster has not answered for a while.
        """
        now = self._clock()
        if now - self._looked > LOOK_EVERY:
            self._looked = now
            self._look(now)
        if self._executor.workers:
            return self._executor.workers
        return self._slots + max(self._slots, QUEUED_FOR_AUTOSCALER if self._executor.address else 1)

    def _look(self, now: float) -> None:
        if self._reachable():
            self._answered = now
            self._slots = slots(self._nodes(), self._executor.cpus, self._gpus)
            self._say_if_nothing_fits(now)
        elif now - self._answered > SECONDS_OF_SILENCE:
            raise ClusterLost(
                f"the Ray cluster has not answered for {SECONDS_OF_SILENCE:g} s: its head node is gone; {RESUME}"
            )

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
