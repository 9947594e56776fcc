"""Items in flight on Ray: handed over as tasks, watched for their time limit, and landed as results or failures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
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

    def forget(self) -> None:
        """Nothing is in flight any more."""
        self._running.clear()

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
    except LocalRayletDiedError:
        raise ClusterLost(f"the Ray node that this process works through has died; {RESUME}") from None
    except RayTaskError as error:  # outside the function: it or the item could not be unpacked there
        return Failure("system", f"{type(error.cause).__name__}: {first_line(error.cause)}", str(error))
    except RayError as error:
        tries = f", {1 + RETRIES_OF_SYSTEM_FAILURES} times in a row"
        words = next((words for kind, words in _SENTENCES if isinstance(error, kind)), None)
        sentence = f"{words}{tries}" if words else first_line(error)
        return Failure("system", f"{type(error).__name__}: {sentence}", str(error))
