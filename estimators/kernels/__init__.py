"""Sampling algorithms, one a file; all have the order config, state, init, update, build."""

from __future__ import annotations

from collections.abc import Callable

from estimators.kernels import sgld
from estimators.kernels.kernel import Kernel

KERNELS: dict[str, Callable[[float, float, float], Kernel]] = {"sgld": sgld.build}
"""name -> build(step_size, n_beta, localization)."""

__all__ = ["KERNELS", "Kernel"]
