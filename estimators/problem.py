"""A problem: a model, its data and its per-example loss. What a user writes for their own model.

from estimators import Problem

def my_problem(width: int = 64) -> Problem:
    return Problem(model=Net(width), data=(inputs, labels), loss=per_example_loss)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.utils.data import Dataset

Batch = tuple[Tensor, ...]
Loss = Callable[[nn.Module, Batch], Tensor]
Outputs = Callable[[nn.Module, Batch], Tensor]
Divergence = Callable[[Tensor, Tensor], Tensor]
Measure = Callable[["Problem", nn.Module], Mapping[str, float]]


@dataclass(frozen=True, eq=False)
class Problem:
    """What is needed to measure a checkpoint.

    Attributes:
        model: the architecture; its own weights are overwritten by each checkpoint's.
        data: a tuple of tensors that share their first dimension n, or a Dataset whose items are
            tuples of tensors (collated once, up front).
        loss: (model, batch) -> (batch,) nats per example. Per example, because the estimate pairs
            each draw's loss with the checkpoint's loss on the same examples.
        outputs: (model, batch) -> (batch, ...) what the model predicts; default `model(batch[0])`.
            Used by `reference: self`.
        divergence: (outputs, reference_outputs) -> (batch,) nats per example, zero where they agree:
            `estimators.divergences.kl` for logits, `squared_error` for unit-noise regression. Used
            by `reference: self`; without it that setting is an error.
        measures: further measures of this problem, by name.
        restriction: name patterns (fnmatch) of the parameters that move; empty means all.
        name: how messages call it.
    """

    model: nn.Module
    data: tuple[Tensor, ...] | Dataset[Any]
    loss: Loss
    outputs: Outputs | None = None
    divergence: Divergence | None = None
    measures: Mapping[str, Measure] = field(default_factory=dict)
    restriction: tuple[str, ...] = ()
    name: str = "problem"
