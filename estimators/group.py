"""A group of checkpoints made ready for sampling: what both engines start from.

Legend of shapes: K checkpoints, n examples, P moving parameters.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from estimators.problem import Batch, Problem, problem_tensors
from estimators.products import wide_products
from estimators.restriction import aliases, moving_parameters
from estimators.sampler import SamplerConfig
from estimators.scored_model import ScoredModel
from slt.errors import CheckpointMismatch, JobError, NonFiniteWeights, ProblemError

Weights = Mapping[str, Tensor]
EVALUATION_BATCH = 1024
CHECK_BATCH = 8


@dataclass(frozen=True, eq=False)
class Group:
    """K checkpoints of one problem on a device.

    Attributes:
        scored: the model in evaluation mode with its loss.
        names, shapes: the parameters that move, wholly or in part, named as in the model, in the order of `centers`.
        coordinates: the flat indices of what moves in each, or None for all of it.
        centers: (K, P) the checkpoints' moving coordinates; the others are not sampled, and so cannot move.
        fixed: frozen parameters and buffers by name, each (K, ...), and those that move in part: the checkpoint's, or
            the model's own where the checkpoint has none (non-persistent buffers).
        data: the whole data set.
        references: one tensor (K, n, ...) of the checkpoints' own outputs with `reference: self`, else none.
        center_losses: (K, n) the sampled loss at w*, per example.
        loss: (K,) float64, mean of the problem's own loss at w*.
        batch_size: None for the full batch.
    """

    scored: ScoredModel
    names: tuple[str, ...]
    shapes: tuple[torch.Size, ...]
    coordinates: tuple[Tensor | None, ...]
    centers: Tensor
    fixed: dict[str, Tensor]
    data: Batch
    references: tuple[Tensor, ...]
    center_losses: Tensor
    loss: Tensor
    batch_size: int | None

    @property
    def n_samples(self) -> int:
        """Size of the data set."""
        return self.center_losses.shape[1]

    def pieces(self, position: Tensor) -> dict[str, Tensor]:
        """Views of (..., P) by name: whole parameters (..., *shape), and what moves of the others (..., count)."""
        counts = [
            shape.numel() if index is None else len(index)
            for shape, index in zip(self.shapes, self.coordinates, strict=True)
        ]
        rows = zip(self.names, torch.split(position, counts, dim=-1), self.shapes, self.coordinates, strict=True)
        return {
            f"model.{name}": piece.reshape((*piece.shape[:-1], *shape)) if index is None else piece
            for name, piece, shape, index in rows
        }

    def fixed_at(self, checkpoints: slice | int) -> dict[str, Tensor]:
        """What `fixed` holds of some checkpoints, for `state`."""
        return {f"model.{name}": value[checkpoints] for name, value in self.fixed.items()}

    def state(self, pieces: dict[str, Tensor], fixed: dict[str, Tensor]) -> dict[str, Tensor]:
        """Everything that `functional_call` on `scored` wants, of one chain at one checkpoint."""
        state = fixed | pieces
        for name, shape, index in zip(self.names, self.shapes, self.coordinates, strict=True):
            if index is not None:
                key = f"model.{name}"
                state[key] = fixed[key].flatten().scatter(0, index, pieces[key]).reshape(shape)
        return state

    def state_at(self, position: Tensor, checkpoint: int) -> dict[str, Tensor]:
        """`state` of one position (P,)."""
        return self.state(self.pieces(position), self.fixed_at(checkpoint))


def prepare(problem: Problem, weights: Sequence[Weights], config: SamplerConfig) -> Group:
    """Move everything to the device once, and evaluate the checkpoints once per example.

    Raises:
        ProblemError: the loss fails or is not per example; no divergence for `reference: self`; a parameter that
            moves is complex.
        CheckpointMismatch: a parameter is missing or has another shape.
        NonFiniteWeights: a NaN or an infinity among the weights.
        JobError: the device's memory does not hold them, or the data.
    """
    try:
        return _prepare(problem, weights, config)
    except torch.OutOfMemoryError:
        raise JobError(
            f"the memory of the device does not hold the data of problem '{problem.name}' and the weights of "
            f"{len(weights)} checkpoint{'s' if len(weights) > 1 else ''}; use fewer examples, or another device"
        ) from None


def _prepare(problem: Problem, weights: Sequence[Weights], config: SamplerConfig) -> Group:
    if config.reference == "self" and problem.divergence is None:
        raise ProblemError(
            f"reference 'self' needs a divergence, which problem '{problem.name}' lacks; add divergence="
            "estimators.divergences.kl (logits) or squared_error (regression), or use reference 'labels'"
        )
    device, dtype = config.torch_device, config.torch_dtype
    model = _copy(problem).to(device=device).eval()
    model = model.float() if dtype == torch.float32 else model.double()  # `to` would cut complex numbers in half
    scored = ScoredModel(model, problem, autocast=config.dtype == "bfloat16")
    moving = {
        name: index if index is None else index.to(device)
        for name, index in moving_parameters(model, problem.restriction).items()
    }
    states = [_complete(model, state, index) for index, state in enumerate(weights)]
    centers = torch.stack([torch.cat([_taken(state, *one) for one in moving.items()]) for state in states])
    fixed = {name: torch.stack([state[name] for state in states]) for name in states[0]}
    data = tuple(_move(tensor, device, dtype) for tensor in problem_tensors(problem))
    n_samples = len(data[0])
    full = config.batch_size is None or config.batch_size >= n_samples
    group = Group(
        scored=scored,
        names=tuple(moving),
        shapes=tuple(model.get_parameter(name).shape for name in moving),
        coordinates=tuple(moving.values()),
        centers=centers,
        fixed=fixed,
        data=data,
        references=(),
        center_losses=torch.empty((len(weights), n_samples), dtype=dtype, device=device),
        loss=torch.empty(len(weights), dtype=torch.float64, device=device),
        batch_size=None if full else config.batch_size,
    )
    _check_losses(group, own_outputs=config.reference == "self")
    return _evaluate(group, own_outputs=config.reference == "self")


def _copy(problem: Problem) -> nn.Module:
    """The model, to do with as an engine likes."""
    try:
        if isinstance(problem.model, torch.jit.ScriptModule):
            raise RuntimeError("it is compiled by TorchScript")
        return copy.deepcopy(problem.model)
    except (RuntimeError, TypeError, AttributeError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ProblemError(
            f"the model of problem '{problem.name}' cannot be copied: {reason}; give it as a plain nn.Module (weight "
            "norm and the like by torch.nn.utils.parametrizations)"
        ) from None


def _taken(state: dict[str, Tensor], name: str, index: Tensor | None) -> Tensor:
    """The moving coordinates of a parameter; one that moves as a whole is none of the fixed ones."""
    return state.pop(name).reshape(-1) if index is None else state[name].reshape(-1)[index]


def _complete(model: nn.Module, weights: Weights, index: int) -> dict[str, Tensor]:
    """Every parameter and buffer of the model, from the checkpoint, in the model's dtype and device."""
    state: dict[str, Tensor] = {}
    for name, tied in aliases(model).items():
        own = model.get_parameter(name)
        found = next((weights[alias] for alias in tied if alias in weights), None)
        if found is None:
            raise CheckpointMismatch(f"'{name}' is missing from checkpoint {index} of the group")
        if found.shape != own.shape:
            raise CheckpointMismatch(
                f"'{name}' is {tuple(found.shape)} in checkpoint {index} of the group "
                f"but {tuple(own.shape)} in the model"
            )
        state[name] = found.detach().to(own)
        if not torch.isfinite(state[name]).all():
            raise NonFiniteWeights(f"'{name}' has a NaN or an infinity in checkpoint {index} of the group")
    for name, buffer in model.named_buffers():
        state[name] = weights[name].detach().to(buffer) if name in weights else buffer
    return state


def _move(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    return tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else None)


def _check_losses(group: Group, *, own_outputs: bool) -> None:
    """Call loss and divergence as a user would, so that their own errors are told apart from the engine's."""
    batch = tuple(tensor[:CHECK_BATCH] for tensor in group.data)
    _check(group, "loss", lambda: _call(group, 0, batch))
    _check_pairing(group, batch)
    if own_outputs:
        _check(group, "divergence", lambda: _call(group, 0, batch, (_call(group, 0, batch, predict=True),)))


def _check_pairing(group: Group, batch: Batch) -> None:
    """An example's loss at w* is to be the same number whenever it is asked for, and in whatever company."""
    losses = _call(group, 0, batch)
    scale = float(losses.abs().max().nan_to_num(nan=0.0, posinf=0.0))
    tolerance = 1e-6 + (0.1 if group.scored.autocast else 1e-3) * scale
    again, company = (
        _call(group, 0, batch),
        _call(group, 0, tuple(tensor[: max(1, len(losses) // 2)] for tensor in batch)),
    )
    for other, why, remedy in (
        (again, "changes when it is computed again", "leave out what is random, or kept from one call to the next"),
        (company, "depends on the other examples of its batch", "give batch norm running statistics, and the like"),
    ):
        off = float((losses[: len(other)] - other).abs().max())
        if off > tolerance:
            raise ProblemError(
                f"the loss of an example of problem '{group.scored.problem.name}' {why} (by {off:.2g} nats), so draws "
                f"cannot be compared with the checkpoint on the same examples; {remedy}"
            )


def _check(group: Group, what: str, evaluate: Callable[[], Tensor]) -> None:
    name, count = group.scored.problem.name, min(group.n_samples, CHECK_BATCH)
    try:
        losses = evaluate()
    except ProblemError:
        raise
    except Exception as error:
        raise ProblemError(f"the {what} of problem '{name}' raised {type(error).__name__}: {error}") from error
    if not isinstance(losses, Tensor) or losses.shape != (count,) or not losses.is_floating_point():
        got = f"{losses.dtype} {tuple(losses.shape)}" if isinstance(losses, Tensor) else type(losses).__name__
        raise ProblemError(
            f"the {what} of problem '{name}' returned {got} for a batch of {count}, expected ({count},): one real "
            "value per example, for instance with reduction='none'"
        )


def _call(
    group: Group, checkpoint: int, batch: Batch, references: tuple[Tensor, ...] = (), *, predict: bool = False
) -> Tensor:
    state = group.state_at(group.centers[checkpoint], checkpoint)
    with torch.no_grad():
        return group.scored.at(state, batch, references, predict=predict)


def _evaluate(group: Group, *, own_outputs: bool) -> Group:
    """Fill in the losses at w*, and the reference outputs if they are wanted, in batches that fit in memory.

    Batches as the sampler's, which hold a gradient besides: the evaluation never sets the peak.
    """
    size = min(group.batch_size or EVALUATION_BATCH, EVALUATION_BATCH)
    while size > 0:
        with suppress(torch.OutOfMemoryError), wide_products(group.scored.model, group.centers):
            return _evaluate_in_batches(group, size, own_outputs=own_outputs)
        size //= 2
    raise JobError("the memory of the device does not hold the evaluation of one example; use another device")


def _evaluate_in_batches(group: Group, size: int, *, own_outputs: bool) -> Group:
    references: list[Tensor] = []
    for k in range(len(group.centers)):
        predictions: list[Tensor] = []
        own_losses: list[Tensor] = []
        for start in range(0, group.n_samples, size):
            rows = slice(start, min(start + size, group.n_samples))
            batch = tuple(tensor[rows] for tensor in group.data)
            own_losses.append(_call(group, k, batch))
            group.center_losses[k, rows] = own_losses[-1]
            if own_outputs:
                predictions.append(_call(group, k, batch, predict=True))
                group.center_losses[k, rows] = _call(group, k, batch, (predictions[-1],))
        group.loss[k] = torch.cat(own_losses).double().mean()
        if own_outputs:
            references.append(torch.cat(predictions))
    return replace(group, references=(torch.stack(references),) if own_outputs else ())
