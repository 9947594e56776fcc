"""The tables of a job folder while its units still come in: the same files as at the end, over what is there so far."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType

from estimators.sampler import SamplerConfig
from slt.errors import SltError
from slt.online import OnlineDetector, Settled
from slt.stages import Stages
from workers.job import StageSettings
from workers.results import Row, curves_of, detect, row_of, same_boundary, write_curves
from workers.store import JobFolder
from workers.units import Unit

BETWEEN = 2.0
"""Seconds at least from one rewriting to the next, and SHARE of the time at most is spent on it."""
SHARE = 0.1
BURST = 1.0
"""Seconds after which what was read is written, however much is left to read."""


class TablesSoFar:
    """Rewrites trajectory.csv, measures.csv and stages.json within a `with` block, from a thread of its own.

    The work goes on meanwhile, and what follows the block writes the final files over these. After an exception nothing
    follows: then they are written once more, with all that was finished.

    Args:
        settings: of the detector.
        folder: of the job, with the units that `take` names.
        step_unit: of the checkpoints.
        online: whether checkpoints arrive in the course of training, so that boundaries settle.

    Attributes:
        stages: of what was there when the tables were last written; None while that is too little.
        settled: the boundaries that further checkpoints will not take back; none without `online`.
    """

    def __init__(self, settings: StageSettings, folder: JobFolder, step_unit: str, *, online: bool = False) -> None:
        self.stages: Stages | None = None
        self.settled: tuple[Settled, ...] = ()
        self._settings, self._folder, self._step_unit = settings, folder, step_unit
        self._unread: deque[Unit] = deque()
        self._rows: dict[int, Row] = {}
        self._sampler: SamplerConfig
        self._settling = Settling(settings) if online else None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_writing, name="tables so far", daemon=True)

    def expect(self, step: int) -> None:
        """A checkpoint is to be estimated: no boundary settles on later ones before it is."""
        if self._settling:
            self._settling.expected.append(step)

    def take(self, unit: Unit) -> None:
        """A unit is finished; those of refined LLCs have no place in these tables."""
        if unit.problem.refinement is None:
            self._unread.append(unit)

    def __enter__(self) -> TablesSoFar:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()
        if error is not None and self._unread:
            with suppress(SltError):
                self._rewrite(float("inf"))

    def _keep_writing(self) -> None:
        wait = BETWEEN
        while not self._ended.wait(wait):
            started = time.monotonic()
            if self._unread or (self._settling and self._settling.behind):
                with suppress(SltError):  # what cannot be written or read here cannot at the end, and is said there
                    self._rewrite(started + BURST)
            wait = max(BETWEEN, (time.monotonic() - started) * (1 / SHARE - 1))

    def _rewrite(self, deadline: float) -> None:
        while self._unread and time.monotonic() < deadline:
            unit = self._unread.popleft()
            self._sampler = unit.sampler
            entries = self._folder.load_unit(unit.key).entries
            for checkpoint, entry in zip(unit.checkpoints, entries, strict=True):
                self._rows[checkpoint.step] = row_of(checkpoint, entry, unit.sampler)
        trajectory, measures = curves_of(self._rows.values(), self._sampler, self._step_unit)
        write_curves(trajectory, measures, self._folder)
        if self._settling and not self._ended.is_set():
            self.settled = self._settling.feed(self._rows, deadline)
        self.stages = detect(self._settings, trajectory, self._folder, self.settled if self._settling else None)


class Settling:
    """The online detector, fed in order of step; with a late checkpoint all over again, and nothing is taken back."""

    def __init__(self, settings: StageSettings) -> None:
        self.expected: deque[int] = deque()
        self.behind = False
        self._settings = settings
        self._settled: tuple[Settled, ...] = ()
        self._begin()

    def _begin(self) -> None:
        self._detector = OnlineDetector(axis=self._settings.axis, seed=self._settings.seed)
        self._fed: list[int] = []

    def feed(self, rows: Mapping[int, Row], deadline: float) -> tuple[Settled, ...]:
        """Feed what is there up to the first checkpoint that is still under way, as far as time allows."""
        under_way = [step for step in tuple(self.expected) if step not in rows]
        ready = sorted(step for step in rows if step < min(under_way, default=step + 1))
        if ready[: len(self._fed)] != self._fed:
            self._begin()
        for step in ready[len(self._fed) :]:
            estimate = rows[step].estimate
            self._detector.update(step, estimate.llc, estimate.llc_chains)
            self._fed.append(step)
            if time.monotonic() > deadline:
                break
        self.behind = len(self._fed) < len(ready)
        known = [settled.boundary for settled in self._settled]
        fresh = [new for new in self._detector.settled if not any(same_boundary(new.boundary, old) for old in known)]
        self._settled = tuple(sorted((*self._settled, *fresh), key=lambda settled: settled.boundary.step))
        return self._settled
