"""The theory: trajectories, learning coefficients, stages, events. numpy and scipy; no torch, no ray."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slt.comparison import Comparison, compare, same_signal, seed_shuffle
    from slt.errors import BadInput, SltError
    from slt.events import CircuitEvent, crossing, onset_events, read_events, spikes, write_events
    from slt.learning_coefficient import default_n_beta, estimates_from_traces
    from slt.stages import Boundary, Landmark, Stage, Stages, detect_stages
    from slt.trajectory import Estimate, Trajectory, Verdict, VerdictKind

_HOMES = {
    "slt.comparison": ("Comparison", "compare", "same_signal", "seed_shuffle"),
    "slt.errors": ("BadInput", "SltError"),
    "slt.events": ("CircuitEvent", "crossing", "onset_events", "read_events", "spikes", "write_events"),
    "slt.learning_coefficient": ("default_n_beta", "estimates_from_traces"),
    "slt.stages": ("Boundary", "Landmark", "Stage", "Stages", "detect_stages"),
    "slt.trajectory": ("Estimate", "Trajectory", "Verdict", "VerdictKind"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [  # noqa: RUF022 - grouped by module
    "Comparison", "compare", "same_signal", "seed_shuffle",
    "BadInput", "SltError",
    "CircuitEvent", "crossing", "onset_events", "read_events", "spikes", "write_events",
    "default_n_beta", "estimates_from_traces",
    "Boundary", "Landmark", "Stage", "Stages", "detect_stages",
    "Estimate", "Trajectory", "Verdict", "VerdictKind",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import a public name where it is first used, so that `import slt` costs milliseconds."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'slt' has no attribute '{name}'")
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
