"""The training step that a file or folder name, or a value inside a file, tells."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath

from estimators.checkpoints.format import StepReading

_NUMBER = r"[-_= ]?(\d+)([kmb]?)(?![a-z0-9])"
_SCALE = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9}

# In order of trust: a name such as epoch=3-step=400 or step1000-tokens4B tells several, and the step counts.
_KEYWORDS = (
    ("step", r"(?<![a-z])(?:global[-_]?)?steps?"),
    ("step", r"(?<![a-z])iter(?:ation)?s?"),
    ("step", r"(?<![a-z])(?:checkpoint|ckpt)"),
    ("token", r"(?<![a-z])tokens?"),
    ("example", r"(?<![a-z])(?:example|sample)s?"),
    ("epoch", r"(?<![a-z])epochs?"),
)
_PATTERNS = tuple((unit, re.compile(keyword + _NUMBER, re.IGNORECASE)) for unit, keyword in _KEYWORDS)
_BARE = re.compile(r"(?:^|[-_.])(\d+)$")

_KEYS_INSIDE = (
    ("step", "step"),
    ("global_step", "step"),
    ("iter_num", "step"),
    ("iteration", "step"),
    ("epoch", "epoch"),
)

_MOST_STEPS = 10**9
"""A bare number above this counts tokens, not optimiser steps (TransformerLens' rule)."""


def step_from_path(relative: PurePath) -> StepReading | None:
    """Read the step from a path relative to the directory, the file's name first, then its folders outwards.

    A name that says what it counts (step_000123, checkpoint-400, epoch=3-step=400) goes before a bare
    number (400.pth, model_400.pt), whose unit is not certain.
    """
    places = [("file name", relative.stem), *(("folder name", part) for part in reversed(relative.parts[:-1]))]
    for source, name in places:
        for unit, pattern in _PATTERNS:
            found = pattern.search(name)
            if found:
                return StepReading(int(found[1]) * _SCALE[found[2].lower()], unit, source)
    for source, name in places:
        found = _BARE.search(name)
        if found:
            step = int(found[1])
            unit = "token" if step > _MOST_STEPS else "step"
            return StepReading(step, unit, f"{source}, a bare number", certain=False)
    return None


def step_from_values(values: Mapping[str, object]) -> StepReading | None:
    """Read the step from what stands beside the weights inside a file: step, global_step, iter_num or epoch."""
    for key, unit in _KEYS_INSIDE:
        step = _whole_number(values.get(key))
        if step is not None:
            return StepReading(step, unit, f"inside the file, '{key}'")
    return None


def _whole_number(value: object) -> int | None:
    try:
        number = float(value)  # type: ignore[arg-type]  # whatever a user saved: int, str, 0-dimensional tensor
    except (TypeError, ValueError, RuntimeError):
        return None
    return int(number) if number.is_integer() and number >= 0 else None
