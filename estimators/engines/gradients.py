"""Losses and gradients by the group's own model, made to stand at one position after the other.

Its parameters become views of a position, and their gradients views of a gradient: nothing is copied, and a forward
pass costs what it costs in the model itself.

Legend of shapes: K checkpoints, B examples of a batch, P moving parameters.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from estimators.engines.batches import PairedBatch
from estimators.engines.memory import examples_at_once
from estimators.group import Group


class Place(NamedTuple):
    """Where the model may stand.

    Attributes:
        position, gradient: (P,) where, to be moved in place, and the gradient there, written by `Gradients.take`.
        values, slopes: views of the two, for each parameter that moves: what moves of it, and its gradient.
    """

    position: Tensor
    gradient: Tensor
    values: tuple[Tensor, ...]
    slopes: tuple[Tensor, ...]


class Gradients:
    """Losses and gradients at one position at a time.

    Attributes:
        group: of which the model is. Its model is changed for good: it holds what it was made to stand at last.
        examples: how many are evaluated at once; halved where the device's memory does not hold them.
    """

    def __init__(self, group: Group) -> None:
        self.group = group
        self.examples = examples_at_once(group)
        model = group.scored.model
        own = dict(model.named_buffers()) | dict(model.named_parameters())
        self._moving = [own[name].requires_grad_() for name in group.names]
        self._fixed = [(own[name], values) for name, values in group.fixed.items() if name not in group.names]
        for tensor, _ in self._fixed:
            tensor.requires_grad_(False)
        self._backgrounds: list[tuple[Tensor, Tensor]] = []
        values = group.pieces(group.centers[0]).values()
        for name, tensor, index, value in zip(group.names, self._moving, group.coordinates, values, strict=True):
            if index is None:
                tensor.data, tensor.grad = value, None  # so that what it held takes no room
            else:
                tensor.data = tensor.detach().clone(memory_format=torch.contiguous_format)
                tensor.grad = torch.zeros_like(tensor)
                self._backgrounds.append((tensor, group.fixed[name]))

    def place(self, position: Tensor, gradient: Tensor) -> Place:
        """The place of a position (P,), with where its gradient goes (P,)."""
        values, slopes = (tuple(self.group.pieces(vector).values()) for vector in (position, gradient))
        return Place(position, gradient, values, slopes)

    def start(self, k: int) -> None:
        """Put into the model what does not move of checkpoint k."""
        for tensor, values in self._fixed:
            tensor.data = values[k]
        for tensor, values in self._backgrounds:
            tensor.data.copy_(values[k])

    def take(self, place: Place, batch: PairedBatch, k: int = 0, chain: int = 0) -> Tensor:
        """The losses (B,) of one of a batch's checkpoints and chains; the place's gradient becomes that of their mean.

        Raises:
            torch.OutOfMemoryError: not even one example fits.
        """
        in_part = []
        for tensor, index, value, slope in zip(
            self._moving, self.group.coordinates, place.values, place.slopes, strict=True
        ):
            if index is None:
                tensor.data, tensor.grad = value, slope
            else:
                tensor.data.view(-1).scatter_(0, index, value)
                assert tensor.grad is not None
                in_part.append((tensor.grad, index, slope))
        data, references = batch.data, tuple(reference[k] for reference in batch.references)
        if self.group.batch_size is not None:
            data, references = tuple(t[chain] for t in data), tuple(t[chain] for t in references)
        while True:
            for gradient in (place.gradient, *(whole for whole, *_ in in_part)):
                gradient.zero_()
            try:
                losses = self._in_parts(data, references)
                break
            except torch.OutOfMemoryError:
                if self.examples == 1:
                    raise
                self.examples = -(-min(self.examples, len(data[0])) // 2)
            if place.gradient.is_cuda:  # after the error is gone, and what it held with it
                torch.cuda.empty_cache()
        for whole, index, slope in in_part:
            torch.take(whole, index, out=slope)
        return losses

    def _in_parts(self, data: tuple[Tensor, ...], references: tuple[Tensor, ...]) -> Tensor:
        count, found = len(data[0]), []
        for start in range(0, count, self.examples):
            rows = slice(start, start + self.examples)
            losses = self.group.scored(tuple(t[rows] for t in data), tuple(t[rows] for t in references))
            (losses.sum() / count).backward()  # of one number, as in batched.py
            found.append(losses.detach())
        return torch.cat(found)
