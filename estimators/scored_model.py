"""A model and its loss as one module, evaluated at weights that are not its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call

from estimators.problem import Batch, Problem
from slt.errors import ProblemError


class ScoredModel(nn.Module):
    """A model and its loss as one module, so that `functional_call` can swap the weights under the loss.

    With `autocast` the model computes in bfloat16 where torch thinks it safe; its weights stay float32, and so does
    what is returned.
    """

    def __init__(self, model: nn.Module, problem: Problem, *, autocast: bool = False) -> None:
        super().__init__()
        self.model = model
        self.problem = problem
        self.autocast = autocast
        self._ties = _other_places(self)

    def at(
        self, state: dict[str, Tensor], batch: Batch, references: tuple[Tensor, ...] = (), *, predict: bool = False
    ) -> Tensor:
        """The same with these parameters and buffers, each under the first of its names."""
        # torch's own way with tied weights leaves a module that has two names with tensors in place of parameters
        everywhere = state | {name: state[first] for name, first in self._ties.items()}
        kwargs = {"predict": predict}
        result: Tensor = functional_call(self, everywhere, (batch, references), kwargs, tie_weights=False)
        return result

    def forward(self, batch: Batch, references: tuple[Tensor, ...] = (), *, predict: bool = False) -> Tensor:
        """Per-example losses, from the labels or from reference outputs where there are any; or the outputs."""
        if not self.autocast:
            return self._forward(batch, references, predict)
        # without its cache, which knows nothing of weights that are swapped
        with torch.autocast(batch[0].device.type, dtype=torch.bfloat16, cache_enabled=False):
            result = self._forward(batch, references, predict)
        return result.float() if isinstance(result, Tensor) else result

    def _forward(self, batch: Batch, references: tuple[Tensor, ...], predict: bool) -> Tensor:
        if not references and not predict:
            return self.problem.loss(self.model, batch)
        outputs: Tensor = self.problem.outputs(self.model, batch) if self.problem.outputs else self.model(batch[0])
        if not isinstance(outputs, Tensor):
            raise ProblemError(
                f"the model of problem '{self.problem.name}' returns a {type(outputs).__name__}; say which tensor is "
                "compared, for instance Problem(..., outputs=lambda model, batch: model(batch[0]).logits)"
            )
        if predict:
            return outputs
        assert self.problem.divergence is not None  # `prepare` has checked
        return self.problem.divergence(outputs, references[0])


def _other_places(module: nn.Module) -> dict[str, str]:
    """Where else in the modules a parameter or buffer sits that has a first name: other name -> first."""
    tensors = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    first: dict[int, str] = {}
    seen: set[tuple[int, str]] = set()
    ties: dict[str, str] = {}
    for name, tensor in tensors:
        owner, _, attribute = name.rpartition(".")
        place = (id(module.get_submodule(owner)), attribute)
        if id(tensor) in first and place not in seen:
            ties[name] = first[id(tensor)]
        seen.add(place)
        first.setdefault(id(tensor), name)
    return ties
