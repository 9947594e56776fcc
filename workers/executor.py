"""Where units of work run: one contract, kept in process here and on a Ray cluster in `ray_executor`.

The contract: `run` calls `function` once for every item, hands over each outcome as it comes (in any
order), keeps a bounded number in flight, and returns when all are done. An exception raised by the
function is an application failure: one failed item, never retried. The death of a worker or a node is a
system failure: retried, and a failed item only when it keeps happening.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Failure:
    """Why an item has no result: one sentence, and the traceback for the report."""

    kind: Literal["application", "system"]
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
        items: Iterable[Item],
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
    first_line = (str(error).splitlines() or [""])[0]
    return Failure("application", f"{type(error).__name__}: {first_line}", traceback.format_exc())


class SerialExecutor:
    """One item after the other, in this process."""

    def run(
        self,
        function: Callable[[Item], Result],
        items: Iterable[Item],
        on_outcome: Callable[[Outcome[Item, Result]], None],
    ) -> None:
        """Call `function` on every item, in order."""
        for item in items:
            on_outcome(Outcome(item, attempt(function, item)))
