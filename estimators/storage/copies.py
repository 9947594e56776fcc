"""Remote files, read and written through local copies."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from fsspec.asyn import AsyncFileSystem
from upath import UPath

from estimators.storage.location import Location
from estimators.storage.server import STALL, reach
from slt.errors import SltError

SLOWEST_UPLOAD = 2**18
"""Bytes per second; an upload that is slower has stalled."""
AT_ONCE = 8
"""Requests at a time where many are made."""
COPIES_AT_ONCE = 3
"""Checkpoints of object storage on their way to memory at a time."""
PIECE = 2**20
"""Bytes at either end of a file in its outline."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def listing(place: UPath) -> dict[str, int]:
    """Names of all files below a place, relative to it, and their sizes; of a file, its size under an empty name.

    Raises:
        StorageError: the server does not answer, or refuses.
    """
    root = place.path.rstrip("/")
    try:
        found = reach(place, lambda files: _find(files, place))
    except FileNotFoundError:
        return {}
    names = {
        name.removeprefix(root).removeprefix("/"): int(entry["size"] or 0)
        for name, entry in found.items()
        if not name.endswith("/")  # an object that stands for a folder
    }
    return {name: size for name, size in names.items() if not {"", ".", ".."} & set(name.split("/")) or not name}


def _find(files: Any, place: UPath) -> Any:
    files.invalidate_cache()
    return files.find(place.path, detail=True)


def exists(place: Location) -> bool:
    """Whether there is a file."""
    return place.is_file() if isinstance(place, Path) else "" in listing(place)


def modified(place: Location) -> float:
    """When a file was last changed, in seconds since 1970.

    Raises:
        OSError: there is no such file.
    """
    if isinstance(place, Path):
        return place.stat().st_mtime
    return float(reach(place, lambda files: files.modified(place.path)).timestamp())


def walk(place: UPath, names: Iterable[str]) -> Iterator[tuple[UPath, list[str], list[str]]]:
    """What `os.walk` gives, from a listing: each folder, with the names of its folders (may be pruned) and files."""
    tree: dict[str, tuple[set[str], list[str]]] = {"": (set(), [])}
    for name in names:
        folder, _, file = name.rpartition("/")
        tree.setdefault(folder, (set(), []))[1].append(file)
        while folder:
            folder, _, inner = folder.rpartition("/")
            tree.setdefault(folder, (set(), []))[0].add(inner)
    waiting = [""]
    while waiting:
        at = waiting.pop(0)
        folders, files = sorted(tree[at][0]), sorted(tree[at][1])
        yield place / at if at else place, folders, files
        waiting = [*(f"{at}/{folder}".lstrip("/") for folder in folders), *waiting]


def fetch(place: UPath, copy: Path) -> None:
    """Download a file; one that is not there is not there afterwards either."""
    try:
        reach(place, lambda files: files.get_file(place.path, str(copy)))
    except FileNotFoundError:
        copy.unlink(missing_ok=True)


def fetch_outline(place: UPath, copy: Path, size: int) -> None:
    """Make a sparse copy of which both ends are real: formats keep their tables of contents there."""
    if size <= 3 * PIECE:
        fetch(place, copy)
        return
    with open(copy, "wb") as file:
        file.truncate(size)
        for start, end in ((0, PIECE), ((size - PIECE) // 64 * 64, size)):  # torch aligns values to 64 bytes
            file.seek(start)
            file.write(_piece(place, start, end))


def _piece(place: UPath, start: int, end: int) -> bytes:
    return bytes(reach(place, lambda files: files.cat_file(place.path, start=start, end=end)))


def send(file: Path, place: UPath) -> None:
    """Upload a file, in the place of what was there."""
    seconds = STALL + file.stat().st_size / SLOWEST_UPLOAD

    def put(files: Any) -> None:
        # A server that has stopped in the middle of an upload is noticed by no time-out of the driver.
        limit = {"timeout": seconds} if isinstance(files, AsyncFileSystem) else {}
        files.put_file(str(file), place.path, **limit)

    reach(place, put)


def remove(place: UPath) -> None:
    """Delete a file; one that is not there is no error."""
    try:
        reach(place, lambda files: files.rm_file(place.path))
    except FileNotFoundError:
        return


@contextmanager
def local_copy(
    place: Location,
    parts: Callable[[Path], Sequence[str]] = lambda copy: (),
    get: Callable[[UPath, Path], None] = fetch,
) -> Iterator[Path]:
    """The file itself if it is local, or a copy that is deleted afterwards.

    Errors of this project that come out of the block name the place and not its copy.

    Args:
        place: of the file.
        parts: names of the files beside it that it needs too, found in its copy.
        get: how a copy is made.
    """
    if isinstance(place, Path):
        yield place
        return
    with tempfile.TemporaryDirectory(prefix="slt-") as folder, original_names(folder, place.parent):
        copy = Path(folder) / place.name
        get(place, copy)
        for name in parts(copy):
            get(place.parent / name, copy.parent / name)
        yield copy


def read_from(place: Location, read: Callable[[Path], Result]) -> Result:
    """What a reader of local files makes of a place."""
    with local_copy(place) as file:
        return read(file)


@contextmanager
def original_names(copies: str | Path, place: UPath) -> Iterator[None]:
    """Let errors of this project name a place where they name the folder of its copies."""
    try:
        yield
    except SltError as error:
        error.args = tuple(str(text).replace(str(copies), str(place).rstrip("/")) for text in error.args)
        raise


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], place: Location, count: int = AT_ONCE
) -> Iterator[Result]:
    """The function's results in order: what is on object storage comes `ahead`, what is here when it is asked for."""
    return map(function, items) if isinstance(place, Path) else ahead(function, items, count)


def ahead(function: Callable[[Item], Result], items: Iterable[Item], count: int = AT_ONCE) -> Iterator[Result]:
    """The function's results in order, computed by up to `count` threads before they are asked for."""
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(count, thread_name_prefix="storage")
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def chunks_ahead(function: Callable[[Item], Result], items: Iterable[Item], size: int) -> Iterator[list[Result]]:
    """The function's results in order, so many at a time; while one list is used, threads compute of the next."""
    results = ahead(function, items, min(size, COPIES_AT_ONCE))
    while chunk := list(islice(results, size)):
        yield chunk
