"""A cluster that is not there: nodes with slots, slow ones and dying ones, by a clock that skips what nobody computes.

What drives it is real: the loop of `RayExecutor`, its count of the nodes' slots, and whatever is done with outcomes.
In the place of Ray stand a queue, in order of arrival, and events in order of time. A unit whose node dies is queued
again, as Ray does, and is a system failure when that has happened too often.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from workers.executor import Failure, Outcome
from workers.ray_executor import RayExecutor, Room, drain
from workers.ray_flight import LOOK_EVERY, RETRIES_OF_SYSTEM_FAILURES, Late


class Clock:
    """Seconds: the processor time of this process, and what it would have waited.

    Attributes:
        aside: processor time that only the simulation took, which is not counted.
    """

    def __init__(self) -> None:
        self._origin = time.process_time()
        self.aside = 0.0

    @property
    def now(self) -> float:
        return time.process_time() - self._origin

    def skip_to(self, at: float) -> None:
        """Wait, without waiting."""
        self._origin -= max(0.0, at - self.now)

    def charge(self, seconds: float) -> None:
        """Something that the process would have computed."""
        self._origin -= seconds

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Around what only the simulation does."""
        before = time.process_time()
        yield
        spent = time.process_time() - before
        self._origin += spent
        self.aside += spent


@dataclass(frozen=True)
class Shape:
    """What the cluster is like.

    Attributes:
        nodes: at the start; one that dies is replaced.
        slots: units at once on a node.
        slow: how many nodes are slow, from the first on.
        slowness: how many times longer they take.
        seconds_to_death: mean life of a node; infinite is no deaths.
        seconds_to_replace: from a node's death until another is there.
        spread: standard deviation of the logarithm of a unit's duration.
        driver_seconds: of the driver's processor that Ray itself takes a unit.
    """

    nodes: int
    slots: int = 1
    slow: int = 0
    slowness: float = 5.0
    seconds_to_death: float = float("inf")
    seconds_to_replace: float = 120.0
    spread: float = 0.0
    driver_seconds: float = 0.0


class SimulatedCluster:
    """Items in flight on such a cluster; see `ray_executor.InFlight`.

    Args:
        shape: of the cluster.
        seconds_of: how long an item takes on a node that is not slow.
        result_of: what a worker makes of it.
        clock: of the driver.

    Attributes:
        deaths: nodes that died.
        again, twice: items that were queued again for it, and that were late and computed a second time.
        work: seconds that slots were busy with items that landed.
        fullest: the largest number of items in flight.
    """

    def __init__(
        self, shape: Shape, seconds_of: Callable[[Any], float], result_of: Callable[[Any], Any], clock: Clock
    ) -> None:
        self.deaths = self.again = self.twice = self.fullest = 0
        self.work = 0.0
        self._shape, self._seconds_of, self._result_of, self._clock = shape, seconds_of, result_of, clock
        self._random = np.random.default_rng(0)
        self._order = itertools.count()
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._late = Late(lambda: clock.now)
        self._items: dict[int, Any] = {}
        self._queue: deque[tuple[int, int]] = deque()  # an item's number, and how often its node died
        self._running: dict[int, dict[int, tuple[int, int, float]]] = {}  # by node and slot
        self._free: list[int] = []  # nodes, once for each free slot; the last is taken first
        self._landed: deque[tuple[int, Failure | None]] = deque()
        self._fresh = itertools.count(shape.nodes)
        for node in range(shape.nodes):
            self._join(node)

    def nodes(self) -> Sequence[Mapping[str, Any]]:
        """As `ray.nodes()` has them."""
        return [{"Alive": True, "Resources": {"CPU": self._shape.slots}}] * len(self._running)

    def __len__(self) -> int:
        return len(self._items)

    def add(self, item: Any) -> None:
        """Hand an item over."""
        with self._clock.stopped():
            number = next(self._order)
            self._items[number] = item
            self.fullest = max(self.fullest, len(self._items))
            self._late.add(number)
            self._queue.append((number, 0))
            self._place(self._clock.now)

    def place(self, slots: int) -> None:
        """So many items run at once."""
        self._late.place(slots)

    def repeat_late(self, slots: int) -> None:
        """Compute what is late a second time where slots are free; whichever try ends first is the outcome."""
        with self._clock.stopped():
            for number in self._late.numbers(min(slots - len(self._items), len(self._free))):
                self.twice += 1
                self._queue.append((number, 0))
                self._place(self._clock.now)

    def land(self) -> Iterator[Outcome[Any, Any]]:
        """What is there by now; skips what there is to wait for the first, or two seconds."""
        with self._clock.stopped():
            self._pass(self._clock.now)
            limit = self._clock.now + LOOK_EVERY
            while not self._landed and self._events and self._events[0][0] <= limit:
                self._clock.skip_to(self._events[0][0])
                self._pass(self._clock.now)
            if not self._landed:
                self._clock.skip_to(limit)
        for _ in range(len(self._landed)):
            with self._clock.stopped():
                number, failure = self._landed.popleft()
                if number not in self._items:  # the other try was there before
                    continue
                item = self._items.pop(number)
                self._late.end(number)
                result = failure or self._result_of(item)
            self._clock.charge(self._shape.driver_seconds)
            yield Outcome(item, result)

    def forget(self) -> None:
        """Nothing is in flight any more."""

    def cancel(self) -> None:
        """Stop what is in flight."""

    def _pass(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            at, _, what, arguments = heapq.heappop(self._events)
            what(at, *arguments)

    def _at(self, when: float, what: Callable[..., None], *arguments: Any) -> None:
        heapq.heappush(self._events, (when, next(self._order), what, arguments))

    def _join(self, node: int, at: float = 0.0) -> None:
        self._running[node] = {}
        self._free += [node] * self._shape.slots
        if np.isfinite(self._shape.seconds_to_death):
            self._at(at + self._random.exponential(self._shape.seconds_to_death), self._die, node)
        self._place(at)

    def _die(self, at: float, node: int) -> None:
        self.deaths += 1
        for number, deaths, _ in reversed(self._running.pop(node).values()):
            if deaths == RETRIES_OF_SYSTEM_FAILURES:
                self._landed.append((number, Failure("system", "NodeDiedError: its node died")))
            else:
                self.again += 1
                self._queue.appendleft((number, deaths + 1))
        self._free = [each for each in self._free if each != node]
        fresh = next(self._fresh)  # no slow one comes again
        self._at(at + self._shape.seconds_to_replace, lambda when: self._join(fresh, when))
        self._place(at)

    def _place(self, at: float) -> None:
        while self._queue and self._free:
            number, deaths = self._queue.popleft()
            if number not in self._items:
                continue
            node = self._free.pop()
            seconds = self._seconds_of(self._items[number]) * float(np.exp(self._shape.spread * self._random.normal()))
            seconds *= self._shape.slowness if node < self._shape.slow else 1.0
            slot = next(self._order)
            self._running[node][slot] = number, deaths, seconds
            self._at(at + seconds, self._end, node, slot)

    def _end(self, at: float, node: int, slot: int) -> None:
        if slot not in self._running.get(node, ()):  # the node died meanwhile
            return
        number, _, seconds = self._running[node].pop(slot)
        self.work += seconds
        self._landed.append((number, None))
        self._free.append(node)
        self._place(at)


class SimulatedExecutor:
    """As `RayExecutor` on a named cluster, with a simulated one in the place of Ray's.

    Attributes:
        seconds: by the clock, from the first item to the last outcome.
    """

    def __init__(self, shape: Shape, seconds_of: Callable[[Any], float], result_of: Callable[[Any], Any]) -> None:
        self.clock = Clock()
        self.cluster = SimulatedCluster(shape, seconds_of, result_of, self.clock)
        self.seconds = 0.0

    def run(
        self, function: Callable[[Any], Any], items: Iterable[Any], on_outcome: Callable[[Outcome[Any, Any]], None]
    ) -> None:
        """What `RayExecutor` does, and never a call of the function."""
        began = self.clock.now
        ours = RayExecutor(address="simulated")
        room = Room(ours, 0.0, self.cluster.nodes, lambda: True, lambda: self.clock.now)
        drain(self.cluster, room, iter(items), on_outcome)
        self.seconds = self.clock.now - began
