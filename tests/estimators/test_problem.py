"""Finding a user's problem, and its data."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from estimators.problem import Problem, load_problem, n_samples, problem_tensors
from estimators.restriction import moving_parameters
from slt.errors import ProblemError

SOURCE = """
import torch
from estimators import Problem

def mine(width=3):
    return Problem(model=torch.nn.Linear(width, 1), data=(torch.zeros(5, width),),
                   loss=lambda model, batch: model(batch[0])[:, 0], name="mine")

def number():
    return 7

def broken():
    raise KeyError("labels")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "users_own_problem.py").write_text(SOURCE)
    (tmp_path / "users_bad_module.py").write_text("import a_module_that_is_not_there\n")
    before, path = set(sys.modules), list(sys.path)
    yield tmp_path
    assert sys.path == path
    for name in set(sys.modules) - before:
        if name.startswith("users_"):
            del sys.modules[name]


def test_a_users_function_is_called_with_its_arguments(folder: Path) -> None:
    problem = load_problem("users_own_problem:mine", {"width": 4}, folder)
    assert problem.name == "mine"
    assert problem.model.weight.shape == (1, 4)


def test_a_built_in_problem_is_found_by_name(tmp_path: Path) -> None:
    assert isinstance(load_problem("linear_network", {}, tmp_path), Problem)


@pytest.mark.parametrize(
    ("reference", "args", "message"),
    [
        ("users_own_problem:mine", {"height": 4}, "raised TypeError: .*height"),
        ("users_own_problem:mien", {}, "has no function 'mien'; did you mean 'mine'"),
        ("users_own_problem:number", {}, "returned a int"),
        ("users_own_problem:broken", {}, "raised KeyError: 'labels'"),
        ("users_missing:mine", {}, "cannot be imported from .*No module named 'users_missing'"),
        ("users_bad_module:mine", {}, "No module named 'a_module_that_is_not_there'"),
        ("linear_netwrk", {}, "did you mean 'linear_network'"),
        ("xyz", {}, "built in are"),
        (":mine", {}, "cannot be imported"),
    ],
)
def test_every_failure_is_one_sentence(folder: Path, reference: str, args: dict[str, object], message: str) -> None:
    with pytest.raises(ProblemError, match=message) as caught:
        load_problem(reference, args, folder)
    assert "\n" not in str(caught.value)


def loss_of(model: nn.Module, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
    return model(batch[0])[:, 0]


def problem_with(data: tuple[torch.Tensor, ...] | Dataset) -> Problem:
    return Problem(model=nn.Linear(2, 1), data=data, loss=loss_of)


def test_a_dataset_becomes_the_tensors_it_was_made_of() -> None:
    x, y = torch.arange(10.0).view(5, 2), torch.arange(5)
    problem = problem_with(TensorDataset(x, y))
    assert all(torch.equal(a, b) for a, b in zip(problem_tensors(problem), (x, y), strict=True))
    assert n_samples(problem) == n_samples(problem_with((x, y))) == 5


@pytest.mark.parametrize("data", [(), (torch.zeros(3, 2), torch.zeros(4)), (torch.zeros(0, 2),)])
def test_data_without_one_length_are_refused(data: tuple[torch.Tensor, ...]) -> None:
    with pytest.raises(ProblemError, match="must share one length"):
        problem_tensors(problem_with(data))


def test_data_that_are_not_tensors_are_refused() -> None:
    with pytest.raises(ProblemError, match="holds a list"):
        problem_tensors(problem_with(([1, 2],)))


def test_patterns_choose_the_parameters_that_move() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    model[1].bias.requires_grad_(False)
    assert list(moving_parameters(model, ())) == ["0.weight", "0.bias", "1.weight"]
    assert list(moving_parameters(model, ("*.bias", "1.*"))) == ["0.bias", "1.weight"]


def test_a_pattern_without_a_match_and_a_model_without_motion_are_refused() -> None:
    model = nn.Linear(2, 1)
    with pytest.raises(ProblemError, match=r"'heads\.\*' matches no parameter; the model's are weight, bias"):
        moving_parameters(model, ("heads.*",))
    with pytest.raises(ProblemError, match="no parameter moves"):
        moving_parameters(model.requires_grad_(False), ())
