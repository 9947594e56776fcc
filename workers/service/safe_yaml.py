"""Job files from strangers: plain data of bounded size, or one sentence."""

from __future__ import annotations

import json
from typing import Any

import yaml

from slt.errors import JobError
from workers.job import parse_yaml

MOST_EVENTS = 20_000
MOST_DEPTH = 20
LONGEST_TEXT = 4_096
LARGEST_NUMBER = 1e18


def parse(text: str) -> Any:
    """Plain data from YAML. Read event by event first, so that nothing is ever expanded.

    Raises:
        JobError: not YAML, an alias (ten of them can stand for terabytes; no job file needs one), too
            deep, too many values, or a tag that asks for an object.
    """
    depth = 0
    try:
        for count, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent):
                raise JobError("the job file has a YAML alias ('*name'); write the value out")
            if depth > MOST_DEPTH:
                raise JobError(f"the job file is nested deeper than {MOST_DEPTH} levels")
            if count > MOST_EVENTS:
                raise JobError(f"the job file has more than {MOST_EVENTS:,} values")
        return parse_yaml(text)
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" at line {where.line + 1}" if where else ""
        raise JobError(f"the job file is not YAML{line}: {getattr(error, 'problem', None) or 'unreadable'}") from None
    except (ValueError, OverflowError, RecursionError, AttributeError, TypeError) as error:
        raise JobError(f"the job file has a value that is none: {_first_line(error)}") from None


def parse_json(body: bytes) -> Any:
    """Plain data from JSON.

    Raises:
        JobError: not JSON, or nested too deep to be read.
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise JobError(f"the body is not JSON: {_first_line(error)}") from None


def require_bounded(value: Any, where: str = "the job", depth: int = 0) -> int:
    """Count the values of plain data; every text, number and level is bounded.

    Raises:
        JobError: something is too long, too deep, too large, or not plain.
    """
    if depth > MOST_DEPTH:
        raise JobError(f"{where} is nested deeper than {MOST_DEPTH} levels")
    if isinstance(value, str):
        if len(value) > LONGEST_TEXT:
            raise JobError(f"{where} has a text of {len(value):,} characters; {LONGEST_TEXT:,} are the most")
        if any(character < " " and character not in "\t\n" for character in value) or "\x7f" in value:
            raise JobError(f"{where} has a text with a control character")
        if not _encodable(value):
            raise JobError(f"{where} has a text that is not Unicode")
        return 1
    if value is None or isinstance(value, bool):
        return 1
    if isinstance(value, int | float):
        if abs(value) > LARGEST_NUMBER or value != value:
            raise JobError(f"{where} has a number that is none, or beyond {LARGEST_NUMBER:g}")
        return 1
    if isinstance(value, dict | list):
        parts = [*value.keys(), *value.values()] if isinstance(value, dict) else value
        if isinstance(value, dict) and not all(isinstance(key, str) for key in value):
            raise JobError(f"{where} has a key that is not a text")
        count = 1 + sum(require_bounded(part, where, depth + 1) for part in parts)
        if count > MOST_EVENTS:
            raise JobError(f"{where} has more than {MOST_EVENTS:,} values")
        return count
    raise JobError(f"{where} has a {type(value).__name__}; it takes texts, numbers, lists and mappings")


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
