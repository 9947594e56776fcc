"""Sampling algorithms, one a file; all have the order config, state, init, update, build."""

from __future__ import annotations

from collections.abc import Callable

from estimators.kernels import mala, rmsprop_sgld, sgld, sgnht
from estimators.kernels.kernel import Draw, Kernel

KERNELS: dict[str, Callable[[float, float, float], Kernel]] = {
    "sgld": sgld.build,
    "rmsprop_sgld": rmsprop_sgld.build,
    "mala": mala.build,
    "sgnht": sgnht.build,
}
"""name -> build(step_size, n_beta, localization)."""

FULL_BATCH = ("mala",)
"""Kernels whose accept step compares losses of two steps, and so needs the same examples in both."""

__all__ = ["FULL_BATCH", "KERNELS", "Draw", "Kernel"]
