"""A problem: a model, its data and its per-example loss. What a user writes for their own model.

from estimators import Problem

def my_problem(width: int = 64) -> Problem:
    return Problem(model=Net(width), data=(inputs, labels), loss=per_example_loss)
"""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn
from torch.utils.data import Dataset, default_collate

from slt.errors import ProblemError

Batch = tuple[Tensor, ...]
Loss = Callable[[nn.Module, Batch], Tensor]
Outputs = Callable[[nn.Module, Batch], Tensor]
Divergence = Callable[[Tensor, Tensor], Tensor]
Measure = Callable[["Problem", nn.Module], Mapping[str, float]]


@dataclass(frozen=True, eq=False)
class Problem:
    """What is needed to measure a checkpoint.

    Attributes:
        model: the architecture; its own weights are overwritten by each checkpoint's.
        data: a tuple of tensors that share their first dimension n, or a Dataset whose items are
            tuples of tensors (collated once, up front).
        loss: (model, batch) -> (batch,) nats per example. Per example, because the estimate pairs
            each draw's loss with the checkpoint's loss on the same examples.
        outputs: (model, batch) -> (batch, ...) what the model predicts; default `model(batch[0])`.
            Used by `reference: self`.
        divergence: (outputs, reference_outputs) -> (batch,) nats per example, zero where they agree:
            `estimators.divergences.kl` for logits, `squared_error` for unit-noise regression. Used
            by `reference: self`; without it that setting is an error.
        measures: further measures of this problem, by name.
        restriction: which parameters move, as `estimators.restriction.moving_parameters` reads it; empty means all.
        data_sets: other data by name, of the form of `data`, that a refined LLC may be measured on.
        name: how messages call it.
    """

    model: nn.Module
    data: tuple[Tensor, ...] | Dataset[Any]
    loss: Loss
    outputs: Outputs | None = None
    divergence: Divergence | None = None
    measures: Mapping[str, Measure] = field(default_factory=dict)
    restriction: tuple[str, ...] = ()
    data_sets: Mapping[str, tuple[Tensor, ...] | Dataset[Any]] = field(default_factory=dict)
    name: str = "problem"


def problem_tensors(problem: Problem) -> Batch:
    """The whole data set as tensors that share their first dimension; a Dataset is collated.

    Raises:
        ProblemError: no data, or tensors of different lengths.
    """
    if isinstance(problem.data, Dataset):
        dataset = cast(Any, problem.data)
        collated = default_collate([dataset[index] for index in range(len(dataset))]) if len(dataset) else ()
        tensors = (collated,) if isinstance(collated, Tensor) else tuple(collated)
    else:
        tensors = tuple(problem.data)
    strays = [type(tensor).__name__ for tensor in tensors if not isinstance(tensor, Tensor) or tensor.ndim == 0]
    if strays:
        raise ProblemError(f"the data of problem '{problem.name}' holds a {strays[0]}; it must be tensors (n, ...)")
    lengths = [len(tensor) for tensor in tensors]
    if not tensors or lengths[0] == 0 or len(set(lengths)) > 1:
        raise ProblemError(
            f"the data of problem '{problem.name}' has tensors of lengths {lengths}; they must share one length n >= 1"
        )
    return tensors


def n_samples(problem: Problem) -> int:
    """n, the size of the data set."""
    data = problem.data
    return len(cast(Any, data)) if isinstance(data, Dataset) else len(problem_tensors(problem)[0])


def load_problem(reference: str, args: Mapping[str, Any], working_directory: Path) -> Problem:
    """Build a problem from its name.

    Args:
        reference: a built-in name, or `package.module:function`, imported with `working_directory` first
            on the path.
        args: keyword arguments of the function.
        working_directory: where a user's own modules live.

    Raises:
        ProblemError: no such name, module or function; it raised; it returned something else.
    """
    module_name, colon, function_name = reference.partition(":")
    build = imported("problem", module_name, function_name, working_directory) if colon else _built_in(reference)
    try:
        with _on_path(working_directory):
            problem = build(**args)
    except ProblemError:
        raise
    except (Exception, SystemExit) as error:
        given = ", ".join(f"{name}={value!r}" for name, value in args.items())
        with_args = f" ({given})" if given else ""
        raise ProblemError(f"problem '{reference}'{with_args} raised {type(error).__name__}: {error}") from error
    if not isinstance(problem, Problem):
        raise ProblemError(
            f"problem '{reference}' returned a {type(problem).__name__}; it must return estimators.Problem(...)"
        )
    return problem


def _built_in(name: str) -> Callable[..., object]:
    from estimators.problems import BUILT_IN  # it imports this module

    if name not in BUILT_IN:
        close = difflib.get_close_matches(name, BUILT_IN, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"built in are {', '.join(sorted(BUILT_IN))}."
        raise ProblemError(f"no built-in problem '{name}'; {hint} Your own is named 'package.module:function'")
    build: Callable[..., object] = BUILT_IN[name].build
    return build


def imported(what: str, module_name: str, function_name: str, working_directory: Path) -> Callable[..., object]:
    """A function of the user's, found with `working_directory` first on the path; `what` it is, for messages.

    Raises:
        ProblemError: no such module or function, or importing it raises.
    """
    reference = f"{module_name}:{function_name}"
    with _on_path(working_directory):
        try:
            module = importlib.import_module(module_name)
        except (Exception, SystemExit) as error:
            raise ProblemError(
                f"{what} '{reference}' cannot be imported from {working_directory}: {type(error).__name__}: {error}"
            ) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        own = [name for name, value in vars(module).items() if getattr(value, "__module__", None) == module_name]
        close = difflib.get_close_matches(function_name, own, n=1)
        hint = f"; did you mean '{close[0]}'?" if close else ""
        raise ProblemError(f"{what} '{reference}': {module.__file__} has no function '{function_name}'{hint}")
    return cast(Callable[..., object], function)


@contextmanager
def _on_path(directory: Path) -> Iterator[None]:
    entry = str(directory.resolve())
    sys.path.insert(0, entry)
    importlib.invalidate_caches()  # the file may have been written a moment ago
    try:
        yield
    finally:
        sys.path.remove(entry)
