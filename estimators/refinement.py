"""Refined LLCs: of a part of the weights, on other data, or both. A refined problem is a problem like any other.

Weight-refined and data-refined as in Wang et al. (2024, arXiv 2410.02984).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from torch import Tensor
from torch.utils.data import Dataset

from estimators.problem import Problem, imported, problem_tensors
from estimators.restriction import moving_parameters
from slt.errors import ProblemError

Data = tuple[Tensor, ...] | Dataset[Any]


@dataclass(frozen=True)
class Refinement:
    """What one refined LLC is measured of.

    Attributes:
        parameters: which ones move, as `moving_parameters` reads it; empty means those of the problem.
        data: a name in the problem's `data_sets`, or `package.module:function` of the problem that returns the data;
            None means the problem's own.
    """

    parameters: tuple[str, ...] = ()
    data: str | None = None


def refine(problem: Problem, refinement: Refinement, working_directory: Path) -> Problem:
    """The problem with only some of its parameters moving, or on other data.

    Raises:
        ProblemError: a pattern names nothing; there are no such data, or what makes them fails.
    """
    restriction = refinement.parameters or problem.restriction
    moving_parameters(problem.model, restriction)
    data = problem.data if refinement.data is None else _data(problem, refinement.data, working_directory)
    refined = replace(problem, restriction=restriction, data=data)
    problem_tensors(refined)
    return refined


def moving_count(problem: Problem) -> int:
    """How many coordinates move."""
    return sum(
        problem.model.get_parameter(name).numel() if index is None else len(index)
        for name, index in moving_parameters(problem.model, problem.restriction).items()
    )


def _data(problem: Problem, name: str, working_directory: Path) -> Data:
    module_name, colon, function_name = name.partition(":")
    if not colon:
        return _named(problem.data_sets, name, problem.name)
    function = imported("data", module_name, function_name, working_directory)
    try:
        data = function(problem)
    except ProblemError:
        raise
    except (Exception, SystemExit) as error:
        raise ProblemError(f"data '{name}' raised {type(error).__name__}: {error}") from error
    if not isinstance(data, tuple | Dataset):
        raise ProblemError(
            f"data '{name}' returned a {type(data).__name__}; it must return a tuple of tensors or a Dataset"
        )
    return cast(Data, data)


def _named(data_sets: Mapping[str, Data], name: str, problem: str) -> Data:
    if name not in data_sets:
        known = f"it has {', '.join(data_sets)}" if data_sets else "it has none"
        raise ProblemError(
            f"problem '{problem}' has no data set '{name}': {known}; add it to Problem(data_sets=...), or name a "
            f"function of the problem as 'package.module:function'"
        )
    return data_sets[name]
