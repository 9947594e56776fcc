"""What the engines ask of a sampler.

An engine evaluates the batch's loss and gradient once per step, where the state's `position` points, and
hands both to `update`. For most samplers that is where the chain stands; for one that may refuse a move it
is where it proposes to go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor


class Draw(NamedTuple):
    """Where a chain stands after a step.

    Attributes:
        position: (..., P); a sampler that moves in place has already taken the step that `loss` led to.
        loss: (...) the excess loss of the draw.
        acceptance: (...) probability with which the last proposal was accepted, NaN before the first;
            None for a sampler that never refuses.
    """

    position: Tensor
    loss: Tensor
    acceptance: Tensor | None = None


class Kernel(NamedTuple):
    """One sampling algorithm, with its settings bound.

    Attributes:
        init: (position (..., P), center) -> state; `update` moves the state's `position` in place.
        update: (state, excess loss L_B(w) - L_B(w*) at its position (...), gradient of L_B there (..., P),
            standard normal noise) -> (state, Draw).
        extra_noise: normal numbers per chain and step beyond one for each parameter.
        step_bias: (state before an update, gradient (..., P) there) -> (...), whose mean over draws is what the finite
            step adds to the LLC, to first order; None for a sampler that corrects for its step, or whose bias is not
            known.
    """

    init: Callable[[Tensor, Tensor], Any]
    update: Callable[[Any, Tensor, Tensor, Tensor], tuple[Any, Draw]]
    extra_noise: int = 0
    step_bias: Callable[[Any, Tensor], Tensor] | None = None
