from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from estimators.checkpoints import content_hash, discover, load_fitting, load_weights
from estimators.measures import evaluate
from estimators.problem import load_problem, problem_tensors
from estimators.problems import BUILT_IN, linear_network, modular_addition, train
from estimators.problems.recording import RunFolder, log_spaced_steps
from slt.errors import BadInput, OutputError, ProblemError
from slt.events import read_events

SHORT: dict[str, dict[str, Any]] = {
    "linear_network": {"width": 5, "n_samples": 200, "singular_values": (8, 4), "steps": 300, "checkpoints": 20},
    "modular_addition": {"p": 11, "embedding": 16, "hidden": 32, "steps": 120, "checkpoints": 20},
}


@pytest.fixture(scope="module")
def saddles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documented run, started from 1e-3 and cut at 6,000 of 20,000 steps: all four modes have been learned."""
    out = tmp_path_factory.mktemp("linear_network")
    train("linear_network", out, {"steps": 6000, "checkpoints": 60, "start": 1e-3})
    return out


@pytest.mark.parametrize(
    ("last", "count"), [(10_000, 100), (20_000, 120), (300, 20), (50, 60), (50, 2), (50, 3), (1, 2), (7, 8)]
)
def test_log_spaced_steps_hold_zero_the_last_and_as_many_as_asked_for(last: int, count: int) -> None:
    steps = log_spaced_steps(last, count)
    assert (steps[0], steps[-1]) == (0, last)
    assert len(steps) == min(count, last + 1)
    assert (np.diff(steps) > 0).all()


def test_log_spaced_steps_are_even_in_the_logarithm_where_steps_are_dense() -> None:
    ratios = np.diff(np.log(log_spaced_steps(10_000, 100)[-40:]))
    assert ratios.max() < 1.1 * ratios.min()


def test_too_few_checkpoints_are_refused() -> None:
    with pytest.raises(BadInput, match="1 checkpoints in 100 steps"):
        log_spaced_steps(100, 1)


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_a_run_is_a_sequence_of_checkpoints_that_fit_the_problem(name: str, tmp_path: Path) -> None:
    train(name, tmp_path, SHORT[name])
    made_by = yaml.safe_load((tmp_path / "problem.yaml").read_text())
    problem = load_problem(made_by["problem"], made_by["problem_args"], tmp_path)
    sequence = discover(tmp_path)
    assert sequence.problems == ()
    assert [checkpoint.step for checkpoint in sequence] == log_spaced_steps(SHORT[name]["steps"], 20)
    with (tmp_path / "training.csv").open() as file:
        curve = {int(row["step"]): float(row["loss"]) for row in csv.DictReader(file)}
    for checkpoint in (sequence.checkpoints[0], sequence.checkpoints[-1]):
        weights = load_fitting(checkpoint, problem.model, problem.name)
        # float32 losses, one of them from second moments whose terms are about 100 times the smallest loss.
        assert evaluate(["loss"], problem, weights)["loss"] == pytest.approx(curve[checkpoint.step], rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_training_is_the_same_again_with_the_same_seed_only(name: str, tmp_path: Path) -> None:
    def last_weights(folder: str, seed: int) -> str:
        torch.rand(seed + 1)  # the global generator stands elsewhere each time, and must not matter
        train(name, tmp_path / folder, SHORT[name] | {"steps": 30, "checkpoints": 3}, seed)
        return content_hash(load_weights(discover(tmp_path / folder).checkpoints[-1]))

    assert last_weights("a", 0) == last_weights("b", 0) != last_weights("c", 1)


def test_a_directory_that_holds_a_run_is_kept_unless_told_otherwise(tmp_path: Path) -> None:
    short = SHORT["linear_network"]
    train("linear_network", tmp_path, short)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="already holds a run"):
        train("linear_network", tmp_path, short)
    train("linear_network", tmp_path, short | {"steps": 10, "checkpoints": 4}, overwrite=True)
    assert discover(tmp_path).checkpoints[-1].step == 10
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="file/run cannot be written"):
        RunFolder(tmp_path / "file" / "run")


def test_progress_ends_at_the_last_step(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    train(
        "linear_network", tmp_path, SHORT["linear_network"], progress=lambda done, total, _: seen.append((done, total))
    )
    assert seen == sorted(seen)
    assert seen[-1] == (300, 300)


def test_unknown_problems_and_arguments_name_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ProblemError, match="did you mean 'linear_network'"):
        train("linaer_network", tmp_path)
    with pytest.raises(ProblemError, match="has no argument 'learning_rte'; did you mean 'learning_rate'"):
        train("linear_network", tmp_path, {"learning_rte": 1.0})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("linear_network", {"width": 3}),
        ("linear_network", {"n_samples": 8}),
        ("modular_addition", {"train_fraction": 1.0}),
        ("modular_addition", {"train_fraction": 0.0}),
    ],
)
def test_impossible_arguments_are_one_sentence(name: str, args: dict[str, Any]) -> None:
    with pytest.raises(ProblemError, match=f"{name} .*{next(iter(args))}="):
        BUILT_IN[name].build(**args)


def test_inputs_are_white_and_the_noise_has_unit_variance() -> None:
    x, y = problem_tensors(linear_network.build())
    # Whitened exactly, then rounded to float32.
    assert torch.allclose(x.T @ x / len(x), torch.eye(16), atol=1e-5)
    residual = y - x @ torch.linalg.lstsq(x, y).solution
    freedom = (4000 - 16) * 16
    # The variance of a sample variance is 2 / degrees of freedom; 4 standard errors.
    assert float(residual.square().sum()) / freedom == pytest.approx(1, abs=4 * np.sqrt(2 / freedom))


def test_modes_are_learned_at_the_times_of_the_closed_form(saddles: Path) -> None:
    first, *_ = discover(saddles)
    weights, problem = load_weights(first), linear_network.build()
    x, y = problem_tensors(problem)
    modes = linear_network.Modes.of_data(x, y)
    starts = modes.starts(weights["layer_1.weight"], weights["layer_2.weight"])
    expected = linear_network.half_times(modes.targets, starts) / 2e-3
    measured = [event.step for event in read_events(saddles / "events.csv")]
    assert len(measured) == 4
    # Gradient descent is later than the flow by (learning rate) s / 2, up to 0.8 %; the modes share hidden
    # directions at the start, which takes up to width-th parts of u_0 and so a few percent of ln(s / u_0).
    assert measured == pytest.approx(expected.tolist(), rel=0.04)


def test_half_time_is_when_the_closed_form_solution_is_at_half() -> None:
    target, start = torch.tensor([3.0]).double(), torch.tensor([1e-4]).double()
    growth = torch.exp(2 * target * linear_network.half_times(target, start))
    assert float(target * growth / (growth - 1 + target / start)) == pytest.approx(1.5, rel=1e-12)


def test_each_mode_is_learned_while_the_later_ones_are_still_small(saddles: Path) -> None:
    with (saddles / "training.csv").open() as file:
        rows = list(csv.DictReader(file))
    for event, later in zip(read_events(saddles / "events.csv")[:3], (2, 3, 4), strict=True):
        at_event = min(rows, key=lambda row: abs(float(row["step"]) - event.step))
        assert float(at_event[f"mode {later}"]) < 0.2


def test_measured_singular_values_are_those_of_the_trained_product(saddles: Path) -> None:
    problem = linear_network.build()
    weights = load_weights(discover(saddles).checkpoints[-1])
    columns = evaluate(["singular_values"], problem, weights)
    expected = np.linalg.svd((weights["layer_2.weight"] @ weights["layer_1.weight"]).numpy(), compute_uv=False)
    assert list(columns.values()) == pytest.approx(expected.tolist(), abs=1e-5)
    assert list(columns)[:2] == ["singular_value_1", "singular_value_2"]


def test_train_and_test_pairs_are_the_whole_table_without_overlap() -> None:
    problem = modular_addition.build(p=7, train_fraction=0.4)
    pairs, sums = problem_tensors(problem)
    assert len(pairs) == round(0.4 * 49)
    assert torch.equal(pairs.sum(1) % 7, sums)
    assert len({tuple(pair) for pair in pairs.tolist()}) == len(pairs)


def test_fourier_gini_tells_an_embedding_of_one_frequency_from_a_random_one() -> None:
    problem = modular_addition.build()
    weights = problem.model.state_dict()
    angle = 2 * torch.pi * 5 * torch.arange(53)[:, None] / 53 + torch.linspace(0, 6, 48)
    generator = torch.Generator().manual_seed(0)
    one = evaluate(["fourier_gini"], problem, weights | {"embedding.weight": angle.cos() + 3})["fourier_gini"]
    random = evaluate(
        ["fourier_gini"], problem, weights | {"embedding.weight": torch.randn(53, 48, generator=generator)}
    )["fourier_gini"]
    # One frequency of 26 carries all: 1 - 1/26; powers of 96 Gaussian terms differ by about 14 %: Gini 0.08.
    assert one == pytest.approx(1 - 1 / 26, abs=1e-3)
    assert random < 0.15


def test_accuracies_are_shares_of_the_train_and_of_the_test_pairs() -> None:
    problem = modular_addition.build(p=5, train_fraction=0.4)
    weights = {name: torch.zeros_like(value) for name, value in problem.model.state_dict().items()}
    weights["output.bias"][3] = 1.0  # answers 3 always
    train_sums = problem_tensors(problem)[1]
    right = int((train_sums == 3).sum())
    columns = evaluate(["train_accuracy", "test_accuracy"], problem, weights)
    # Of the 25 pairs, 5 sum to 3.
    assert columns["train_accuracy"] == pytest.approx(right / 10)
    assert columns["test_accuracy"] == pytest.approx((5 - right) / 15)


@pytest.mark.slow
def test_the_documented_recipe_memorises_early_and_groks_late(tmp_path: Path) -> None:
    train("modular_addition", tmp_path)
    events = {event.name: event for event in read_events(tmp_path / "events.csv")}
    memorised, understood = events["memorised"].step, events["test accuracy one half"].step
    # Another CPU rounds differently, and the story stays: seeds 0 to 4 memorise at 50 and grok at 3,500 to 8,000.
    assert 20 < memorised < 200
    assert 1_000 < understood < 10_000
    assert memorised < events["Fourier Gini up by a tenth"].step < understood
    problem = modular_addition.build()
    columns = evaluate(["test_accuracy"], problem, load_weights(discover(tmp_path).checkpoints[-1]))
    assert columns["test_accuracy"] > 0.95


@pytest.mark.parametrize(
    "args", [{"checkpoints": 1}, {"steps": "abc"}, {"start": "abc"}, {"learning_rate": -1.0}, {"steps": 10.5}]
)
def test_bad_arguments_leave_the_run_that_they_would_replace(tmp_path: Path, args: dict[str, Any]) -> None:
    train("linear_network", tmp_path, {"n_samples": 200, "steps": 20, "checkpoints": 5})
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(BadInput):
        train("linear_network", tmp_path, {"n_samples": 200} | args, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_seed_that_no_generator_takes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProblemError, match="seed is"):
        train("linear_network", tmp_path, {}, seed=10**30)
