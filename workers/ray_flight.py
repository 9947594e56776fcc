"""Items in flight on Ray: handed over as tasks, watched for their time limit, and landed as results or failures."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

from estimators.engines.memory import limit_to_share
from slt.errors import BadInput
from workers.executor import Failure, Item, Outcome, Result, attempt
from workers.ray_cluster import first_line

import ray  # isort: skip  (after ray_cluster, which tells Ray to be quiet)
from ray.exceptions import (
    LocalRayletDiedError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayError,
    RayTaskError,
    RuntimeEnvSetupError,
    WorkerCrashedError,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

RETRIES_OF_SYSTEM_FAILURES = 3
LOOK_EVERY = 2.0  # seconds
SECONDS_TO_ANSWER = 10.0

TIMES_THE_MEAN, SECONDS_OF_PATIENCE = 1.5, 30.0
"""How long an item may take until it is late: by what others took, and at least."""

Try = tuple[int, int]
"""An item's number and how many tries of it were handed to Ray before."""

RESUME = "what is finished is kept, so start the cluster again and run the same command"


class ClusterLost(BadInput):
    """The cluster that was computing is gone."""


class Flight:
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
        self._items: dict[int, Any] = {}
        self._tries: dict[int, list[Any]] = {}  # of each item: the first, and a second beside it if that is late
        self._running: dict[Any, int] = {}
        self._late = Late()
        self._handed, self._looked = 0, time.monotonic()

    def __len__(self) -> int:
        return len(self._items)

    def add(self, item: Any) -> None:
        """Hand an item to Ray."""
        self._items[self._handed], self._tries[self._handed] = item, []
        self._late.add(self._handed)
        self._try(self._handed)
        self._handed += 1

    def place(self, slots: int) -> None:
        """So many items run at once; what waits is computed when a slot comes free."""
        self._late.place(slots)

    def repeat_late(self, slots: int) -> None:
        """Compute what is late a second time where slots are free; whichever try ends first is the outcome."""
        for number in self._late.numbers(slots - len(self._running)):
            self._try(number)

    def _try(self, number: int) -> None:
        one_try = number, len(self._tries[number])
        reference = self._task.remote(self._function, self._items[number], self._gpus, one_try, self._begun)
        self._tries[number].append(reference)
        self._running[reference] = number

    def land(self) -> Iterator[Outcome[Any, Any]]:
        """Outcomes that are there, those of one wait; waits a little for the first."""
        references = list(self._running)
        if ray.wait(references, num_returns=1, timeout=LOOK_EVERY)[0]:
            for reference in ray.wait(references, num_returns=len(references), timeout=0)[0]:
                if reference not in self._running:  # the other try was there before
                    continue
                number = self._running.pop(reference)
                self._tries[number].remove(reference)
                result = _result(reference)
                if not (isinstance(result, Failure) and result.kind == "system" and self._tries[number]):
                    yield Outcome(self._end(number), result)
        if self._begun is not None and time.monotonic() - self._looked > LOOK_EVERY:
            self._looked = time.monotonic()
            yield from self._overdue()

    def _end(self, number: int) -> Any:
        """The item, of which no try goes on."""
        for reference in self._tries.pop(number):
            del self._running[reference]
            ray.cancel(reference, force=True)
        self._late.end(number)
        return self._items.pop(number)

    def _overdue(self) -> Iterator[Outcome[Any, Any]]:
        late: set[int] = set()
        with suppress(RayError):  # asked again in a moment
            tries = ray.get(self._begun.longer_than.remote(self._seconds), timeout=SECONDS_TO_ANSWER)
            late = {number for number, _ in tries}
        for number in late & self._items.keys():
            if not ray.wait(self._tries[number], timeout=0)[0]:
                failure = Failure("time", f"stopped after {self._seconds:g} s, its time limit")
                yield Outcome(self._end(number), failure)

    def forget(self) -> None:
        """Nothing is in flight any more."""
        self._running.clear()
        self._items.clear()

    def cancel(self) -> None:
        """Stop what is in flight."""
        for reference in self._running:
            with suppress(RayError, RuntimeError):  # the cluster may be what has gone
                ray.cancel(reference, force=True)


class Late:
    """Which items take much longer than others did; each is named once.

    The backup tasks of MapReduce (Dean and Ghemawat 2004, section 3.6), which Ray does not have. Nobody tells when an
    item begins: it is when a slot comes free, in the order in which items are handed over.

    Args:
        clock: seconds from some moment on.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._named = clock, set[int]()
        self._waiting, self._began = OrderedDict[int, None](), dict[int, float]()
        self._ended, self._seconds = 0, 0.0

    def add(self, number: int) -> None:
        """An item was handed over."""
        self._waiting[number] = None

    def place(self, slots: int) -> None:
        """So many items run at once."""
        while self._waiting and len(self._began) < slots:
            self._began[self._waiting.popitem(last=False)[0]] = self._clock()

    def end(self, number: int) -> None:
        """An item is there."""
        self._waiting.pop(number, None)
        self._seconds += self._clock() - self._began.pop(number, self._clock())
        self._ended += 1
        self._named.discard(number)

    def numbers(self, limit: int) -> list[int]:
        """Of items that are late and have not been named, the oldest first."""
        if not self._ended or limit <= 0:
            return []
        before = self._clock() - max(SECONDS_OF_PATIENCE, TIMES_THE_MEAN * self._seconds / self._ended)
        late = (number for number, began in self._began.items() if began < before and number not in self._named)
        fresh = list(islice(late, limit))
        self._named.update(fresh)
        return fresh


class _Begun:
    """Which tries of items a worker has begun with and not ended, by one clock. What Ray retries begins anew."""

    def __init__(self) -> None:
        self._at: dict[Try, float] = {}

    def begin(self, one: Try) -> None:
        self._at[one] = time.monotonic()

    def end(self, one: Try) -> None:
        self._at.pop(one, None)

    def longer_than(self, seconds: float) -> list[Try]:
        now = time.monotonic()
        return [one for one, began in self._at.items() if now - began > seconds]


def _begun_nearby() -> Any:
    """The actor on this process's own node, which does not go away before this process does."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, max_restarts=-1)(_Begun).options(scheduling_strategy=here).remote()


def _on_node(function: Callable[[Item], Result], item: Item, gpus: float, one: Try, begun: Any) -> Result | Failure:
    """What a worker does with one item."""
    if begun is not None:
        begun.begin.remote(one)
    limit_to_share(gpus)
    result = attempt(function, item)
    if begun is not None:
        begun.end.remote(one)
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
    except LocalRayletDiedError:
        raise ClusterLost(f"the Ray node that this process works through has died; {RESUME}") from None
    except RayTaskError as error:  # outside the function: it or the item could not be unpacked there
        return Failure("system", f"{type(error.cause).__name__}: {first_line(error.cause)}", str(error))
    except RayError as error:
        tries = f", {1 + RETRIES_OF_SYSTEM_FAILURES} times in a row"
        words = next((words for kind, words in _SENTENCES if isinstance(error, kind)), None)
        sentence = f"{words}{tries}" if words else first_line(error)
        return Failure("system", f"{type(error).__name__}: {sentence}", str(error))
