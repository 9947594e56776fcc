"""What has come out of an executor: kept in the job folder, counted, and passed on to the tables so far."""

from __future__ import annotations

from collections.abc import Sequence

from workers.executor import Failure, Outcome
from workers.so_far import TablesSoFar
from workers.store import JobFolder
from workers.units import Unit, UnitResult, require_seen


class Ledger:
    """Keeps what comes out of an executor, counts it, and tells whoever watches.

    Attributes:
        counts: units computed, reused and failed.
    """

    def __init__(self, folder: JobFolder, so_far: TablesSoFar) -> None:
        self.counts = {"computed": 0, "reused": 0, "failed": 0}
        self._folder, self._so_far = folder, so_far
        self._waiting: dict[str, list[Unit]] = {}

    @property
    def awaited(self) -> int:
        """How many units are out to be computed."""
        return len(self._waiting)

    def is_out(self, unit: Unit) -> bool:
        """Whether the unit is yet to be computed."""
        return unit.key in self._waiting

    def missing(self, units: Sequence[Unit]) -> list[Unit]:
        """The units that have to be computed: not those that the folder has, and of units on equal weights one."""
        missing = []
        for unit in units:
            if self._folder.is_done(unit.key):
                self._so_far.take(unit)
            elif unit.key in self._waiting:
                self._waiting[unit.key].append(unit)
            else:
                self._waiting[unit.key] = [unit]
                missing.append(unit)
        self.counts["reused"] += len(units) - len(missing)
        return missing

    def keep(self, outcome: Outcome[Unit, UnitResult]) -> None:
        """Keep one unit's numbers, or why it has none."""
        unit, result = outcome.item, outcome.result
        if isinstance(result, Failure):
            result = UnitResult((result,) * len(unit.checkpoints))
        require_seen(unit, result.failures)
        self._folder.save_unit(unit.key, result)
        self.counts["failed" if result.failures else "computed"] += 1
        for each in self._waiting.pop(unit.key):
            self._so_far.take(each)
