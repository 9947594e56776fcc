"""What pydantic objects to in a job file, as one sentence in a user's terms."""

from __future__ import annotations

import difflib
from typing import get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

_PLAINLY = {
    "string_pattern_mismatch": "it takes letters, digits, '_', '-' and '.' (not first): folders are named so",
    "model_type": "a section is written as keys and values, for example {chains: 4}",
    "model_attributes_type": "a section is written as keys and values, for example {chains: 4}",
    "dict_type": "it is written as keys and values, for example {p: 53}",
    "tuple_type": "it is a list, for example [loss, weight_norm]",
    "string_type": "it is a text",
    "path_type": "it is a path",
}
"""What pydantic says in its own terms, in a user's."""


def sentence(error: ErrorDetails, model: type[BaseModel]) -> str:
    """What is wrong with one key of a job file, the value, and what is valid."""
    where = ".".join(str(part) for part in error["loc"] if part not in ("float", "int", "literal['auto']"))
    if error["type"] == "extra_forbidden":
        return f"unknown key '{where}'; {_nearest(where, model)}"
    if error["type"] == "missing":
        return f"'{where}' is missing"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] in _PLAINLY:
        return f"{where} is {error['input']!r}; {_PLAINLY[error['type']]}"
    if error["type"] == "value_error":
        return f"{where}: {message}" if where else message
    return f"{where} is {error['input']!r}: {message[0].lower()}{message[1:]}"


def _nearest(unknown: str, model: type[BaseModel]) -> str:
    valid = _dotted_keys(model)
    section, _, leaf = unknown.rpartition(".")
    siblings = {key.rpartition(".")[2]: key for key in valid if key.rpartition(".")[0] == section}
    anywhere = {key.rpartition(".")[2]: key for key in valid}
    for keys in (siblings, anywhere):
        for near in difflib.get_close_matches(leaf, keys, n=1):
            return f"did you mean '{keys[near]}'?"
    return f"valid keys are {', '.join((siblings or anywhere).values())}"


def _dotted_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    keys = []
    for name, field in model.model_fields.items():
        keys.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            keys += _dotted_keys(field.annotation, f"{prefix}{name}.")
        for section in get_args(field.annotation)[1:]:  # of a mapping from the user's names to sections
            if isinstance(section, type) and issubclass(section, BaseModel):
                keys += _dotted_keys(section, f"{prefix}{name}.NAME.")
    return keys
