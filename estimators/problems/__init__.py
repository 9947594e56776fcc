"""Built-in problems: small models whose story is known, and the training that writes their checkpoints.

A built-in problem is a module with `build(**args) -> Problem`, what the job file's `problem_args` are for, and
`train(problem, folder, *, seed, progress, **args) -> events`, which trains the problem's model in place.
"""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch

from estimators.problem import Problem
from estimators.problems import linear_network, modular_addition
from estimators.problems.recording import RunFolder
from estimators.progress import Progress, silent
from slt.errors import ProblemError
from slt.events import CircuitEvent


class BuiltIn(Protocol):
    """What the module of a built-in problem has."""

    NAME: str

    @property
    def build(self) -> Callable[..., Problem]:
        """Build the problem from its `problem_args`."""

    @property
    def train(self) -> Callable[..., list[CircuitEvent]]:
        """Train its model, writing into a RunFolder; returns the dated events."""


BUILT_IN: dict[str, BuiltIn] = {module.NAME: module for module in (linear_network, modular_addition)}


def train(
    name: str,
    out: Path,
    args: Mapping[str, Any] | None = None,
    seed: int = 0,
    progress: Progress = silent,
    *,
    overwrite: bool = False,
) -> None:
    """Train a built-in problem and write its run to a directory.

    Writes `step_000123.safetensors` at log-spaced steps, `training.csv` (curves seen while training),
    `events.csv` and, last, `problem.yaml` (all arguments as used, so that a job file can be written from it).
    The same arguments and seed give the same files.

    Args:
        name: name of the problem.
        out: directory of the run.
        args: arguments of the problem's `build` and `train`, together.
        seed: of the training; the data have their own among `args`.
        progress: told (steps done, steps, label).
        overwrite: replace a run that is already there.

    Raises:
        ProblemError: no such problem or argument.
        OutputError: `out` holds a run already, or cannot be written.
    """
    if name not in BUILT_IN:
        raise ProblemError(f"no built-in problem '{name}'; {_nearest(name, BUILT_IN)}")
    module, given = BUILT_IN[name], dict(args or {})
    of_build, of_train = _defaults(module.build), _defaults(module.train)
    for reserved in ("seed", "progress"):
        del of_train[reserved]
    for key in given:
        if key not in of_build and key not in of_train:
            raise ProblemError(f"'{name}' has no argument '{key}'; {_nearest(key, of_build | of_train)}")
    problem_args = {key: given.get(key, default) for key, default in of_build.items()}
    training_args = {key: given.get(key, default) for key, default in of_train.items()}
    if not 0 <= seed < 2**63:
        raise ProblemError(f"seed is {seed}; it must be from 0 to 2^63 - 1")
    for key, default in (of_build | of_train).items():
        _require_like(name, key, given.get(key, default), default)
    problem = module.build(**problem_args)
    folder = RunFolder(Path(out), overwrite=overwrite)
    with _one_thread():
        events = module.train(problem, folder, seed=seed, progress=progress, **training_args)
    folder.finish({"problem": name, "problem_args": problem_args, "training": {"seed": seed, **training_args}}, events)


def _require_like(name: str, key: str, value: Any, default: Any) -> None:
    """Numbers for numbers; what trains backwards or not at all is refused as well."""
    if isinstance(default, int | float):
        kinds = (int,) if isinstance(default, int) else (int, float)
        least = "0 or more" if key in ("weight_decay", "noise", "data_seed") else "above 0"
        fits = isinstance(value, kinds) and not isinstance(value, bool) and math.isfinite(value)
        if not fits or value < 0 or (value == 0 and least == "above 0"):
            what = "a whole number" if isinstance(default, int) else "a number"
            raise ProblemError(f"{key} of '{name}' is {value!r}; it must be {what}, {least} (default {default})")


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums are split over threads, and so rounded, differently on every machine; and models this small gain nothing."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _defaults(function: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {each.name: each.default for each in parameters if each.default is not inspect.Parameter.empty}


def _nearest(word: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean '{close[0]}'?" if close else f"there are {', '.join(sorted(known))}"
