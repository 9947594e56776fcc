"""What else is measured at a checkpoint, beside the LLC: one measure a file, all of the shape of `problem.Measure`.

A measure is `(problem, model) -> {column: value}`; the model carries the checkpoint's weights, in evaluation mode.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from estimators.measures.losses import gradient_norm, loss
from estimators.measures.sparsity import sparsity
from estimators.measures.weight_norm import weight_norm
from estimators.problem import Measure, Problem
from slt.errors import JobError

MEASURES: dict[str, Measure] = {
    "loss": loss,
    "weight_norm": weight_norm,
    "sparsity": sparsity,
    "gradient_norm": gradient_norm,
}


def check_names(names: Sequence[str], problem: Problem) -> None:
    """Raise JobError for a name that is neither a general measure nor one of the problem's, naming the nearest."""
    known = MEASURES | dict(problem.measures)
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(sorted(known))}"
            raise JobError(f"no measure '{name}' for problem '{problem.name}'; {hint}")


def evaluate(names: Sequence[str], problem: Problem, weights: Mapping[str, Tensor]) -> dict[str, float]:
    """Measure one checkpoint, on a copy of the model.

    Args:
        names: general measures and the problem's own; the problem's go before general ones of the same name.
        problem: its model and data.
        weights: by the model's names (see `checkpoints.fit_names`).

    Returns:
        One value per column; a measure may fill several.

    Raises:
        JobError: an unknown name.
    """
    check_names(names, problem)
    model = copy.deepcopy(problem.model)
    model.load_state_dict(dict(weights))
    model.eval()
    values: dict[str, float] = {}
    for name in names:
        measure = problem.measures.get(name) or MEASURES[name]
        with torch.no_grad():  # a measure that needs gradients turns them on itself
            values |= measure(problem, model)
    return values
