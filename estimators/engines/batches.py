"""The batches that chains walk through, with what the checkpoints themselves lose on them.

Legend of shapes: K checkpoints, C chains, B examples of a batch, n examples in all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from estimators.group import Group
from estimators.seeds import BatchStream


class PairedBatch(NamedTuple):
    """One step's batch of every chain; on the full batch the chains' dimension C is absent or 1.

    Attributes:
        data: tensors (C, B, ...), or (n, ...).
        references: the checkpoints' own outputs (K, C, B, ...) or (K, n, ...); empty with labels.
        center_losses: (K, C, B), or (K, 1, n): the losses at w* of the same examples.
    """

    data: tuple[Tensor, ...]
    references: tuple[Tensor, ...]
    center_losses: Tensor


class Batches:
    """Endless batches of some chains, for some of a group's checkpoints."""

    def __init__(self, group: Group, seed: int, checkpoints: slice, chains: Sequence[int]) -> None:
        self._data = group.data
        self._references = tuple(reference[checkpoints] for reference in group.references)
        self._center_losses = group.center_losses[checkpoints]
        self._stream = None
        if group.batch_size is not None:
            self._stream = BatchStream(seed, chains, group.n_samples, group.batch_size, group.centers.device)
        self.size = group.batch_size or group.n_samples

    def next(self) -> PairedBatch:
        """The next step's batch."""
        if self._stream is None:
            return PairedBatch(self._data, self._references, self._center_losses.unsqueeze(1))
        indices = self._stream.next()
        return PairedBatch(
            data=tuple(tensor[indices] for tensor in self._data),
            references=tuple(reference[:, indices] for reference in self._references),
            center_losses=self._center_losses[:, indices],
        )
