"""Files that appear complete or not at all, here or on object storage, and the JSON documents of a job folder."""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from upath import UPath

from estimators.storage import Location, ahead, fetch, listing, local_copy, original_names, send
from estimators.storage import remove as remove_remote
from slt.errors import BadInput, OutputError, StorageError, TrajectoryError
from slt.stages import Stages


def write_path(path: Location, write: Callable[[Path], object]) -> None:
    """Let `write` make a file or a folder under a temporary name, then put it in the place of the old one.

    A file never takes the place of a folder, whatever the folder holds. On object storage, which has no folders, each
    file of one is whole or not there, and those of the old one go when all of the new one are there.

    Raises:
        OutputError: the disk is full, the folder is not writable, or `path` is a folder and not a file; or object
            storage does not answer, or refuses.
    """
    if isinstance(path, UPath):
        with writing(path), tempfile.TemporaryDirectory(prefix="slt-") as folder:
            made = Path(folder) / path.name
            write(made)
            _upload(made, path)
        return
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


def _upload(made: Path, place: UPath) -> None:
    if made.is_file():
        send(made, place)
        return
    old = listing(place)
    new = {file.relative_to(made).as_posix(): file for file in made.rglob("*") if file.is_file()}
    for _ in ahead(lambda name: send(new[name], place / name), new):
        pass
    for _ in ahead(lambda name: remove_remote(place / name), old.keys() - new.keys()):
        pass


def remove(path: Location) -> None:
    """Delete a file, if it is there."""
    with writing(path):
        if isinstance(path, UPath):
            remove_remote(path)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def working_folder(folder: Location, wanted: Callable[[str], bool]) -> Iterator[Path]:
    """The folder itself, or a local copy of a remote one, from which new and changed files are sent back at the end.

    Args:
        folder: to work in.
        wanted: whether a file, by its name in the folder, is needed in the copy.
    """
    if isinstance(folder, Path):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="slt-") as temporary, original_names(temporary, folder):
        copy = Path(temporary)
        names = [name for name in listing(folder) if wanted(name)]
        for name in names:
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
        for _ in ahead(lambda name: fetch(folder / name, copy / name), names):
            pass
        before = _stamps(copy)
        yield copy
        with writing(folder):
            changed = [path for path, stamp in _stamps(copy).items() if before.get(path) != stamp]
            for _ in ahead(lambda path: send(path, folder / path.relative_to(copy).as_posix()), changed):
                pass


def _stamps(folder: Path) -> dict[Path, tuple[int, int]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in files}


def write_bytes(path: Location, write: Callable[[IO[bytes]], object]) -> None:
    """Like `write_path`, through an open file that is on the disk before its name appears."""

    def synced(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())

    write_path(path, synced)


def write_text(path: Location, text: str) -> None:
    """Write a UTF-8 text file."""
    write_bytes(path, lambda file: file.write(text.encode()))


def write_json(path: Location, document: Any) -> None:
    """Write one JSON document."""
    write_text(path, to_json(document))


def to_json(document: Any) -> str:
    """JSON as the standard has it: what is not a finite number is null."""
    return json.dumps(_finite(document), indent=1, allow_nan=False) + "\n"


def read_text(path: Location) -> str:
    """Read a UTF-8 text file.

    Raises:
        OSError, UnicodeDecodeError: no such file, or none of text.
        StorageError: object storage does not answer, or refuses.
    """
    with local_copy(path) as file:
        return file.read_text(encoding="utf-8")


def read_stages(path: Location) -> Stages:
    """Read what `slt run` or `slt stages --out` wrote.

    Raises:
        BadInput: no such file, or not a stages document.
    """
    try:
        return Stages.from_dict(json.loads(read_text(path)))
    except FileNotFoundError:
        raise BadInput(f"no such file: {path}; `slt stages FILE.csv --out {path.name}` writes one") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, TrajectoryError) as error:
        raise BadInput(
            f"{path} is not a stages document ({type(error).__name__}: {error}); `slt stages FILE.csv --out` writes one"
        ) from None


@contextmanager
def writing(path: Location) -> Iterator[None]:
    """Turn the operating system's or object storage's refusal to write into one sentence."""
    try:
        yield
    except StorageError as error:
        raise OutputError(f"results cannot be written: {error}") from None
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
