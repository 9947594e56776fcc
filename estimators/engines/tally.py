"""What the chains of an engine meet, draw by draw, and the traces made from it.

Legend of shapes: K checkpoints, C chains, T draws with burn-in, P moving parameters.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from estimators.group import Group
from estimators.kernels import Draw, Kernel
from estimators.sampler import Floats, SamplerConfig, Traces


class Record(NamedTuple):
    """Of some chains, (...): excess_loss (..., T), distance (...) as root mean square, and what the kernel has of
    acceptance and step_bias (...)."""

    excess_loss: Tensor
    distance: Tensor
    acceptance: Tensor | None
    step_bias: Tensor | None = None


class Tally:
    """Keeps losses and acceptance of every draw, distance and step bias of some; nothing here waits for the device."""

    def __init__(self, config: SamplerConfig, kernel: Kernel, center: Tensor, shape: tuple[int, ...]) -> None:
        total = config.burn_in + config.draws
        self._center, self._burn_in = center, config.burn_in
        self._looks = range(config.burn_in, total, max(1, config.draws // 16))
        self._excess_loss = center.new_empty((total, *shape))
        self._squared_distance = center.new_zeros(shape)
        self._acceptance: list[Tensor] = []
        self._bias_of = kernel.step_bias
        self._step_bias, self._steps_seen = center.new_zeros(shape, dtype=torch.float64), 0

    def look(self, index: int, state: Any, gradient: Tensor) -> None:
        """Before a step of draw `index`, burn-in counted: the kernel's state, and the gradient where it stands."""
        if self._bias_of is not None and index in self._looks:
            self._step_bias += self._bias_of(state, gradient)
            self._steps_seen += 1

    def add(self, index: int, draw: Draw) -> None:
        """The draw number `index` of all chains."""
        self._excess_loss[index] = draw.loss
        if draw.acceptance is not None and index >= self._burn_in:
            self._acceptance.append(draw.acceptance)
        if index in self._looks:
            self._squared_distance += (draw.position.detach() - self._center).square_().sum(dim=-1)

    def record(self) -> Record:
        """Everything so far."""
        return Record(
            excess_loss=self._excess_loss.movedim(0, -1),
            distance=(self._squared_distance / len(self._looks)).sqrt(),
            acceptance=torch.stack(self._acceptance).nanmean(dim=0) if self._acceptance else None,
            step_bias=self._step_bias / self._steps_seen if self._bias_of is not None else None,
        )


def traces(group: Group, config: SamplerConfig, records: Sequence[Record], start: float, engine: str) -> Traces:
    """Of records in the order of checkpoints and chains; `start` is when the engine began, by `perf_counter`."""

    def stacked(parts: Sequence[Tensor], *shape: int) -> Floats:
        values: Floats = torch.cat([part.reshape(-1) for part in parts]).double().cpu().numpy()
        return values.reshape(len(group.centers), config.chains, *shape)

    acceptance = [record.acceptance for record in records if record.acceptance is not None]
    step_bias = [record.step_bias for record in records if record.step_bias is not None]
    return Traces(
        excess_loss_KCD=stacked([record.excess_loss for record in records], -1),
        loss_K=group.loss.cpu().numpy(),
        n_beta=config.n_beta,
        burn_in=config.burn_in,
        distance_KC=stacked([record.distance for record in records]),
        acceptance_KC=stacked(acceptance) if acceptance else None,
        step_bias_KC=stacked(step_bias) if step_bias else None,
        seconds=time.perf_counter() - start,
        engine=engine,
    )
