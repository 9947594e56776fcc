"""What users' models bring along, in both engines: it works, or one sentence says why not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from estimators import Problem
from estimators.divergences import kl
from estimators.group import prepare
from estimators.llc import sample_group
from slt.errors import ProblemError
from tests.estimators.models import (
    CLASSES,
    ENGINES,
    Base,
    WithAttention,
    WithComplexBuffer,
    WithFrozenPart,
    WithOutputObject,
    config,
    label_loss,
    states,
    tokens_problem,
)


@pytest.mark.parametrize("engine", ENGINES)
def test_complex_buffers_come_from_the_checkpoint_with_both_their_parts(engine: str) -> None:
    state = states(WithComplexBuffer, 1)[0]
    turned = state | {"rotation": state["rotation"].conj()}  # the same real part
    traces = sample_group(tokens_problem(WithComplexBuffer()), [state, turned], config(engine))
    assert abs(traces.loss_K[0] - traces.loss_K[1]) > 1e-3
    reference = WithComplexBuffer()
    reference.load_state_dict(turned)
    expected = label_loss(reference, tokens_problem(reference).data).mean().item()
    # float32 rounding
    assert traces.loss_K[1] == pytest.approx(expected, rel=1e-6)


def test_a_complex_parameter_is_refused_by_name_unless_it_is_frozen() -> None:
    model = Base()
    model.phase = nn.Parameter(torch.ones(2, dtype=torch.complex64))
    with pytest.raises(ProblemError, match="'phase' is complex and cannot be sampled; freeze it"):
        prepare(tokens_problem(model), [model.state_dict()], config())
    model.phase.requires_grad_(False)
    assert prepare(tokens_problem(model), [model.state_dict()], config()).fixed["phase"].is_complex()


@pytest.mark.parametrize("engine", ENGINES)
def test_the_frozen_part_is_the_checkpoints_and_stays(engine: str) -> None:
    first, second = states(WithFrozenPart)
    problem = tokens_problem(WithFrozenPart())
    group = prepare(problem, [first, second], config(engine))
    assert group.names == ("head.weight", "head.bias")
    mixed = second | {"head.weight": first["head.weight"], "head.bias": first["head.bias"]}
    losses = sample_group(problem, [first, second, mixed], config(engine)).loss_K
    assert len(set(losses.tolist())) == 3


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("reference", ["labels", "self"])
def test_a_model_that_returns_an_object_is_sampled_like_one_that_returns_its_logits(
    engine: str, reference: str
) -> None:
    plain = tokens_problem(Base())
    wrapped = Problem(
        model=WithOutputObject(),
        data=plain.data,
        loss=lambda model, batch: cross_entropy(model(batch[0]).logits, batch[1], reduction="none"),
        outputs=lambda model, batch: model(batch[0]).logits,
        divergence=kl,
    )
    settings = config(engine, reference=reference, step_size=1e-3, n_beta=30.0)
    one, other = (sample_group(problem, states(Base), settings) for problem in (replace(plain, divergence=kl), wrapped))
    np.testing.assert_array_equal(one.excess_loss_KCD, other.excess_loss_KCD)


def test_outputs_that_are_no_tensor_are_refused_with_the_line_to_write() -> None:
    problem = Problem(
        model=WithOutputObject(),
        data=tokens_problem(Base()).data,
        loss=lambda model, batch: cross_entropy(model(batch[0]).logits, batch[1], reduction="none"),
        divergence=kl,
    )
    with pytest.raises(ProblemError, match=r"returns a Output; say which tensor .*outputs=lambda model, batch"):
        prepare(problem, states(Base, 1), config(reference="self"))


@pytest.mark.slow  # transformers takes seconds to import
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_a_language_model_of_transformers_follows_the_same_path_in_all_engines(attention: str) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    with torch.random.fork_rng():
        torch.manual_seed(0)
        sizes = {"vocab_size": CLASSES, "n_positions": 8, "n_embd": 8, "n_layer": 2, "n_head": 2}
        model = GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=0, attn_implementation=attention))
    ids = torch.randint(CLASSES, (40, 6), generator=torch.Generator().manual_seed(0))

    def next_token_loss(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        logits = model(batch[0]).logits[:, :-1]
        return cross_entropy(logits.transpose(1, 2), batch[0][:, 1:], reduction="none").mean(dim=1)

    problem = Problem(model=model, data=(ids,), loss=next_token_loss)
    batched, *others = (sample_group(problem, [model.state_dict()], config(engine)) for engine in ENGINES)
    assert batched.engine == "batched"
    assert np.abs(batched.excess_loss_KCD[..., -1]).min() > 1e-3
    for other in others:
        # noise of 1e-6 over 8 steps on some 2,000 parameters, times gradients of order 1
        np.testing.assert_allclose(batched.excess_loss_KCD, other.excess_loss_KCD, rtol=0, atol=3e-4)
    # the unembedding is the embedding: it is counted once
    group = prepare(problem, [model.state_dict()], config())
    assert group.centers.shape[1] == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("engine", ENGINES)
def test_bfloat16_computes_in_half_precision_and_keeps_the_weights_whole(engine: str) -> None:
    problem, settings = tokens_problem(WithAttention()), {"step_size": 1e-3, "n_beta": 30.0, "localization": 10.0}
    settings |= {"batch_size": None, "draws": 20}
    whole, half = (
        sample_group(problem, states(WithAttention), config(engine, dtype=dtype, **settings))
        for dtype in ("float32", "bfloat16")
    )
    # a bfloat16 has 8 bits: it is seen in the loss, and no more than that
    difference = np.abs(whole.loss_K / half.loss_K - 1)
    assert (difference > 1e-7).all()
    assert (difference < 2**-8).all()
    # the checkpoint itself, rounded in another order: less than 2^-8 of the loss, averaged over 60 examples
    np.testing.assert_allclose(half.excess_loss_KCD[..., 0], 0, atol=2**-8 / np.sqrt(60) * half.loss_K.max())
    # steps of 0.03 and less, on weights of order 1, are kept: in bfloat16 weights they would be rounded to 2^-8
    np.testing.assert_allclose(half.distance_KC, whole.distance_KC, rtol=0.02)
    assert prepare(problem, states(WithAttention), config(dtype="bfloat16")).centers.dtype == torch.float32
