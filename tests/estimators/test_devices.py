"""Nothing in a sampler's loop strays to another device or waits for one, shown on torch's "meta" device.

Its tensors have shapes and a device but no numbers: mixed with the processor's they raise, as a card's would, and
asking for a value (`item`, `cpu`, `if tensor`) raises too, where a card would make the host wait.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from estimators import seeds
from estimators.divergences import kl
from estimators.engines import batched, sequential
from estimators.engines.gradients import Gradients
from estimators.engines.tally import Record
from estimators.group import Group, prepare
from estimators.kernels import KERNELS
from estimators.sampler import SamplerConfig
from tests.estimators.models import (
    ENGINES,
    Base,
    WithAttention,
    WithBatchNorm,
    WithTies,
    config,
    states,
    tokens_problem,
)

META = torch.device("meta")


@pytest.fixture
def _without_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The meta device has no generators: whoever asks for one is told to draw without."""

    def generator(seed: int, chain: int, purpose: int, device: torch.device) -> torch.Generator | None:
        return None if device == META else torch.Generator(device)

    monkeypatch.setattr(seeds, "chain_generator", generator)


def without_numbers(group: Group) -> Group:
    def moved(tensor: Tensor) -> Tensor:
        return tensor.to(META)

    return replace(
        group,
        scored=group.scored.to(META),
        coordinates=tuple(None if index is None else moved(index) for index in group.coordinates),
        centers=moved(group.centers),
        fixed={name: moved(value) for name, value in group.fixed.items()},
        data=tuple(moved(tensor) for tensor in group.data),
        references=tuple(moved(tensor) for tensor in group.references),
        center_losses=moved(group.center_losses),
        loss=moved(group.loss),
    )


def walk(engine: str, group: Group, settings: SamplerConfig) -> Record:
    """The whole loop of one chunk, or of one chain."""
    kernel = KERNELS[settings.kernel](settings.step_size, settings.n_beta, settings.localization)
    if engine == "sequential":
        gradients = Gradients(group)
        place = gradients.place(torch.empty_like(group.centers[0]), torch.empty_like(group.centers[0]))
        return sequential._sample_chain(gradients, place, settings, kernel, (0, 0), lambda done: None)
    chunk = slice(0, len(group.centers))
    evaluate = batched.EVALUATIONS[engine](group, chunk)
    return batched._sample_chunk(group, settings, kernel, chunk, evaluate, lambda done: None)


@pytest.mark.usefixtures("_without_numbers")
@pytest.mark.parametrize("kernel", sorted(KERNELS))
@pytest.mark.parametrize("engine", ENGINES)
def test_no_kernel_leaves_the_device_or_asks_it_for_a_number(engine: str, kernel: str) -> None:
    settings = replace(config(engine), kernel=kernel, batch_size=None if kernel == "mala" else 8)
    group = without_numbers(prepare(tokens_problem(Base()), states(Base), settings))
    record = walk(engine, group, settings)
    tensors = [record.excess_loss, record.distance] + ([record.acceptance] if record.acceptance is not None else [])
    assert {tensor.device for tensor in tensors} == {META}
    assert (record.acceptance is not None) == (kernel == "mala")


@pytest.mark.usefixtures("_without_numbers")
@pytest.mark.parametrize("kind", [WithAttention, WithBatchNorm, WithTies])
@pytest.mark.parametrize("engine", ENGINES)
def test_nor_do_buffers_attention_own_outputs_or_parts_of_parameters(engine: str, kind: type[Base]) -> None:
    for changes, of_problem in (
        ({"reference": "self"}, {"divergence": kl}),
        ({}, {"restriction": ("*[0]",)}),
        ({"dtype": "float32", "steps_between_draws": 2}, {}),
    ):
        settings = replace(config(engine), **changes)
        problem = replace(tokens_problem(kind()), **of_problem)
        group = without_numbers(prepare(problem, states(kind), settings))
        assert walk(engine, group, settings).excess_loss.device == META


@pytest.mark.usefixtures("_without_numbers")
@pytest.mark.parametrize(
    "stray",
    [
        lambda model, batch: model(batch[0]).square().sum(dim=1) + torch.ones(len(batch[0])),
        lambda model, batch: model(batch[0]).square().sum(dim=1) * model(batch[0]).mean().item(),
    ],
    ids=["another device", "a number"],
)
def test_the_test_itself_sees_a_stray(stray: Callable[..., Tensor]) -> None:
    settings = config("looped")
    problem = tokens_problem(Base())
    group = without_numbers(prepare(problem, states(Base), settings))
    group.scored.problem = replace(problem, loss=stray)
    with pytest.raises((RuntimeError, NotImplementedError), match=r"device|meta"):
        walk("looped", group, settings)


@pytest.mark.parametrize("device", ["meta", "mps", "cuda:97", "nonsense"])
def test_devices_that_cannot_sample_are_one_sentence(device: str) -> None:
    from slt.errors import JobError

    with pytest.raises(JobError, match=rf"sampler\.device is '{device}', which cannot be used here: "):
        _ = replace(config(), device=device).torch_device
