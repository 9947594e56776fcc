"""Models with what real models have: dropout, batch norm, ties, buffers, attention, control flow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention

from estimators import Problem, SamplerConfig
from estimators.engines import choose
from estimators.group import prepare
from estimators.llc import sample_group
from slt.errors import ProblemError

ENGINES = ("batched", "sequential")
CLASSES = 7


def config(engine: str = "auto", **changes: object) -> SamplerConfig:
    # drift 0.05 per step of the mean gradient, noise 1e-6: gradient descent, the same on both engines
    settings = {"step_size": 1e-12, "n_beta": 1e11, "localization": 0.0, "dtype": "float64"}
    settings |= {"chains": 2, "draws": 8, "burn_in": 0, "batch_size": 16, "engine": engine}
    return SamplerConfig(**(settings | changes))


def tokens_problem(model: nn.Module) -> Problem:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(CLASSES, (60, 5), generator=generator)
    return Problem(model=model, data=(ids, ids[:, 0]), loss=label_loss)


def label_loss(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    return cross_entropy(model(batch[0]), batch[1], reduction="none")


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(CLASSES, 6)
        self.head = nn.Linear(6, CLASSES)

    def mix(self, x: Tensor) -> Tensor:
        return x.mean(dim=1)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.mix(self.embed(ids)))


class WithDropout(Base):
    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.9)

    def mix(self, x: Tensor) -> Tensor:
        return self.dropout(x).mean(dim=1)


class WithBatchNorm(Base):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(6)

    def mix(self, x: Tensor) -> Tensor:
        return self.norm(x.mean(dim=1))


class WithTies(Base):
    def __init__(self) -> None:
        super().__init__()
        self.head.weight = self.embed.weight


class WithIntegerBuffer(Base):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("order", torch.arange(4, -1, -1))
        self.register_buffer("scale", torch.linspace(0, 1, 5)[:, None], persistent=False)

    def mix(self, x: Tensor) -> Tensor:
        return (x[:, self.order] * self.scale).sum(dim=1)


class WithAttention(Base):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(6, 18)

    def mix(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, 3)).permute(2, 0, 3, 1, 4)
        return scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)[:, -1]


class WithLayers(Base):
    """What torch itself offers: a transformer layer with its own dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(6, 2, 8, dropout=0.5, batch_first=True)

    def mix(self, x: Tensor) -> Tensor:
        return self.layer(x).mean(dim=1)


class WithControlFlow(Base):
    def mix(self, x: Tensor) -> Tensor:
        return x.mean(dim=1) if x.sum() > 0 else x.sum(dim=1)


def states(kind: type[Base], count: int = 2) -> list[dict[str, Tensor]]:
    result = []
    for seed in range(count):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            result.append(kind().state_dict())
    return result


@pytest.mark.parametrize("kind", [WithDropout, WithBatchNorm, WithTies, WithIntegerBuffer, WithAttention, WithLayers])
def test_both_engines_follow_the_same_path(kind: type[Base]) -> None:
    problem = tokens_problem(kind())
    batched, sequential = (sample_group(problem, states(kind), config(engine)) for engine in ENGINES)
    # it moves: the weights do change
    assert np.abs(batched.excess_loss_KCD[..., -1]).min() > 1e-3
    # noise of 1e-6 over 8 steps on some 100 parameters, times gradients of order 1
    np.testing.assert_allclose(batched.excess_loss_KCD, sequential.excess_loss_KCD, rtol=0, atol=1e-4)
    np.testing.assert_allclose(batched.distance_KC, sequential.distance_KC, rtol=0, atol=1e-4)


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


def test_auto_is_batched_where_torch_can_and_sequential_where_it_cannot() -> None:
    for kind, expected in ((WithLayers, "batched"), (WithControlFlow, "sequential")):
        assert sample_group(tokens_problem(kind()), states(kind), config()).engine == expected


def test_asking_for_batched_where_torch_cannot_says_so() -> None:
    problem = tokens_problem(WithControlFlow())
    with pytest.raises(ProblemError, match=r"cannot run on the batched engine: .*Use engine 'sequential'"):
        sample_group(problem, states(WithControlFlow), config("batched"))


def test_auto_is_sequential_where_the_chains_of_a_checkpoint_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    group = prepare(tokens_problem(Base()), states(Base), config())
    assert choose(group, config()) == "batched"
    monkeypatch.setattr("estimators.engines.BATCHED_LIMIT", 1000)
    assert choose(group, config()) == "sequential"


def test_results_do_not_depend_on_the_chunks_of_the_batched_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = tokens_problem(Base())
    whole = sample_group(problem, states(Base, 3), config("batched"))
    monkeypatch.setattr("estimators.engines.memory.CPU_BUDGET", 1)
    apart = sample_group(problem, states(Base, 3), config("batched"))
    # float64 rounding over 8 steps
    np.testing.assert_allclose(whole.excess_loss_KCD, apart.excess_loss_KCD, rtol=0, atol=1e-12)
