"""Where units of work run: one contract, kept in process here and on a Ray cluster in `ray_executor`.

The contract: `run` hands over one outcome for every item, as it comes and in any order, keeps a bounded number of
items in flight, and returns when all are done.

- The function raises: an **application** failure; one failed item, never retried.
- A worker or a node dies, is preempted, runs out of memory, or loses a result before it was handed over: a **system**
  failure; the item is computed again elsewhere, and is a failed item only when it keeps happening.
- An item runs longer than its time limit: a **time** failure; the worker is killed, and the item is not tried again,
  for it would hang again. Waiting for a free slot does not count. Only where items run in other processes.
- An item takes much longer than the others did, and nothing waits for the slots that are free: it is computed a second
  time beside the first, and whichever ends first is its outcome. Only on Ray.
- The function raises `NodeError`: a **node** failure, never retried; whoever called `run` decides whether to go on.
- The cluster itself is lost, or cannot be given the code: `run` raises `BadInput`; outcomes handed over are kept.
- `on_outcome` raises, or the process is interrupted: `run` raises it, and what is in flight is stopped.
- An item is None: there is none at the moment, and whoever makes the items wants to be asked again.
- The process is killed: the cluster stops what it had in flight. Nothing of a run is kept by an executor; what was
  handed over is the caller's, so that the next run begins with what is missing.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

from slt.errors import NodeError

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Failure:
    """Why an item has no result: one sentence, and the traceback for the report."""

    kind: Literal["application", "system", "time", "node"]
    error: str
    traceback: str = ""


@dataclass(frozen=True)
class Outcome(Generic[Item, Result]):
    """One item with its result, or with its failure."""

    item: Item
    result: Result | Failure


class Executor(Protocol):
    """Runs a plain function over items; see the module's docstring for the contract."""

    def run(
        self,
        function: Callable[[Item], Result],
        items: Iterable[Item | None],
        on_outcome: Callable[[Outcome[Item, Result]], None],
    ) -> None:
        """Call `function` on every item; an exception out of `on_outcome` stops the run."""
        ...


def attempt(function: Callable[[Item], Result], item: Item) -> Result | Failure:
    """The function's result, or its exception as a value: every executor calls items through this."""
    try:
        return function(item)
    except Exception as error:
        return application_failure(error)


def application_failure(error: Exception) -> Failure:
    """The exception as a failed item's record."""
    if isinstance(error, NodeError):
        return Failure("node", str(error))
    first_line = (str(error).splitlines() or [""])[0]
    return Failure("application", f"{type(error).__name__}: {first_line}", traceback.format_exc())


class SerialExecutor:
    """One item after the other, in this process; an item that hangs cannot be stopped."""

    def run(
        self,
        function: Callable[[Item], Result],
        items: Iterable[Item | None],
        on_outcome: Callable[[Outcome[Item, Result]], None],
    ) -> None:
        """Call `function` on every item, in order."""
        for item in items:
            if item is None:
                continue
            on_outcome(Outcome(item, attempt(function, item)))
