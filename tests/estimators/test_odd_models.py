"""Models that do unusual things: every engine that can run them gives the same chains, or one sentence says why not."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, dropout, gelu, relu_
from torch.utils.checkpoint import checkpoint

from estimators import Problem
from estimators.group import prepare
from estimators.llc import sample_group
from slt.errors import ProblemError
from tests.estimators.models import ENGINES, config

WIDTH = 6


class Plain(nn.Module):
    """Two linear layers, with something odd in between."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 3)

    def between(self, h: Tensor) -> Tensor:
        return h

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.between(self.first(x)))


def with_(name: str, make: Callable[[], object] | None, between: Callable[[Plain, Tensor], Tensor]) -> type[Plain]:
    """A kind of `Plain` that has one thing more, and does this between its layers."""

    class Odd(Plain):
        def __init__(self) -> None:
            super().__init__()
            if make is not None:
                setattr(self, name, make())

        def between(self, h: Tensor) -> Tensor:
            return between(self, h)

    Odd.__name__ = name
    return Odd


def while_large(model: Plain, h: Tensor) -> Tensor:
    while h.abs().max() > 1e9:
        h = h / 2
    return h


def in_place(model: Plain, h: Tensor) -> Tensor:
    h += 1
    h[:, 0] *= 2
    return relu_(h)


def through_time(model: Plain, h: Tensor) -> Tensor:
    return model.cell(h.unsqueeze(1).repeat(1, 3, 1))[0][:, -1]


class Aliased(Plain):
    """One module under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.again = self.first

    def between(self, h: Tensor) -> Tensor:
        return self.again(h)


class Tied(Plain):
    """One parameter in two modules, of which one has two names."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Linear(WIDTH, WIDTH)
        self.other.weight = self.first.weight
        self.alias = self.other

    def between(self, h: Tensor) -> Tensor:
        return self.alias(h)


class Parametrized(Plain):
    def __init__(self) -> None:
        super().__init__()
        nn.utils.parametrizations.weight_norm(self.first)
        nn.utils.parametrizations.orthogonal(self.last)


def looked_up(model: Plain, h: Tensor) -> Tensor:
    return h + model.table(torch.zeros(len(h), dtype=torch.long))


EVERYWHERE, NOT_BATCHED = set(ENGINES), {"looped", "sequential"}
CASES = {
    "in-place operations": (with_("odd", None, in_place), EVERYWHERE),
    "a parameter without dimensions": (
        with_("scale", lambda: nn.Parameter(torch.tensor(1.5)), lambda model, h: h * model.scale),
        EVERYWHERE,
    ),
    "an unused parameter": (with_("unused", lambda: nn.Parameter(torch.ones(3)), lambda model, h: h), EVERYWHERE),
    "a module under two names": (Aliased, EVERYWHERE),
    "a parameter in two modules": (Tied, EVERYWHERE),
    "complex numbers inside": (with_("odd", None, lambda model, h: torch.fft.fft(h).real), EVERYWHERE),
    "a loop that looks at numbers": (with_("odd", None, while_large), NOT_BATCHED),
    "item": (with_("odd", None, lambda model, h: h * (1 if h[:, 0].max().item() > -1e9 else 2)), NOT_BATCHED),
    "parametrizations": (Parametrized, NOT_BATCHED),
    "an LSTM": (
        with_("cell", lambda: nn.LSTM(WIDTH, WIDTH, batch_first=True), through_time),
        NOT_BATCHED,
    ),
    "activation checkpoints": (
        with_("odd", None, lambda model, h: checkpoint(gelu, h, use_reentrant=False)),
        NOT_BATCHED,
    ),
    "reentrant activation checkpoints": (
        with_("odd", None, lambda model, h: checkpoint(gelu, h, use_reentrant=True)),
        NOT_BATCHED,
    ),
    "sparse gradients": (with_("table", lambda: nn.Embedding(5, WIDTH, sparse=True), looked_up), NOT_BATCHED),
}  # fmt: skip


def problem(model: nn.Module) -> Problem:
    generator = torch.Generator().manual_seed(0)
    x, labels = torch.randn(40, WIDTH, generator=generator), torch.randint(3, (40,), generator=generator)
    loss = lambda model, batch: cross_entropy(model(batch[0]), batch[1], reduction="none")  # noqa: E731
    return Problem(model=model, data=(x, labels), loss=loss, name="odd")


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")  # reentrant checkpoints, without gradients
@pytest.mark.parametrize("name", CASES)
def test_every_engine_walks_the_same_chains_or_names_one_that_can(name: str) -> None:
    kind, engines = CASES[name]
    state = kind().state_dict()
    auto = sample_group(problem(kind()), [state], config(step_size=1e-3, n_beta=20.0, localization=10.0))
    assert auto.engine in engines
    for engine in ENGINES:
        settings = config(engine, step_size=1e-3, n_beta=20.0, localization=10.0)
        if engine not in engines:
            with pytest.raises(ProblemError, match=r"cannot run on the batched engine: .*Use engine 'looped' or"):
                sample_group(problem(kind()), [state], settings)
            continue
        traces = sample_group(problem(kind()), [state], settings)
        # the first draw is the checkpoint; then float64 rounding over 8 steps
        np.testing.assert_allclose(traces.excess_loss_KCD[..., 0], 0, atol=1e-12)
        np.testing.assert_allclose(traces.excess_loss_KCD, auto.excess_loss_KCD, rtol=0, atol=1e-10)


def drift(model: Plain, h: Tensor) -> Tensor:
    model.mean.mul_(0.5).add_(h.mean(dim=0))
    return h - model.mean


class Spoiler(Plain):
    """Writes into the data that it is given."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.add_(0.1))


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (with_("odd", None, lambda model, h: dropout(h, training=True)), "changes when it is computed again"),
        (with_("mean", lambda: nn.Buffer(torch.zeros(WIDTH)), drift), "changes when it is computed again"),
        (Spoiler, "changes when it is computed again"),
        (
            with_("norm", lambda: nn.BatchNorm1d(WIDTH, track_running_stats=False), lambda model, h: model.norm(h)),
            "depends on the other examples of its batch",
        ),
    ],
    ids=["dropout that is never off", "memory of past batches", "spoilt data", "statistics of the batch"],
)
def test_losses_that_cannot_be_paired_are_refused_with_the_reason(kind: type[Plain], why: str) -> None:
    with pytest.raises(ProblemError, match=rf"example of problem 'odd' {why} \(by .* nats\), so draws cannot be"):
        prepare(problem(kind()), [kind().state_dict()], config())


def old_weight_norm() -> nn.Module:
    model = Plain()
    model.first.weight = nn.Parameter(model.first.weight.detach())
    model.first.__dict__["cached"] = model.first.weight * 2  # as the hooks of torch.nn.utils.weight_norm leave it
    return model


def compiled() -> nn.Module:
    with warnings.catch_warnings():  # torch deprecates what files of users hold
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.trace(Plain(), torch.zeros(1, WIDTH))


@pytest.mark.parametrize("make", [old_weight_norm, compiled])
def test_a_model_that_cannot_be_copied_is_refused_in_one_sentence(make: Callable[[], nn.Module]) -> None:
    model = make()
    with pytest.raises(ProblemError, match=r"model of problem 'odd' cannot be copied: .*; give it as a plain nn\."):
        prepare(problem(model), [model.state_dict()], config())
