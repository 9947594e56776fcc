"""A checkpoint's weights: read, named as the model names them, hashed, and checked against the model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from estimators.checkpoints.discovery import FORMATS
from estimators.checkpoints.sequence import Checkpoint
from estimators.storage import local_copy
from slt.errors import CheckpointMismatch, NonFiniteWeights


def load_weights(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Read the weights by name, on the CPU, in the file's own dtype.

    `_orig_mod.` (torch.compile) is taken out of every name, and `module.` (DataParallel) from the
    front of all of them if all have it.

    Raises:
        UnreadableCheckpoint: the file is truncated, is no checkpoint, or is not safe to read.
        StorageError: object storage does not answer, or refuses.
    """
    format_ = FORMATS[checkpoint.format]
    with local_copy(checkpoint.path, format_.parts) as path:
        weights = format_.read(path)
    weights = {name.replace("_orig_mod.", ""): value for name, value in weights.items()}
    if all(name.startswith("module.") for name in weights):
        weights = {name.removeprefix("module."): value for name, value in weights.items()}
    return weights


def load_fitting(
    checkpoint: Checkpoint, model: nn.Module, problem_name: str, problem_args: Mapping[str, object] | None = None
) -> dict[str, Tensor]:
    """`load_weights`, `fit_names` and `check_fits` in one: weights that `functional_call` takes as they are."""
    weights = fit_names(load_weights(checkpoint), model)
    check_fits(weights, model, checkpoint, problem_name, problem_args)
    return weights


def fit_names(weights: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Rename weights so that they fit the model's names, where one common prefix is all that keeps them apart.

    A prefix (Lightning saves its module's attribute, `model.`) is dropped if every name of the model
    stands under it; what stands elsewhere belongs to the training loop and is left out. A parameter
    that the model ties to another, and that the file holds once, is filled in. Otherwise the names
    stay, for `check_fits` to report.
    """
    state = model.state_dict()
    fitted = dict(weights)
    for name in state.keys() - weights.keys():
        twin = next((other for other in weights if other in state and _tied(state[name], state[other])), None)
        if twin is not None:
            fitted[name] = weights[twin]
    if state.keys() <= fitted.keys() or not state:
        return fitted
    first = next(iter(state))
    prefixes = [name.removesuffix(first) for name in weights if name.endswith("." + first)]
    for prefix in prefixes:
        if all(prefix + name in weights for name in state):
            return {name: weights[prefix + name] for name in state}
    return dict(weights)


def check_fits(
    weights: Mapping[str, Tensor],
    model: nn.Module,
    checkpoint: Checkpoint,
    problem_name: str,
    problem_args: Mapping[str, object] | None = None,
) -> None:
    """Compare names and shapes with the model's, and look for NaN and infinity.

    Raises:
        CheckpointMismatch: names the parameter, both shapes and the file.
        NonFiniteWeights: names the parameter and the file.
    """
    file = checkpoint.path.name
    given = ", ".join(f"{name}={value}" for name, value in (problem_args or {}).items())
    problem = f"problem '{problem_name}'" + (f" ({given})" if given else "")
    remedy = "Set the problem's arguments to those of the run, or choose another directory"
    state = model.state_dict()
    for name, expected in state.items():
        if name not in weights:
            held = ", ".join(list(weights)[:4]) + (", ..." if len(weights) > 4 else "")
            raise CheckpointMismatch(f"'{name}' of {problem} is not in {file}, which holds {held}. {remedy}")
        if weights[name].shape != expected.shape:
            here, there = tuple(weights[name].shape), tuple(expected.shape)
            raise CheckpointMismatch(f"'{name}' is {here} in {file} but {there} in {problem}. {remedy}")
        if _kind(weights[name].dtype) != _kind(expected.dtype):
            was, needed = weights[name].dtype, expected.dtype
            raise CheckpointMismatch(f"'{name}' is {was} in {file} but {needed} in {problem}. Convert the checkpoint")
    for name, value in weights.items():
        if name not in state:
            raise CheckpointMismatch(f"'{name}' in {file} is not a parameter of {problem}. {remedy}")
        bad = int((~torch.isfinite(value)).sum())
        if bad:
            raise NonFiniteWeights(
                f"'{name}' in {file} (step {checkpoint.step}) holds {bad} of {value.numel()} values that are NaN or "
                f"infinite: training had diverged. Remove the checkpoint"
            )


def content_hash(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes, sorted by name: the same weights hash the same in any file."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        value = weights[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _kind(dtype: torch.dtype) -> str:
    """Within a kind values can be converted; float8 has to be scaled by whoever wrote it."""
    if dtype.is_floating_point:
        return "float8" if dtype.itemsize == 1 else "float"
    return "complex" if dtype.is_complex else "integer"


def _tied(one: Tensor, other: Tensor) -> bool:
    return one.data_ptr() == other.data_ptr() and one.shape == other.shape and one.numel() > 0
