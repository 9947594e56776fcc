"""Which parameters move while sampling: whole ones by name, slices of them, heads and layers of known architectures."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from slt.errors import ProblemError

SLICE = re.compile(r"(?P<name>.+)\[(?P<index>[-\d:, ]+)\]")
DEVINTERP = re.compile(r"l\d+(\s*[hg]\d+|\s+attn|\s+mlp)?|embed|unembed", re.IGNORECASE)
"""The restriction strings of devinterp 2: layer, head, group of heads, component."""


def moving_parameters(model: nn.Module, patterns: Sequence[str]) -> dict[str, Tensor | None]:
    """The parameters that move, in the model's order; tied parameters once, under their first name.

    Args:
        model: whose parameters that require a gradient may move.
        patterns: no patterns, and all of these do; else the union of what the patterns name. A pattern is one of
            fnmatch ("blocks.0.*"), held against any of a parameter's names; the same with a slice in numpy's notation
            ("*.W_Q[1]", "qkv.weight[:16, :]"); or, for models that devinterp knows, one of its restriction strings
            ("l0", "l0h1", "l0g0", "l0 attn", "l0 mlp", "embed", "unembed").

    Returns:
        By name the flat indices (sorted, int64) of the coordinates that move, or None where all of them do.

    Raises:
        ProblemError: a pattern names nothing, nothing moves, or what moves is complex.
    """
    names = aliases(model)
    masks: dict[str, Tensor] = {}
    for pattern in patterns:
        for name, mask in _named(model, names, pattern).items():
            masks[name] = masks[name] | mask if name in masks else mask
    if not patterns:
        masks = {name: torch.tensor(True) for name in names}
    chosen = {name: masks[name] for name in names if name in masks and model.get_parameter(name).requires_grad}
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
    return {name: None if mask.all() else mask.flatten().nonzero().flatten() for name, mask in chosen.items()}


def aliases(model: nn.Module) -> dict[str, list[str]]:
    """First name of each parameter -> all its names (more than one where weights are tied)."""
    first: dict[int, str] = {}
    names: dict[str, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(first.setdefault(id(parameter), name), []).append(name)
    return names


def _named(model: nn.Module, names: dict[str, list[str]], pattern: str) -> dict[str, Tensor]:
    """First name -> mask of what one pattern names; a mask of no dimensions is the whole parameter."""
    if whole := _matching(names, pattern):
        return {name: torch.tensor(True) for name in whole}
    if (found := SLICE.fullmatch(pattern)) and (sliced := _matching(names, found["name"])):
        return {name: _slice(model.get_parameter(name), name, found["index"], pattern) for name in sliced}
    if DEVINTERP.fullmatch(pattern.strip()):
        return _of_devinterp(model, names, pattern)
    raise ProblemError(
        f"restriction '{pattern}' matches no parameter; the model's are {', '.join(list(names)[:12])}"
        f"{', ...' if len(names) > 12 else ''}"
    )


def _matching(names: dict[str, list[str]], pattern: str) -> list[str]:
    return [name for name, tied in names.items() if any(fnmatchcase(alias, pattern) for alias in tied)]


def _slice(parameter: Tensor, name: str, index: str, pattern: str) -> Tensor:
    """The mask of a slice such as "1" or ":, 16:32"."""
    mask = torch.zeros(parameter.shape, dtype=torch.bool)
    try:
        parts = [[int(end) if end.strip() else None for end in part.split(":")] for part in index.split(",")]
        mask[tuple(slice(*ends) if len(ends) > 1 else ends[0] for ends in parts)] = True
    except (ValueError, TypeError, IndexError) as error:
        raise ProblemError(f"restriction '{pattern}' does not fit '{name}' {tuple(mask.shape)}: {error}") from None
    if not mask.any():
        raise ProblemError(f"restriction '{pattern}' takes nothing of '{name}', which is {tuple(mask.shape)}")
    return mask


def _of_devinterp(model: nn.Module, names: dict[str, list[str]], pattern: str) -> dict[str, Tensor]:
    """What devinterp understands by its string, in the outermost part of the model whose architecture it knows."""
    with warnings.catch_warnings():  # what devinterp's own dependencies warn of on import is not the user's concern
        warnings.simplefilter("ignore")
        from devinterp.slt.sampler import is_transformer_lens_model
        from devinterp.slt.weight_restrictions import create_param_masks
    known = [
        (prefix, part)
        for prefix, part in model.named_modules()
        if getattr(getattr(part, "config", None), "model_type", None) or is_transformer_lens_model(part)
    ]
    if not known:
        raise ProblemError(
            f"restriction '{pattern}' is one of devinterp's, for models of HuggingFace and TransformerLens; of this "
            f"one name the parameters: {', '.join(list(names)[:12])}"
        )
    prefix, part = known[0]
    try:
        masks = create_param_masks(part, pattern)
    except (ValueError, RuntimeError, AttributeError) as error:
        raise ProblemError(f"restriction '{pattern}': {str(error).splitlines()[0]}") from None
    first = {alias: name for name, tied in names.items() for alias in tied}
    inside = f"{prefix}." if prefix else ""
    found = {first[inside + name]: torch.tensor(True) if mask is None else mask for name, mask in masks.items()}
    if not found:
        raise ProblemError(f"restriction '{pattern}': devinterp finds no such parameter; tied ones have one name only")
    return found
