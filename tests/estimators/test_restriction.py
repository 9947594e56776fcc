"""Refined LLCs: what is held does not move, slices and heads are what they say, and blocks add up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from estimators import Problem, SamplerConfig
from estimators.acceptance import Walkers
from estimators.group import prepare
from estimators.llc import estimate_llc, sample_group
from estimators.problem import load_problem
from estimators.refinement import Refinement, moving_count, refine
from estimators.restriction import moving_parameters
from slt.calibration import Setting
from slt.closed_form import sgld_on_quadratic
from slt.errors import ProblemError

ENGINES = ("batched", "looped", "sequential")
CURVATURES = np.array([[0.5, 3.0, 40.0], [1.0, 8.0, 20.0]])
N_BETA, LOCALIZATION, STEP = 10.0, 5.0, 0.002


class Blocks(nn.Module):
    """A quadratic, block-diagonal in the rows of one parameter; `stiffness` holds the second row's last entries."""

    def __init__(self, stiffness: float = 0.0) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.ones(2, 3))
        self.register_buffer("h", torch.tensor(CURVATURES))
        self.stiffness = stiffness

    def forward(self, x: Tensor) -> Tensor:
        off = self.rows - 1
        held = self.stiffness * off[1, 1:].square().sum()
        return (0.5 * (self.h * off.square()).sum() + held).expand(len(x))


def problem(model: nn.Module, *restriction: str) -> Problem:
    return Problem(
        model=model, data=(torch.zeros(4, 1),), loss=lambda model, batch: model(batch[0]), restriction=restriction
    )


def config(engine: str, chains: int = 2, draws: int = 30, **changes: object) -> SamplerConfig:
    settings: dict[str, object] = {"step_size": STEP, "n_beta": N_BETA, "localization": LOCALIZATION}
    settings |= {"burn_in": 0, "batch_size": None, "dtype": "float64", "engine": engine}
    return SamplerConfig(**(settings | {"chains": chains, "draws": draws} | changes))


def entries(restriction: str, model: nn.Module) -> dict[str, list[int] | None]:
    found = moving_parameters(model, (restriction,))
    return {name: None if index is None else index.tolist() for name, index in found.items()}


@pytest.mark.parametrize(
    ("pattern", "flat"),
    [
        ("rows[0]", [0, 1, 2]), ("ro*[-1]", [3, 4, 5]), ("rows[:, 1]", [1, 4]), ("rows[1, ::2]", [3, 5]),
        ("rows[:]", None), ("rows", None), ("row[rst]", None),
    ],
)  # fmt: skip
def test_a_slice_names_the_coordinates_that_numpy_would(pattern: str, flat: list[int] | None) -> None:
    assert entries(pattern, Blocks()) == {"rows": flat}


def test_patterns_together_are_their_union() -> None:
    index = moving_parameters(Blocks(), ("rows[0]", "rows[:, 0]"))["rows"]
    assert index is not None
    assert index.tolist() == [0, 1, 2, 3]
    assert moving_parameters(Blocks(), ("rows[0]", "rows[1]")) == {"rows": None}


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("rows[2]", r"'rows\[2\]' does not fit 'rows' \(2, 3\): index 2 is out of bounds"),
        ("rows[0, 0, 0]", "does not fit"),
        ("rows[1:1]", "takes nothing of 'rows'"),
        ("rows[-]", "does not fit"),
        ("columns[0]", "matches no parameter"),
        ("l0h1", "for models of HuggingFace and TransformerLens"),
    ],
)
def test_a_restriction_that_cannot_be_is_one_sentence(pattern: str, reason: str) -> None:
    with pytest.raises(ProblemError, match=reason):
        moving_parameters(Blocks(), (pattern,))


@pytest.mark.parametrize("kernel", ["sgld", "rmsprop_sgld", "sgnht", "mala"])
@pytest.mark.parametrize("engine", ENGINES)
def test_coordinates_outside_the_restriction_never_move(engine: str, kernel: str) -> None:
    """A wall of 1e9 around them: the losses would show a movement of 1e-9 of them."""
    pattern, settings = "rows[0]", config(engine, kernel=kernel)
    walled = sample_group(problem(Blocks(1e9), pattern), [Blocks().state_dict()], settings)
    free = sample_group(problem(Blocks(0.0), pattern), [Blocks().state_dict()], settings)
    np.testing.assert_array_equal(walled.excess_loss_KCD, free.excess_loss_KCD)
    assert np.ptp(free.excess_loss_KCD) > 0


@pytest.mark.parametrize("engine", ENGINES)
def test_a_part_that_moves_does_what_the_same_coordinates_do_as_a_parameter_of_their_own(engine: str) -> None:
    class Alone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = nn.Parameter(torch.ones(2))
            self.register_buffer("h", torch.tensor(CURVATURES[:, 1]))

        def forward(self, x: Tensor) -> Tensor:
            return 0.5 * (self.h * (self.part - 1).square()).sum().expand(len(x))

    part = sample_group(problem(Blocks(), "rows[:, 1]"), [Blocks().state_dict()] * 2, config(engine))
    alone = sample_group(problem(Alone()), [Alone().state_dict()] * 2, config(engine))
    # the same sums, with zeros between
    np.testing.assert_allclose(part.excess_loss_KCD, alone.excess_loss_KCD, rtol=1e-12)
    np.testing.assert_allclose(part.distance_KC, alone.distance_KC, rtol=1e-12)


def test_both_engines_measure_the_same_acceptance_of_a_part() -> None:
    measured = []
    for engine in ENGINES:
        settings = config(engine, 3)
        walkers = Walkers(prepare(problem(Blocks(), "rows[1]"), [Blocks().state_dict()] * 2, settings), settings)
        walkers.walk(Setting(0.01, N_BETA, LOCALIZATION), 10)
        measured.append(walkers.acceptance(Setting(0.01, N_BETA, LOCALIZATION), 4))
    np.testing.assert_allclose(measured[0], measured[1], rtol=1e-9)
    assert measured[0].max() < 1


@pytest.mark.parametrize("engine", ENGINES)
def test_the_llcs_of_disjoint_blocks_add_up_where_the_hessian_is_block_diagonal(engine: str) -> None:
    settings = config(engine, 32 if engine == "batched" else 4, 400, burn_in=100)
    found, errors, exact = [], [], []
    for rows in ("rows[0]", "rows[1]", "rows"):
        trajectory = estimate_llc(problem(Blocks(), rows), {1: Blocks().state_dict()}, settings)
        block = CURVATURES[int(rows[5])] if "[" in rows else CURVATURES.ravel()
        value, chain_error = sgld_on_quadratic(N_BETA * block, LOCALIZATION, STEP, settings.draws)
        found.append(float(trajectory.llc[0]))
        errors.append(chain_error / np.sqrt(settings.chains))
        exact.append(value)
        # three standard errors, by the closed form
        assert found[-1] == pytest.approx(value, abs=3 * errors[-1])
    assert exact[0] + exact[1] == pytest.approx(exact[2], rel=1e-12)
    assert found[0] + found[1] == pytest.approx(found[2], abs=3 * float(np.linalg.norm(errors)))


def gpt2(kv_heads: int | None = None) -> nn.Module:
    if kv_heads is None:
        from transformers import GPT2Config, GPT2LMHeadModel

        return GPT2LMHeadModel(GPT2Config(vocab_size=11, n_positions=6, n_embd=8, n_layer=2, n_head=2))
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"vocab_size": 11, "hidden_size": 16, "intermediate_size": 12, "num_hidden_layers": 2}
    return LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=4, num_key_value_heads=kv_heads))


@pytest.mark.parametrize("pattern", ["l0", "l1h1", "L0 H0", "l1g0", "l0 attn", "l1 mlp", "embed"])
@pytest.mark.parametrize("kv_heads", [None, 2])
def test_devinterps_strings_mean_what_devinterp_means(pattern: str, kv_heads: int | None) -> None:
    from devinterp.slt.weight_restrictions import create_param_masks

    model = gpt2(kv_heads)
    found, theirs = moving_parameters(model, (pattern,)), create_param_masks(model, pattern)
    assert set(found) == set(theirs)
    for name, index in found.items():
        mask = theirs[name]
        if index is None:
            assert mask is None or mask.all()
        else:
            assert mask is not None
            assert index.tolist() == np.flatnonzero(mask.numpy()).tolist()


def test_devinterps_strings_reach_a_model_inside_the_users_own() -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lm = gpt2()

    wrapped = Wrapped()
    inside, outside = moving_parameters(wrapped.lm, ("l0h1",)), moving_parameters(wrapped, ("l0h1",))
    assert [f"lm.{name}" for name in inside] == list(outside)
    with pytest.raises(ProblemError, match=r"'l7h1': Layer 7 out of range \(model has 2 layers\)"):
        moving_parameters(wrapped, ("l7h1",))


def test_the_heads_of_a_language_model_can_be_sampled_on_both_engines() -> None:
    torch.manual_seed(0)
    ids = torch.randint(11, (24, 6))

    def loss(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        logits = model(input_ids=batch[0]).logits[:, :-1]
        targets = batch[0][:, 1:]
        return nn.functional.cross_entropy(logits.transpose(1, 2), targets, reduction="none").mean(dim=1)

    model = gpt2()
    of_head = Problem(model=model, data=(ids,), loss=loss, restriction=("l0h1",))
    # noise of 1e-9 to a drift of 0.5 times the gradient: gradient descent, the same on both engines
    descent: dict[str, object] = {"step_size": 1e-18, "n_beta": 1e18, "localization": 0.0, "batch_size": 8}
    traces = [
        sample_group(of_head, [model.state_dict()], config(engine, 2, 6, **descent)).excess_loss_KCD
        for engine in ENGINES
    ]
    np.testing.assert_allclose(traces[0], traces[1], rtol=1e-4, atol=1e-8)
    assert np.abs(traces[0]).max() > 1e-4


def test_a_problem_is_refined_by_parameters_by_data_and_by_both(tmp_path: Path) -> None:
    (tmp_path / "other_data.py").write_text(
        "def even(problem):\n    pairs, sums = problem.data\n    return pairs[sums % 2 == 0], sums[sums % 2 == 0]\n"
        "def broken(problem):\n    return [1]\n"
    )
    whole = load_problem("modular_addition", {"p": 7, "hidden": 5, "embedding": 3}, tmp_path)
    refined = refine(whole, Refinement(("embedding.weight[:2]",), "test"), tmp_path)
    assert moving_count(refined) == 6
    assert len(refined.data[0]) == 49 - len(whole.data[0])
    even = refine(whole, Refinement(data="other_data:even"), tmp_path)
    assert (even.data[1] % 2 == 0).all()
    assert moving_count(even) == moving_count(whole) == sum(p.numel() for p in whole.model.parameters())
    for data, reason in (
        ("held_out", "no data set 'held_out': it has test"),
        ("other_data:odd", "has no function 'odd'"),
        ("other_data:broken", "returned a list; it must return a tuple"),
        ("nowhere:even", "data 'nowhere:even' cannot be imported"),
    ):
        with pytest.raises(ProblemError, match=reason):
            refine(whole, Refinement(data=data), tmp_path)
