"""Files that appear complete or not at all, and the JSON documents of a job folder."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from slt.errors import BadInput, OutputError
from slt.stages import Stages


def write_path(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file or a folder under a temporary name, then put it in the place of the old one.

    A file never takes the place of a folder, whatever the folder holds.

    Raises:
        OutputError: the disk is full, the folder is not writable, or `path` is a folder and not a file.
    """
    temporary = _beside(path, "tmp")
    with writing(path):
        try:
            write(temporary)
            if path.is_dir():
                if not temporary.is_dir():
                    raise OutputError(f"{path} is a folder; name a file in it, for example {path / 'stages.json'}")
                _swap(temporary, path)
            else:
                os.replace(temporary, path)
        finally:
            if temporary.is_dir():
                shutil.rmtree(temporary)
            else:
                temporary.unlink(missing_ok=True)


def _beside(path: Path, suffix: str) -> Path:
    whole = path.absolute()  # "." has no name
    return whole.with_name(f".{whole.name}.{os.getpid()}.{suffix}")


def _swap(new: Path, folder: Path) -> None:
    """Put a folder in the place of another; the old one goes only when the new one is there."""
    old = _beside(folder, "old")
    os.rename(folder, old)
    os.rename(new, folder)
    shutil.rmtree(old)


def write_bytes(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Like `write_path`, through an open file that is on the disk before its name appears."""

    def synced(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())

    write_path(path, synced)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file."""
    write_bytes(path, lambda file: file.write(text.encode()))


def write_json(path: Path, document: Any) -> None:
    """Write one JSON document."""
    write_text(path, to_json(document))


def to_json(document: Any) -> str:
    """JSON as the standard has it: what is not a finite number is null."""
    return json.dumps(_finite(document), indent=1, allow_nan=False) + "\n"


def read_stages(path: Path) -> Stages:
    """Read what `slt run` or `slt stages --out` wrote.

    Raises:
        BadInput: no such file, or not a stages document.
    """
    try:
        return Stages.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise BadInput(f"no such file: {path}; `slt stages FILE.csv --out {path.name}` writes one") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(
            f"{path} is not a stages document ({type(error).__name__}: {error}); `slt stages FILE.csv --out` writes one"
        ) from None


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write into one sentence."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise OutputError(
            f"{path} cannot be written: {reason}; make room, or choose another folder with --out"
        ) from None


def _finite(document: Any) -> Any:
    if isinstance(document, dict):
        return {key: _finite(value) for key, value in document.items()}
    if isinstance(document, list | tuple):
        return [_finite(value) for value in document]
    return None if isinstance(document, float) and not math.isfinite(document) else document
