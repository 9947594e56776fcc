"""Both engines on the same models: the same paths, evaluation mode, and which of them is chosen."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from estimators.engines import choose
from estimators.engines.memory import chain_bytes, examples_at_once
from estimators.group import Group, prepare
from estimators.llc import sample_group
from slt.errors import ProblemError
from tests.estimators.models import (
    CLASSES,
    ENGINES,
    Base,
    WithAttention,
    WithBatchNorm,
    WithComplexBuffer,
    WithControlFlow,
    WithDropout,
    WithFrozenPart,
    WithIntegerBuffer,
    WithLayers,
    WithTies,
    config,
    label_loss,
    states,
    tokens_problem,
)

KINDS = (
    *(WithDropout, WithBatchNorm, WithTies, WithIntegerBuffer),
    *(WithComplexBuffer, WithFrozenPart, WithAttention, WithLayers),
)


@pytest.mark.parametrize("kind", KINDS)
def test_all_engines_follow_the_same_path(kind: type[Base]) -> None:
    problem = tokens_problem(kind())
    batched, looped, sequential = (sample_group(problem, states(kind), config(engine)) for engine in ENGINES)
    # it moves: the weights do change
    assert np.abs(batched.excess_loss_KCD[..., -1]).min() > 1e-3
    for other in (looped, sequential):
        # the same noise too: float64 rounding over 8 steps
        np.testing.assert_allclose(batched.excess_loss_KCD, other.excess_loss_KCD, rtol=0, atol=1e-12)
        np.testing.assert_allclose(batched.distance_KC, other.distance_KC, rtol=0, atol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", [WithDropout, WithBatchNorm, WithLayers])
def test_the_loss_is_that_of_evaluation_mode_and_the_users_model_is_left_alone(kind: type[Base], engine: str) -> None:
    problem = tokens_problem(kind().train())
    before = {name: value.clone() for name, value in problem.model.state_dict().items()}
    state = states(kind, 1)
    traces = sample_group(problem, state, config(engine))

    reference = kind().eval()
    reference.load_state_dict(state[0])
    # float32 rounding of a mean of 60 losses
    assert traces.loss_K[0] == pytest.approx(label_loss(reference, problem.data).mean().item(), rel=1e-6)
    # the first draw is the checkpoint itself: with dropout it would differ by order 1
    np.testing.assert_allclose(traces.excess_loss_KCD[..., 0], 0, atol=1e-12)
    assert problem.model.training
    assert all(torch.equal(value, before[name]) for name, value in problem.model.state_dict().items())


@pytest.mark.parametrize("engine", ENGINES)
def test_batch_statistics_come_from_the_checkpoint(engine: str) -> None:
    state = states(WithBatchNorm, 1)[0]
    shifted = state | {"norm.running_mean": state["norm.running_mean"] + 3}
    traces = sample_group(tokens_problem(WithBatchNorm()), [state, shifted], config(engine))
    assert abs(traces.loss_K[0] - traces.loss_K[1]) > 0.01
    assert not np.allclose(traces.excess_loss_KCD[0], traces.excess_loss_KCD[1], atol=1e-3)


@pytest.mark.parametrize("missing", ["embed.weight", "head.weight"])
def test_tied_weights_move_as_one_whichever_name_the_file_keeps(missing: str) -> None:
    state = states(WithTies, 1)[0]
    problem = tokens_problem(WithTies())
    group = prepare(problem, [{name: value for name, value in state.items() if name != missing}], config())
    assert group.centers.shape == (1, CLASSES * 6 + CLASSES)
    assert group.fixed == {}


def test_auto_is_batched_where_torch_can_and_looped_where_it_cannot() -> None:
    for kind, expected in ((WithLayers, "batched"), (WithControlFlow, "looped")):
        assert sample_group(tokens_problem(kind()), states(kind), config()).engine == expected


def test_auto_is_looped_where_the_activations_of_one_chain_fill_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    group = prepare(tokens_problem(Base()), states(Base), config())
    assert choose(group, config()) == "batched"
    monkeypatch.setattr("estimators.engines.LOOPED_FROM", 1000)
    assert choose(group, config()) == "looped"


def test_asking_for_batched_where_torch_cannot_says_so() -> None:
    problem = tokens_problem(WithControlFlow())
    with pytest.raises(ProblemError, match=r"cannot run on the batched engine: .*Use engine 'looped' or"):
        sample_group(problem, states(WithControlFlow), config("batched"))


def test_auto_is_sequential_where_the_chains_of_a_checkpoint_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    group = prepare(tokens_problem(Base()), states(Base), config())
    assert choose(group, config()) == "batched"
    monkeypatch.setattr("estimators.engines.BATCHED_LIMIT", 1000)
    assert choose(group, config()) == "sequential"


@pytest.mark.parametrize("engine", ["batched", "looped"])
def test_results_do_not_depend_on_the_chunks(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = tokens_problem(Base())
    whole = sample_group(problem, states(Base, 3), config(engine))
    monkeypatch.setattr("estimators.engines.memory.CPU_BUDGET", 1)
    apart = sample_group(problem, states(Base, 3), config(engine))
    # float64 rounding over 8 steps; chain by chain not even that
    atol = 1e-12 if engine == "batched" else 0
    np.testing.assert_allclose(whole.excess_loss_KCD, apart.excess_loss_KCD, rtol=0, atol=atol)


@pytest.mark.parametrize("measure", [chain_bytes, examples_at_once])
def test_a_dry_run_leaves_nothing_behind(measure: Callable[[Group], int]) -> None:
    kept = weakref.WeakSet[Tensor]()

    class Watched(Base):
        def mix(self, x: Tensor) -> Tensor:
            output = x.mean(dim=1).exp()  # whose backward pass wants its own output
            kept.add(output)
            return output

    group = prepare(tokens_problem(Watched()), states(Watched), config())
    kept.clear()
    assert measure(group) > 0
    gc.collect()
    assert len(kept) == 0
