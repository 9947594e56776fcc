from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from estimators.checkpoints import Checkpoint, check_fits, content_hash, discover, fit_names, load_fitting, load_weights
from estimators.problems.recording import log_spaced_steps
from slt.errors import (
    CheckpointError,
    CheckpointMismatch,
    DuplicateStep,
    NoCheckpoints,
    NonFiniteWeights,
    UnreadableCheckpoint,
)


@pytest.fixture
def weights() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {"weight": torch.randn(2, 3, generator=generator), "bias": torch.randn(2, generator=generator)}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("name", "step", "unit"),
    [
        ("step_000123.safetensors", 123, "step"),
        ("checkpoint-400/model.safetensors", 400, "step"),
        ("epoch=3-step=400.ckpt", 400, "step"),
        ("epoch=2-val_loss=0.02.ckpt", 2, "epoch"),
        ("400.pth", 400, "step"),
        ("model_400.pt", 400, "step"),
        ("step1000-tokens4B/model.safetensors", 1000, "step"),
        ("stage1-step928646-tokens3896B/model.pt", 928646, "step"),
        ("global_step400/model.pt", 400, "step"),
        ("iter_0002000/model.pt", 2000, "step"),
        ("step10k.pt", 10_000, "step"),
        ("tokens_4B.pt", 4 * 10**9, "token"),
        ("gpt_2097152000.pth", 2097152000, "token"),
        ("epoch_7.pt", 7, "epoch"),
        ("step_400/resnet-18.pt", 400, "step"),
        ("checkpoint-400/pytorch_model.bin", 400, "step"),
    ],
)
def test_step_and_unit_are_read_from_the_name(
    tmp_path: Path, weights: dict[str, Tensor], name: str, step: int, unit: str
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".safetensors":
        save_file(weights, path)
    else:
        torch.save(weights, path)
    sequence = discover(tmp_path)
    assert sequence.problems == ()
    (checkpoint,) = sequence
    assert (checkpoint.step, checkpoint.unit) == (step, unit)
    assert "name" in checkpoint.step_source
    assert checkpoint.bytes == path.stat().st_size
    assert same(load_weights(checkpoint), weights)


@pytest.mark.parametrize("key", ["model", "state_dict", "model_state_dict", "model_state", "something_of_mine"])
def test_a_state_dict_inside_is_found(tmp_path: Path, weights: dict[str, Tensor], key: str) -> None:
    torch.save({key: weights, "optimizer": {"state": {}, "param_groups": [{"lr": 1.0}]}}, tmp_path / "step_5.pt")
    (checkpoint,) = discover(tmp_path)
    assert same(load_weights(checkpoint), weights)


@pytest.mark.parametrize(
    ("key", "unit"), [("step", "step"), ("global_step", "step"), ("iter_num", "step"), ("epoch", "epoch")]
)
def test_step_is_read_from_inside_when_the_name_tells_none(
    tmp_path: Path, weights: dict[str, Tensor], key: str, unit: str
) -> None:
    torch.save({"model": weights, key: 77}, tmp_path / "ckpt.pt")
    (checkpoint,) = discover(tmp_path)
    assert (checkpoint.step, checkpoint.unit) == (77, unit)
    assert f"inside the file, '{key}'" in checkpoint.step_source


def test_a_bare_number_takes_its_unit_from_inside(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    torch.save({"model": weights, "epoch": 400}, tmp_path / "400.pth")
    assert discover(tmp_path).unit == "epoch"


def test_a_renamed_file_says_which_step_it_holds(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    torch.save({"state_dict": weights, "global_step": 300}, tmp_path / "step_400.ckpt")
    (checkpoint,) = discover(tmp_path)
    assert checkpoint.step == 400
    assert "but 300 inside" in checkpoint.step_source


def test_the_sequence_is_ordered_by_step_not_by_name(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    for step in (1000, 20, 3):
        torch.save(weights, tmp_path / f"{step}.pth")
    assert [checkpoint.step for checkpoint in discover(tmp_path)] == [3, 20, 1000]


def test_what_lies_beside_the_weights_is_left_alone(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    folder = tmp_path / "checkpoint-400"
    folder.mkdir()
    save_file(weights, folder / "model.safetensors")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state_0.pth", "training_args.bin", "scaler.pt", "optim.pt"):
        (folder / name).write_bytes(b"not looked into")
    (folder / "trainer_state.json").write_text("{}")
    sequence = discover(tmp_path)
    assert len(sequence) == 1
    assert sequence.problems == ()


def test_shards_are_one_checkpoint(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    folder = tmp_path / "checkpoint-400"
    folder.mkdir()
    names = {"weight": "model-00001-of-00002.safetensors", "bias": "model-00002-of-00002.safetensors"}
    for name, file in names.items():
        save_file({name: weights[name]}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    (checkpoint,) = discover(tmp_path)
    assert checkpoint.step == 400
    assert same(load_weights(checkpoint), weights)
    (folder / names["bias"]).unlink()
    with pytest.raises(UnreadableCheckpoint, match=r"model-00002-of-00002\.safetensors is missing"):
        discover(tmp_path).require_usable()


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".old.pt"])
@pytest.mark.parametrize("kept", [0.0, 0.4, 0.98])
def test_a_file_cut_short_is_named(tmp_path: Path, weights: dict[str, Tensor], suffix: str, kept: float) -> None:
    torch.save(weights, tmp_path / "step_1.pt")
    path = tmp_path / f"step_2{suffix}"
    if suffix == ".safetensors":
        save_file(weights, path)
    else:
        torch.save(weights, path, _use_new_zipfile_serialization=suffix == ".pt")
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    sequence = discover(tmp_path)
    assert [checkpoint.step for checkpoint in sequence] == [1]
    with pytest.raises(UnreadableCheckpoint, match="empty" if kept == 0 else "cut short") as raised:
        sequence.require_usable()
    assert path.name in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_save_that_was_interrupted_is_noted_and_does_no_harm(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    save_file(weights, tmp_path / "step_1.safetensors")
    (tmp_path / ".step_2.safetensors.tmp").write_bytes(b"half")
    sequence = discover(tmp_path)
    sequence.require_usable()
    assert len(sequence) == 1
    assert "half-written" in sequence.problems[0]


class RunsCode:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("harm",)


def test_a_pickle_that_would_run_code_is_refused_and_nothing_runs(
    tmp_path: Path, weights: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": weights, "extra": RunsCode()}, tmp_path / "step_1.pt")
    with pytest.raises(UnreadableCheckpoint, match=r"posix.mkdir.*not safe.*weights_only=False"):
        discover(tmp_path).require_usable()
    assert not (tmp_path / "harm").exists()


def test_a_whole_pickled_model_is_refused_with_how_to_convert_it(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "step_1.pt")
    with pytest.raises(UnreadableCheckpoint, match=r"torch.nn.modules.linear.Linear.*torch.save\(saved.state_dict"):
        discover(tmp_path).require_usable()


def test_plain_values_beside_the_weights_do_not_stop_the_reading(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    saved = {"model": weights, "best": np.float64(0.3), "args": argparse.Namespace(lr=1), "history": np.zeros(3)}
    torch.save(saved, tmp_path / "step_1.pt")
    (checkpoint,) = discover(tmp_path)
    assert same(load_weights(checkpoint), weights)


def test_two_files_of_one_step_are_both_named(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    save_file(weights, tmp_path / "step_7.safetensors")
    torch.save(weights, tmp_path / "step_0007.pt")
    sequence = discover(tmp_path)
    with pytest.raises(DuplicateStep, match=r"step_7.safetensors and .*step_0007.pt are both of step 7"):
        sequence.require_usable()


def test_lightnings_copy_of_the_last_checkpoint_is_no_duplicate(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    for name in ("epoch=3-step=400.ckpt", "last.ckpt"):
        torch.save({"state_dict": weights, "global_step": 400, "epoch": 3}, tmp_path / name)
    sequence = discover(tmp_path)
    sequence.require_usable()
    assert [checkpoint.path.name for checkpoint in sequence] == ["epoch=3-step=400.ckpt"]
    assert "last.ckpt" in sequence.problems[0]


def test_steps_and_epochs_are_not_mixed_on_one_axis(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    torch.save(weights, tmp_path / "step_100.pt")
    torch.save(weights, tmp_path / "epoch_3.pt")
    with pytest.raises(CheckpointError, match="different units"):
        discover(tmp_path).require_usable()


@pytest.mark.parametrize("directory", ["missing", "a_file.txt", "empty"])
def test_a_directory_without_checkpoints_is_named(tmp_path: Path, directory: str) -> None:
    (tmp_path / "a_file.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NoCheckpoints, match=directory):
        discover(tmp_path / directory).require_usable()


def test_files_that_are_no_checkpoints_are_named_as_skipped(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    torch.save(weights, tmp_path / "init.pth")
    torch.save({"pairs": [1, 2]}, tmp_path / "step_3.pt")
    (tmp_path / "arrays.npz").write_bytes(b"x")
    sequence = discover(tmp_path)
    assert len(sequence) == 0
    for name in ("init.pth", "step_3.pt", "arrays.npz"):
        assert any(name in problem for problem in sequence.problems)


@pytest.mark.parametrize(
    ("steps", "missing"),
    [
        (range(0, 1000, 100), []),
        ([step for step in range(0, 1000, 100) if step != 500], [(400, 600)]),
        ([0, *(2**k for k in range(12))], []),
        (log_spaced_steps(10_000, 100), []),
        ([0, *(2**k for k in range(12) if k != 8)], [(128, 512)]),
    ],
)
def test_a_missing_checkpoint_is_noted(
    tmp_path: Path, weights: dict[str, Tensor], steps: list[int], missing: list[tuple[int, int]]
) -> None:
    for step in steps:
        save_file(weights, tmp_path / f"step_{step}.safetensors")
    expected = [
        f"no checkpoint between steps {left} and {right}, where their spacing suggests one" for left, right in missing
    ]
    assert list(discover(tmp_path).problems) == expected


def test_inspect_document_has_the_promised_keys(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    save_file(weights, tmp_path / "step_7.safetensors")
    document = json.loads(json.dumps(discover(tmp_path).to_dict()))
    assert document.keys() == {"checkpoints", "problems"}
    assert document["checkpoints"][0].keys() == {"step", "unit", "step_source", "path", "format", "bytes"}


@pytest.mark.parametrize("prefix", ["", "_orig_mod.", "module.", "module._orig_mod.", "model.", "model._orig_mod."])
def test_wrappers_prefixes_are_taken_off(tmp_path: Path, weights: dict[str, Tensor], prefix: str) -> None:
    torch.save({prefix + name: value for name, value in weights.items()}, tmp_path / "step_1.pt")
    (checkpoint,) = discover(tmp_path)
    assert same(load_fitting(checkpoint, nn.Linear(3, 2), "p"), weights)


def test_what_lightning_saves_of_its_loop_is_left_out(weights: dict[str, Tensor]) -> None:
    saved = {f"net.{name}": value for name, value in weights.items()} | {"metric.total": torch.zeros(1)}
    assert same(fit_names(saved, nn.Linear(3, 2)), weights)


def test_a_tied_parameter_that_the_file_holds_once_is_filled_in() -> None:
    model = nn.ModuleDict({"first": nn.Linear(3, 3, bias=False), "second": nn.Linear(3, 3, bias=False)})
    model["second"].weight = model["first"].weight
    value = torch.ones(3, 3)
    assert same(fit_names({"first.weight": value}, model), {"first.weight": value, "second.weight": value})


CHECKPOINT = Checkpoint(4000, "step", "file name", Path("runs/step_004000.safetensors"), "safetensors", 1)


def test_a_shape_that_does_not_fit_names_parameter_both_shapes_and_file(weights: dict[str, Tensor]) -> None:
    with pytest.raises(CheckpointMismatch) as raised:
        check_fits(weights, nn.Linear(4, 2), CHECKPOINT, "modular_addition", {"p": 113})
    assert str(raised.value).startswith(
        "'weight' is (2, 3) in step_004000.safetensors but (2, 4) in problem 'modular_addition' (p=113)"
    )


def test_names_that_do_not_fit_are_named(weights: dict[str, Tensor]) -> None:
    with pytest.raises(CheckpointMismatch, match=r"'bias' .*step_004000"):
        check_fits({"weight": weights["weight"]}, nn.Linear(3, 2), CHECKPOINT, "p")
    with pytest.raises(CheckpointMismatch, match=r"'scale' .*step_004000"):
        check_fits(weights | {"scale": torch.ones(1)}, nn.Linear(3, 2), CHECKPOINT, "p")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_names_parameter_file_and_step(weights: dict[str, Tensor], bad: float) -> None:
    weights["bias"][1] = bad
    with pytest.raises(NonFiniteWeights, match=r"'bias' in step_004000.safetensors \(step 4000\) holds 1 of 2"):
        check_fits(weights, nn.Linear(3, 2), CHECKPOINT, "p")


def test_the_hash_is_of_the_content_not_of_the_file(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    torch.save(dict(reversed(weights.items())), tmp_path / "step_1.pt")
    save_file(weights, tmp_path / "step_2.safetensors")
    one, other = (content_hash(load_weights(checkpoint)) for checkpoint in discover(tmp_path))
    assert one == other


@pytest.mark.parametrize(
    "change",
    [
        lambda w: {**w, "bias": w["bias"] + 1e-7},
        lambda w: {**w, "bias": w["bias"].double()},
        lambda w: {**w, "weight": w["weight"].reshape(3, 2)},
        lambda w: {"weight": w["weight"], "offset": w["bias"]},
    ],
)
def test_a_changed_value_dtype_shape_or_name_changes_the_hash(weights: dict[str, Tensor], change: object) -> None:
    assert callable(change)
    assert content_hash(weights) != content_hash(change(weights))


def test_scalars_and_half_precision_can_be_hashed() -> None:
    assert content_hash({"a": torch.tensor(1.0)}) != content_hash({"a": torch.tensor(1.0, dtype=torch.bfloat16)})


@pytest.mark.parametrize("dtype", [torch.int64, torch.complex64, torch.float8_e4m3fn])
def test_weights_of_another_kind_are_refused_not_rounded(weights: dict[str, Tensor], dtype: torch.dtype) -> None:
    converted = {name: value.to(dtype) for name, value in weights.items()}
    with pytest.raises(CheckpointMismatch, match=f"is {dtype} in"):
        check_fits(converted, nn.Linear(3, 2), CHECKPOINT, "toy")


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_link_that_leads_nowhere_is_a_fault_and_a_pipe_is_not_waited_for(
    tmp_path: Path, weights: dict[str, Tensor], suffix: str
) -> None:
    save_file(weights, tmp_path / "step_1.safetensors")
    (tmp_path / f"step_2{suffix}").symlink_to("nothing")
    os.mkfifo(tmp_path / f"step_3{suffix}")
    sequence = discover(tmp_path)
    assert [checkpoint.step for checkpoint in sequence] == [1]
    assert ["leads nowhere" in problem or "not a regular file" in problem for problem in sequence.problems] == [
        True
    ] * 2
    with pytest.raises(UnreadableCheckpoint):
        sequence.require_usable()
