"""The tables of a job folder while its units still come in: the same files as at the end, over what is there so far."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import TracebackType

from estimators.sampler import SamplerConfig
from slt.errors import SltError
from slt.online import OnlineDetector, Settled
from slt.stages import Stages
from slt.trajectory import Trajectory
from workers.detection import detect, same_boundary
from workers.job import StageSettings
from workers.results import Row, curves_of, row_of, write_curves
from workers.store import JobFolder
from workers.units import Unit

BETWEEN = 2.0
"""Seconds at least from one rewriting to the next."""
LOOK = 0.5
"""Seconds between looks at what has come in."""
SHARE_OF_CURVES, SHARE_OF_STAGES = 0.02, 0.08
"""Processor time over time passed, at most: curves are quick to write, stages take their time to detect."""
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
        step_unit: of the checkpoints; may be set until the first unit is taken.
        stages: of what was there when the tables were last written; None while that is too little.
        settled: the boundaries that further checkpoints will not take back; none without `online`.
    """

    def __init__(self, settings: StageSettings, folder: JobFolder, step_unit: str, *, online: bool = False) -> None:
        self.stages: Stages | None = None
        self.settled: tuple[Settled, ...] = ()
        self._settings, self._folder, self.step_unit = settings, folder, step_unit
        self._unread: deque[Unit] = deque()
        self._rows: dict[int, Row] = {}
        self._sampler: SamplerConfig
        self._trajectory: Trajectory
        self._undetected = False
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
        if error is not None and (self._unread or self._undetected):
            with suppress(SltError):
                self._write_curves(float("inf"))
                self._write_stages(float("inf"))

    def _keep_writing(self) -> None:
        curves, stages = Pace(SHARE_OF_CURVES), Pace(SHARE_OF_STAGES)
        while not self._ended.wait(min(LOOK, BETWEEN)):
            with suppress(SltError):  # what cannot be written or read here cannot at the end, and is said there
                if self._unread and curves.due:
                    with curves.kept():
                        self._write_curves(time.monotonic() + BURST)
                if (self._undetected or (self._settling and self._settling.behind)) and stages.due:
                    with stages.kept():
                        self._write_stages(time.monotonic() + BURST)

    def _write_curves(self, deadline: float) -> None:
        while self._unread and time.monotonic() < deadline:
            unit = self._unread.popleft()
            self._sampler = unit.sampler
            entries = self._folder.load_unit(unit.key).entries
            for checkpoint, entry in zip(unit.checkpoints, entries, strict=True):
                self._rows[checkpoint.step] = row_of(checkpoint, entry, unit.sampler)
        self._trajectory, measures = curves_of(self._rows.values(), self._sampler, self.step_unit)
        self._undetected = True
        write_curves(self._trajectory, measures, self._folder)

    def _write_stages(self, deadline: float) -> None:
        if self._settling and not self._ended.is_set():
            self.settled = self._settling.feed(self._rows, deadline)
        self._undetected = False
        found = detect(self._settings, self._trajectory, self._folder, self.settled if self._settling else None)
        self.stages = found.stages if found else None


class Pace:
    """How often something is done: at least BETWEEN seconds apart, and for a share of the time at most."""

    def __init__(self, share: float) -> None:
        self._share, self._first = share, True
        self._next = time.monotonic() + BETWEEN

    @property
    def due(self) -> bool:
        """Whether it may be done again."""
        return time.monotonic() >= self._next

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Around what is done."""
        started = time.thread_time()  # others may keep the processor busy meanwhile
        try:
            yield
        finally:
            spent = 0.0 if self._first else time.thread_time() - started  # the first time pays for imports
            self._first = False
            self._next = time.monotonic() + max(BETWEEN, spent * (1 / self._share - 1))


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
