"""What the engines ask of a sampler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor


class Kernel(NamedTuple):
    """One sampling algorithm, with its settings bound.

    Attributes:
        init: (position, center) -> state; the state has `position`, which `update` moves in place.
        update: (state, gradient of the batch's mean loss, standard normal noise) -> state.
    """

    init: Callable[[Tensor, Tensor], Any]
    update: Callable[[Any, Tensor, Tensor], Any]
