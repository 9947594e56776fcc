"""Linear layers in float32 by oneDNN, on processors whose widest instructions torch's usual library leaves unused.

torch multiplies matrices by Intel's MKL, which on processors of other makers stops at 256 bits; oneDNN, which torch
carries too, looks at what the processor can do. With AVX-512 it is twice as fast, to the same rounding errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

WORTH_A_CALL = 8_000_000
"""Floating-point operations from which a product is handed over: below, the longer call costs what it saves."""

Factors = Callable[[Any], tuple[Tensor, Tensor | None]]

LAYERS: dict[str, Factors] = {
    "torch.nn.modules.linear.Linear": lambda layer: (layer.weight, layer.bias),
    "transformers.pytorch_utils.Conv1D": lambda layer: (layer.weight.mT, layer.bias),
}
"""Layer by full name -> its weight (outputs, inputs) and bias (outputs,) or None."""


@contextmanager
def wide_products(model: nn.Module, like: Tensor) -> Iterator[None]:
    """Within it, large linear layers of the model are oneDNN's on tensors such as `like`, where that is faster.

    Not under `torch.func.vmap`: the operation knows no stacks.
    """
    suits = like.device.type == "cpu" and like.dtype == torch.float32 and unused_width()
    layers = [layer for layer in model.modules() if _name(layer) in LAYERS] if suits else []
    for layer in layers:
        layer.__dict__["forward"] = partial(_forward, layer, LAYERS[_name(layer)], layer.forward)
    try:
        yield
    finally:
        for layer in layers:
            del layer.__dict__["forward"]


@cache
def unused_width() -> bool:
    """Whether MKL leaves half of this processor's vectors unused, and oneDNN is there to use them."""
    processor = torch.cpu.get_capabilities()
    return (
        bool(processor.get("avx512_f"))
        and "Intel" not in str(processor.get("cpu_name"))
        and torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def _name(layer: nn.Module) -> str:
    return f"{type(layer).__module__}.{type(layer).__qualname__}"


def _forward(layer: nn.Module, factors: Factors, usual: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    weight, bias = factors(layer)
    large = 2 * x.numel() * weight.shape[0] >= WORTH_A_CALL
    if not large or x.ndim < 2 or not x.dtype == weight.dtype == torch.float32 or torch.is_autocast_enabled("cpu"):
        return usual(x)
    result: Tensor = _Linear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return result


class _Linear(torch.autograd.Function):
    """x W^T + b."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        rows = slope.flatten(end_dim=-2)
        of_x, of_weight, of_bias = ctx.needs_input_grad
        return (
            _product(rows, weight.mT).view(x.shape) if of_x else None,
            _product(x.flatten(end_dim=-2).mT, rows.mT).mT if of_weight else None,
            rows.sum(dim=0) if of_bias else None,
        )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    result: Tensor = torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, "none", [], "")
    return result
