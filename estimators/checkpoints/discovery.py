"""Find the checkpoints of a directory: each folder is shown to each format, then each find is looked into."""

from __future__ import annotations

import math
import os
import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path, PurePosixPath

from upath import UPath

from estimators.checkpoints import safetensors_file, safetensors_shards, torch_file
from estimators.checkpoints.format import Claim, Contents, Format, StepReading
from estimators.checkpoints.sequence import Checkpoint, CheckpointSequence
from estimators.checkpoints.step_names import step_from_path
from estimators.storage import Location, fetch, fetch_outline, in_order, listing, local_copy, location, walk
from slt.errors import CheckpointError, DuplicateStep, NoCheckpoints, UnreadableCheckpoint

FORMATS: dict[str, Format] = {
    module.NAME: module
    # A format of several files stands before the format of its single files.
    for module in (safetensors_shards, safetensors_file, torch_file)
}

# What training loops save beside the weights.
_COMPANION = re.compile(
    r"^(optim|scheduler|lr_scheduler|scaler|rng_state|random_states|training_args|train\.pt|other\.pt|zero_pp_rank)"
    r"|optim_states|(events\.csv|problem\.yaml)$",
    re.IGNORECASE,
)
_TEXT = {".csv", ".html", ".json", ".jsonl", ".log", ".md", ".png", ".py", ".svg", ".txt", ".yaml", ".yml", ".model"}
_HALF_WRITTEN = re.compile(r"\.(tmp|temp|part|partial|incomplete)(\.|$)", re.IGNORECASE)
_ALIAS = re.compile(r"^(last|latest|final|best)(-v\d+)?$", re.IGNORECASE)


def discover(directory: str | Location) -> CheckpointSequence:
    """Search a directory and its folders for checkpoints.

    Files are looked into, so that an empty or truncated one is named here and not in the middle of a
    run; weights are not read. Faults and notes are kept in the result: `require_usable` raises them.

    Args:
        directory: a path, or a URL such as s3://bucket/run.

    Raises:
        NoCheckpoints: the directory does not exist or is not a directory.
        StorageError: object storage does not answer, or refuses.
    """
    directory = location(directory)
    sizes = _sizes(directory)
    found: list[Checkpoint] = []
    faults: list[CheckpointError] = []
    notes: list[str] = []
    look = partial(_try_to_look, directory=directory, sizes=sizes)
    claims = list(_claimed(directory, sizes, notes))
    for seen in in_order(look, claims, directory):
        if isinstance(seen, Checkpoint):
            found.append(seen)
        elif isinstance(seen, CheckpointError):
            faults.append(seen)
        else:
            notes += [str(seen)] if str(seen) else []
    kept, doubles, aliases = _one_per_step(found)
    notes += [*aliases, *_gaps([checkpoint.step for checkpoint in kept])]
    return CheckpointSequence(directory, tuple(kept), (*faults, *doubles, *_mixed_units(kept)), tuple(notes))


class _Skipped(Exception):
    """Not a checkpoint, and no harm done; the reason is worth a note unless it is empty."""


def _sizes(directory: Location) -> Mapping[str, int]:
    """Sizes of a remote directory's files by relative name, from one listing; none for a local one."""
    if isinstance(directory, Path):
        whole, exists = directory.is_dir(), directory.exists()
        sizes: Mapping[str, int] = {}
    else:
        sizes = listing(directory)
        whole, exists = bool(sizes) and "" not in sizes, "" in sizes
    if not whole:
        what = "is a file, not a directory of checkpoints" if exists else "does not exist"
        raise NoCheckpoints(f"{directory} {what}. Name the directory that holds the run's checkpoints")
    return sizes


def _claimed(directory: Location, sizes: Mapping[str, int], notes: list[str]) -> Iterator[tuple[Claim, Format]]:
    """Each checkpoint that a format claims; what no format claims goes to the notes."""
    for root, folders, files in os.walk(directory) if isinstance(directory, Path) else walk(directory, sizes):
        folder = Path(root) if isinstance(root, str) else root
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__pycache__")))
        names = sorted(name for name in files if not _COMPANION.search(name))
        half = [name for name in names if _HALF_WRITTEN.search(name)]
        names = [name for name in names if not _HALF_WRITTEN.search(name)]
        notes += [f"{folder / name} is half-written, left by an interrupted save; skipped" for name in half]
        names = [name for name in names if not name.startswith(".")]
        for format_ in FORMATS.values():
            claims = format_.claims(folder, [*names, *folders])
            claimed = {name for claim in claims for name in claim.names}
            names = [name for name in names if name not in claimed]
            folders[:] = [name for name in folders if name not in claimed]
            yield from ((claim, format_) for claim in claims)
        strange = [name for name in names if Path(name).suffix.lower() not in _TEXT and Path(name).suffix]
        if strange:
            more = f" and {len(strange) - 5} more" if len(strange) > 5 else ""
            notes.append(f"{folder} holds files of no known format: {', '.join(strange[:5])}{more}; skipped")


def _try_to_look(
    claimed: tuple[Claim, Format], directory: Location, sizes: Mapping[str, int]
) -> Checkpoint | CheckpointError | _Skipped:
    claim, format_ = claimed
    try:
        return _look_into(claim.path, format_, directory, sizes)
    except (CheckpointError, _Skipped) as reason:
        return reason


def _look_into(path: Location, format_: Format, directory: Location, sizes: Mapping[str, int]) -> Checkpoint:
    named = step_from_path(PurePosixPath(*path.relative_to(str(directory)).parts))
    try:
        contents = _examine(path, format_, directory, sizes)
    except UnreadableCheckpoint as fault:
        if named is None:  # without a step it would not have been used, whole or not
            raise _Skipped(str(fault)) from None
        raise
    if contents.not_weights:
        raise _Skipped("" if "optimizer" in contents.not_weights else f"{contents.not_weights}; skipped")
    step = _agree(named, contents.step)
    if step is None:
        raise _Skipped(
            f"{path} tells no step, neither in its name nor inside; skipped. Name it like step_000400{path.suffix}"
        )
    return Checkpoint(step.step, step.unit, step.source, path, format_.NAME, contents.bytes)


def _examine(path: Location, format_: Format, directory: Location, sizes: Mapping[str, int]) -> Contents:
    if isinstance(path, Path):
        if not (path.is_file() or path.is_dir()):
            what = "is a link that leads nowhere" if path.is_symlink() else "is not a regular file"
            raise UnreadableCheckpoint(f"{path} {what}. Mend it, or move it out of the directory")
        return format_.examine(path)

    def outline(place: UPath, copy: Path) -> None:
        name = str(PurePosixPath(*place.relative_to(str(directory)).parts))
        if name in sizes:
            fetch_outline(place, copy, sizes[name])

    def look(get: Callable[[UPath, Path], None]) -> Contents:
        with local_copy(path, format_.parts, get) as copy:
            contents = format_.examine(copy)
            return replace(contents, not_weights=contents.not_weights.replace(str(copy), str(path)))

    try:
        contents = look(outline)
    except UnreadableCheckpoint:
        return look(fetch)
    # A step that is a tensor may have been in the part that is not there, and reads as zero.
    return look(fetch) if contents.step and contents.step.step == 0 else contents


def _agree(named: StepReading | None, inside: StepReading | None) -> StepReading | None:
    """The name goes before the inside, except that a bare number takes its unit from the inside."""
    if named is None or inside is None:
        return named or inside
    if not named.certain and inside.step == named.step:
        return replace(named, unit=inside.unit, source=f"{named.source}; unit {inside.source}")
    if named.unit == inside.unit and named.step != inside.step:
        return replace(named, source=f"{named.source}, but {inside.step} {inside.source}")
    return named


def _order(checkpoint: Checkpoint) -> tuple[int, bool, str]:
    """By step; copies such as last.ckpt come after what they copy."""
    return checkpoint.step, bool(_ALIAS.match(checkpoint.path.stem)), str(checkpoint.path)


def _one_per_step(found: Sequence[Checkpoint]) -> tuple[list[Checkpoint], list[CheckpointError], list[str]]:
    """Keep one checkpoint per step; last.ckpt beside the same step's own file is a copy, any other is a fault."""
    kept: dict[int, Checkpoint] = {}
    doubles: list[CheckpointError] = []
    aliases = []
    for checkpoint in sorted(found, key=_order):
        first = kept.setdefault(checkpoint.step, checkpoint)
        if first is checkpoint:
            continue
        if _ALIAS.match(checkpoint.path.stem):
            aliases.append(f"{checkpoint.path} is of step {checkpoint.step} like {first.path}; skipped")
        else:
            doubles.append(
                DuplicateStep(
                    f"{checkpoint.path} and {first.path} are both of step {checkpoint.step} "
                    f"({checkpoint.step_source}). Move one of them out of the directory"
                )
            )
    return list(kept.values()), doubles, aliases


def _mixed_units(checkpoints: Sequence[Checkpoint]) -> list[CheckpointError]:
    examples = {checkpoint.unit: checkpoint for checkpoint in checkpoints}
    if len(examples) < 2:
        return []
    listed = ", ".join(f"{each.unit} {each.step} in {each.path.name}" for each in examples.values())
    return [
        CheckpointError(
            f"the checkpoints count in different units: {listed}. Rename them, or keep one kind per directory"
        )
    ]


def _gaps(steps: Sequence[int]) -> list[str]:
    """Steps that seem to be missing: a gap about twice both its neighbours, on the axis that spaces steps evenly."""
    after_start = [step for step in steps if step > 0]
    linear, log = _widths(after_start), _widths([math.log(step) for step in after_start])
    if len(linear) < 5:
        return []
    widths = linear if _unevenness(linear) < _unevenness(log) else log
    counts = Counter(linear)
    notes = []
    for i in range(1, len(widths) - 1):
        # Between small steps of a log-spaced run, rounding alone makes a gap of 2 beside gaps of 1.
        beyond_rounding = linear[i] >= 4 or len(counts) - (counts[linear[i]] == 1) == 1
        if widths[i] >= 1.9 * max(widths[i - 1], widths[i + 1]) and beyond_rounding:
            left, right = after_start[i], after_start[i + 1]
            notes.append(f"no checkpoint between steps {left} and {right}, where their spacing suggests one")
    return notes


def _widths(positions: Sequence[float]) -> list[float]:
    return [right - left for left, right in pairwise(positions)]


def _unevenness(widths: Sequence[float]) -> float:
    return statistics.pstdev(widths) / statistics.fmean(widths)
