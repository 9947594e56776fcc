"""Which parameters move while sampling: name patterns against the model's parameters."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from slt.errors import ProblemError


def moving_parameters(model: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Names of the parameters that move, in the model's order; tied parameters once, under their first name.

    A parameter moves if it requires a gradient and matches one of the fnmatch patterns under any of its
    names; no patterns means that all do.

    Raises:
        ProblemError: a pattern matches nothing, nothing moves, or what moves is complex.
    """
    names = aliases(model)
    for pattern in patterns:
        if not any(fnmatchcase(alias, pattern) for tied in names.values() for alias in tied):
            raise ProblemError(
                f"restriction '{pattern}' matches no parameter; the model's are {', '.join(list(names)[:12])}"
            )
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    chosen = [
        name
        for name, tied in names.items()
        if name in trainable
        and (not patterns or any(fnmatchcase(alias, pattern) for alias in tied for pattern in patterns))
    ]
    if not chosen:
        raise ProblemError(
            "no parameter moves: every one is frozen (requires_grad is False) or outside the restriction"
        )
    for name in chosen:
        if model.get_parameter(name).is_complex():
            raise ProblemError(
                f"parameter '{name}' is complex and cannot be sampled; freeze it, or keep it as "
                f"torch.view_as_real in a real one"
            )
    return chosen


def aliases(model: nn.Module) -> dict[str, list[str]]:
    """First name of each parameter -> all its names (more than one where weights are tied)."""
    first: dict[int, str] = {}
    names: dict[str, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(first.setdefault(id(parameter), name), []).append(name)
    return names
