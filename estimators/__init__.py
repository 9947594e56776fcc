"""What is measured at a checkpoint. torch lives here; ray, job folders and the command line are unknown here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from estimators.llc import SamplerConfig, estimate_llc
    from estimators.problem import Problem, load_problem

__all__ = ["Problem", "SamplerConfig", "estimate_llc", "load_problem"]

_HOMES = {
    "Problem": "estimators.problem",
    "SamplerConfig": "estimators.llc",
    "estimate_llc": "estimators.llc",
    "load_problem": "estimators.problem",
}


def __getattr__(name: str) -> Any:
    """Import on first use: torch takes seconds, and half of the package does not need it."""
    if name not in _HOMES:
        raise AttributeError(f"module 'estimators' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
