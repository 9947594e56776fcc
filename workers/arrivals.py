"""New checkpoints of a directory that a training run is still writing: each once, and only when it is complete.

A checkpoint is complete when two looks found it readable (its header fits its length, its archive has its table of
contents, its index has its shards), with one size and one time of change. What has a temporary name is left alone until
it is renamed, and so are shards whose index is yet to come.
"""

from __future__ import annotations

import re
import time

from estimators.checkpoints import Checkpoint, CheckpointSequence, discover
from estimators.storage import Location, modified
from slt.errors import NoCheckpoints, UnreadableCheckpoint

SETTLES = 1.0
"""Seconds between the two looks, at least."""
QUIET = 10.0
"""Seconds after which an unreadable file that no longer changes counts as broken, and not as half-written."""
SHARE = 0.1
"""Of the time at most that is spent on looking."""

_TEMPORARY = re.compile(r"(^|[._-])(tmp|temp|part|partial|incomplete)([._-]|$)", re.IGNORECASE)
_SHARD = re.compile(r"-\d+-of-\d+\.")

Stamp = tuple[int, int]
"""Size in bytes and time of change in nanoseconds."""


class Arrivals:
    """What has come into a directory since the last look; a directory that is not there yet is empty.

    Attributes:
        directory: the one looked into.
        broken: sentences on files that stay unreadable, and whatever else `slt run` would refuse.
    """

    def __init__(self, directory: Location) -> None:
        self.directory = directory
        self.broken: tuple[str, ...] = ()
        self._first_seen: dict[tuple[Location, Stamp], float] = {}
        self._unreadable: dict[str, float] = {}
        self._given: dict[int, Stamp] = {}
        self._next_look = float("-inf")

    @property
    def unfinished(self) -> bool:
        """Whether something is being written, as far as the last look could tell."""
        now = time.monotonic()
        return bool(self._first_seen) or any(now - since < QUIET for since in self._unreadable.values())

    def given(self, checkpoint: Checkpoint, stamp: Stamp) -> None:
        """A checkpoint that is known already, from an earlier session: it comes again only if it changed."""
        self._given[checkpoint.step] = stamp

    def look(self, *, at_once: bool = False) -> list[tuple[Checkpoint, Stamp]]:
        """The checkpoints that are complete and were not given before, in order of step.

        Args:
            at_once: look however short a while ago the last look was; without it, none are found then.
        """
        now = time.monotonic()
        if now < self._next_look and not at_once:
            return []
        found = self._found()
        first_seen: dict[tuple[Location, Stamp], float] = {}
        complete = []
        for checkpoint in found:
            stamp = stamp_of(checkpoint)
            if stamp is None or self._given.get(checkpoint.step) == stamp or not self._may_be_whole(checkpoint):
                continue
            since = self._first_seen.get((checkpoint.path, stamp), now)
            if now - since >= SETTLES:
                self._given[checkpoint.step] = stamp
                complete.append((checkpoint, stamp))
            else:
                first_seen[checkpoint.path, stamp] = since
        self._first_seen = first_seen
        took = time.monotonic() - now
        self._next_look = time.monotonic() + max(SETTLES, took * (1 / SHARE - 1))
        return complete

    def _found(self) -> CheckpointSequence:
        now = time.monotonic()
        try:
            found = discover(self.directory)
        except (NoCheckpoints, OSError):  # not there yet, or a file went away while it was looked at
            return CheckpointSequence(self.directory, ())
        unreadable = {str(fault) for fault in found.faults if isinstance(fault, UnreadableCheckpoint)}
        self._unreadable = {sentence: self._unreadable.get(sentence, now) for sentence in unreadable}
        broken = [sentence for sentence, since in self._unreadable.items() if now - since >= QUIET]
        others = [str(fault) for fault in found.faults if str(fault) not in unreadable]
        self.broken = (*sorted(broken), *others)
        return found

    def _may_be_whole(self, checkpoint: Checkpoint) -> bool:
        parts = str(checkpoint.path)[len(str(self.directory)) :].split("/")
        return not any(_TEMPORARY.search(part) for part in parts) and not _SHARD.search(parts[-1])


def stamp_of(checkpoint: Checkpoint) -> Stamp | None:
    """Size and time of change, None if it has gone."""
    try:
        return checkpoint.bytes, round(modified(checkpoint.path) * 1e9)
    except OSError:
        return None
