"""What a submitted job may read: files under the configured roots after resolving links, problems from the list."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Sequence
from pathlib import Path

from slt.errors import JobError
from workers.job import JobConfig, code_references
from workers.service.settings import REMOTE, Settings

BUILT_IN = ("linear_network", "modular_addition")
"""The names in `estimators.problems.BUILT_IN`, which a test holds equal: that module brings torch along."""
MOST_ENTRIES = 100_000


def resolve(place: str, roots: Sequence[str], what: str) -> str:
    """The place as the driver will read it: absolute, without a link in it, inside a root.

    A relative path is looked for under each root in turn.

    Raises:
        JobError: outside every root, or not there. Which of the two is not told for places outside.
    """
    if REMOTE.match(place):
        return _resolve_remote(place, roots, what)
    local = [Path(root) for root in roots if not REMOTE.match(root)]
    given = Path(place)
    candidates = [given] if given.is_absolute() else [root / given for root in local]
    for candidate in candidates:
        try:
            real = candidate.resolve(strict=True)
        except (OSError, RuntimeError, ValueError):
            continue
        if any(real.is_relative_to(root) for root in local):
            _require_links_inside(real, local, what)
            return str(real)
    allowed = ", ".join(roots) or "none"
    raise JobError(f"{what} is {place!r}, which is no path under the roots of this service ({allowed})")


def _resolve_remote(place: str, roots: Sequence[str], what: str) -> str:
    scheme, _, path = place.partition("://")
    plain = posixpath.normpath(path) == path.rstrip("/") and not set(path) & set("?#*[]\\%")
    for root in roots:
        root_scheme, _, root_path = root.partition("://")
        inside = f"{path.rstrip('/')}/".startswith(f"{root_path.rstrip('/')}/")
        if REMOTE.match(root) and plain and scheme == root_scheme and inside:
            return place
    allowed = ", ".join(roots) or "none"
    raise JobError(f"{what} is {place!r}, which is not under the roots of this service ({allowed})")


def _require_links_inside(directory: Path, roots: Sequence[Path], what: str) -> None:
    """A link in a directory of checkpoints must not lead out of the roots either."""
    if not directory.is_dir():
        return
    seen = 0
    for parent, folders, files in os.walk(directory):
        for name in (*folders, *files):
            seen += 1
            path = Path(parent, name)
            if seen > MOST_ENTRIES:
                raise JobError(f"{what} holds more than {MOST_ENTRIES:,} files; name a smaller folder")
            if path.is_symlink() and not any(path.resolve().is_relative_to(root) for root in roots):
                raise JobError(f"{what} holds a link, {path.relative_to(directory)}, that leads out of the roots")


def allowed_problems(settings: Settings) -> list[str]:
    """Problems that a job may name; `...` stands for any function."""
    return [*BUILT_IN, *(name if ":" in name else f"{name}:..." for name in settings.modules)]


def require_allowed(job: JobConfig, settings: Settings) -> None:
    """Refuse a job that names code which is neither built in nor of an allowed module: importing it would run it.

    Raises:
        JobError: not allowed.
    """
    own = [] if job.problem in BUILT_IN else [job.problem]
    for reference in [*own, *code_references(job)]:
        module, colon, function = reference.partition(":")
        listed = any(reference == name or module == name or module.startswith(f"{name}.") for name in settings.modules)
        if colon and listed and all(part.isidentifier() for part in (*module.split("."), function)):
            continue
        allowed = ", ".join(allowed_problems(settings))
        raise JobError(f"{reference[:100]!r} is code that this service does not run; allowed are {allowed}")
