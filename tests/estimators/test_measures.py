from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from estimators.measures import check_names, evaluate
from estimators.measures.sparsity import gini, hoyer
from estimators.problem import Problem
from slt.errors import JobError


def linear_problem(n: int = 1300, model: nn.Module | None = None) -> Problem:
    """1/2 (w x - y)^2 in one dimension: loss and gradient are known. 1300 examples are three chunks."""
    x = torch.linspace(-1, 1, n, dtype=torch.float64)[:, None]
    return Problem(
        model=model or nn.Linear(1, 1, bias=False, dtype=torch.float64),
        data=(x, 3 * x),
        loss=lambda model, batch: 0.5 * (model(batch[0]) - batch[1]).square().sum(1),
        measures={"twice_the_weight": lambda problem, model: {"double": 2 * float(model.state_dict()["weight"])}},
        name="line",
    )


def at(weight: float) -> dict[str, Tensor]:
    return {"weight": torch.tensor([[weight]], dtype=torch.float64)}


@pytest.mark.parametrize("weight", [-2.0, 0.5, 3.0])
def test_loss_and_gradient_norm_are_those_of_the_whole_data_set(weight: float) -> None:
    problem = linear_problem()
    assert isinstance(problem.data, tuple)
    second_moment = float(problem.data[0].square().mean())
    measured = evaluate(["loss", "gradient_norm"], problem, at(weight))
    # Sums of 1300 terms in float64: 1e-12 is a thousand roundings.
    assert measured["loss"] == pytest.approx(0.5 * second_moment * (weight - 3) ** 2, rel=1e-12, abs=1e-12)
    assert measured["gradient_norm"] == pytest.approx(second_moment * abs(weight - 3), rel=1e-12, abs=1e-12)


def test_measuring_leaves_the_problems_model_as_it_was() -> None:
    problem = linear_problem(model=nn.Sequential(nn.Linear(1, 1, bias=False, dtype=torch.float64), nn.Dropout(0.5)))
    problem.model.train()
    before = problem.model.state_dict()["0.weight"].clone()
    evaluate(["loss", "gradient_norm"], problem, {"0.weight": torch.tensor([[9.0]])})
    assert torch.equal(problem.model.state_dict()["0.weight"], before)
    assert problem.model.training
    assert all(parameter.grad is None for parameter in problem.model.parameters())


def test_measures_are_taken_in_evaluation_mode() -> None:
    problem = linear_problem(model=nn.Sequential(nn.Linear(1, 1, bias=False, dtype=torch.float64), nn.Dropout(0.5)))
    assert evaluate(["loss"], problem, {"0.weight": torch.tensor([[3.0]])})["loss"] == pytest.approx(0, abs=1e-12)


def test_weight_norm_is_over_all_parameters_together() -> None:
    problem = linear_problem(model=nn.Linear(1, 1, dtype=torch.float64))
    weights = {"weight": torch.tensor([[3.0]]), "bias": torch.tensor([4.0])}
    assert evaluate(["weight_norm"], problem, weights) == {"weight_norm": pytest.approx(5.0)}


@pytest.mark.parametrize("index", [hoyer, gini])
def test_sparsity_is_zero_for_equal_sizes_and_grows_to_one_for_a_single_value(index: object) -> None:
    assert callable(index)
    assert index(torch.tensor([2.0, -2.0, 2.0, 2.0])) == pytest.approx(0, abs=1e-12)
    single = torch.zeros(1000)
    single[3] = -5
    assert index(single) == pytest.approx(1, abs=2e-3)  # the Gini coefficient reaches 1 - 1/N
    assert math.isnan(index(torch.zeros(4)))


@pytest.mark.parametrize("index", [hoyer, gini])
def test_sparsity_does_not_depend_on_scale_sign_or_order(index: object) -> None:
    assert callable(index)
    values = torch.randn(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert index(-7 * values.flip(0)) == pytest.approx(index(values), rel=1e-12)


def test_sparsity_has_its_textbook_values() -> None:
    # Gini of (1, 2, 3): mean absolute difference 8/9 over twice the mean 2; Hoyer of (3, 4): 7/5 against sqrt(2).
    assert gini(torch.tensor([3.0, 1.0, 2.0])) == pytest.approx(2 / 9)
    assert hoyer(torch.tensor([3.0, 4.0])) == pytest.approx((math.sqrt(2) - 7 / 5) / (math.sqrt(2) - 1))


def test_one_name_may_fill_several_columns_and_a_problem_adds_its_own() -> None:
    columns = evaluate(["sparsity", "twice_the_weight"], linear_problem(), at(2.5))
    assert columns.keys() == {"sparsity_hoyer", "sparsity_gini", "double"}
    assert columns["double"] == 5.0


def test_an_unknown_measure_names_the_nearest() -> None:
    with pytest.raises(JobError, match=r"no measure 'wieght_norm' for problem 'line'; did you mean 'weight_norm'\?"):
        check_names(["loss", "wieght_norm"], linear_problem())
    with pytest.raises(JobError, match="did you mean 'twice_the_weight'"):
        evaluate(["twice_weight"], linear_problem(), at(1.0))
