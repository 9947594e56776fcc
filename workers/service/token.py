"""The bearer token: made at the first start, readable by its owner alone, compared in constant time."""

from __future__ import annotations

import hmac
import os
import secrets
from pathlib import Path

from slt.errors import BadInput


def read_or_make(path: Path) -> tuple[str, bool]:
    """The token of a service folder, and whether it was made just now.

    Raises:
        BadInput: the file is empty, or others may read it.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return read(path), False
    token = secrets.token_urlsafe(32)
    with os.fdopen(descriptor, "w") as file:
        file.write(token + "\n")
    return token, True


def read(path: Path) -> str:
    """The token in a file.

    Raises:
        BadInput: no such file, it is empty, or others may read it.
    """
    try:
        token = path.read_text(encoding="utf-8").strip()
        open_to_others = path.stat().st_mode & 0o077
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"the token file {path} cannot be read: {error}") from None
    if open_to_others:
        raise BadInput(f"others may read the token file {path}; run: chmod 600 {path}")
    if not token:
        raise BadInput(f"the token file {path} is empty; remove it, and the next start makes a new one")
    return token


def matches(given: str, token: str) -> bool:
    """Whether the token is right, in a time that tells nothing about it."""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), token.encode())
