"""The bench's work, in pieces that any process can do, and the knobs that the even seeds choose."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from multiprocessing import get_context

from benchmarks.stages.cells import Floats, Spec, curve
from benchmarks.stages.changepoints import KERNEL, PELT, RBEAST
from benchmarks.stages.methods import OURS, Found, Method
from benchmarks.stages.scores import Counts, count, total
from benchmarks.stages.smoothers import GAUSSIAN_PROCESS, SPLINE

METHODS = {method.name: method for method in (OURS, PELT, KERNEL, RBEAST, GAUSSIAN_PROCESS, SPLINE)}


@dataclass(frozen=True)
class Task:
    """One fit: a method with one of its knobs, on one curve."""

    method: str
    spec: Spec
    knob: int = 0


@dataclass(frozen=True, eq=False)
class Outcome:
    """What each reading of one fit found, the truth, and the processor time that the fit took."""

    found: tuple[Found, ...]
    boundaries: Floats
    onsets: Floats
    seconds: float


def fit(task: Task) -> Outcome:
    """Do one task."""
    method, known = METHODS[task.method], curve(task.spec)
    start = time.process_time()
    found = method.find(known, **method.knobs[task.knob])
    return Outcome(found, known.boundaries, known.onsets, time.process_time() - start)


def run(tasks: Iterable[Task], processes: int, done: Callable[[int], None]) -> dict[Task, Outcome]:
    """Do all tasks, each once; `done` is told of every chunk."""
    todo = list(dict.fromkeys(tasks))
    chunks = [todo[first : first + CHUNK] for first in range(0, len(todo), CHUNK)]
    outcomes: dict[Task, Outcome] = {}
    with get_context("spawn").Pool(processes) as pool:
        for chunk, answers in zip(chunks, pool.imap(_fit_all, chunks), strict=True):
            outcomes.update(zip(chunk, answers, strict=True))
            done(len(chunk))
    return outcomes


CHUNK = 10


def _fit_all(tasks: list[Task]) -> list[Outcome]:
    return [fit(task) for task in tasks]


def landmarks(spec: Spec, outcome: Outcome, reading: int = 0) -> tuple[Floats, Floats]:
    """(found, true) of what a family is scored on: onsets of a staircase, whose rests have no middle to speak of."""
    found = outcome.found[reading]
    if spec.family in ("ramps", "jumps"):
        return found.onsets, outcome.onsets
    return found.boundaries, outcome.boundaries


def counts(spec: Spec, outcome: Outcome, reading: int = 0) -> Counts:
    """Right, found and true landmarks of one curve."""
    return count(*landmarks(spec, outcome, reading))


@dataclass(frozen=True)
class Chosen:
    """A method with the knob and reading that were best on the even seeds."""

    method: Method
    knob: int
    reading: int


def tuning(specs: Iterable[Spec]) -> list[Task]:
    """Every method with every knob on the curves that choose between them."""
    listed = list(specs)
    return [Task(m.name, spec, knob) for m in METHODS.values() for knob in range(len(m.knobs)) for spec in listed]


def choose(outcomes: Mapping[Task, Outcome], methods: Iterable[Method]) -> list[Chosen]:
    """For each method, the knob and reading of the greatest F1 pooled over all curves, nulls among them."""
    chosen = []
    for method in methods:
        candidates = [Chosen(method, knob, r) for knob in range(len(method.knobs)) for r in range(len(method.readings))]

        def f1(candidate: Chosen) -> float:
            fits = [
                (task.spec, outcome)
                for task, outcome in outcomes.items()
                if (task.method, task.knob) == (candidate.method.name, candidate.knob)
            ]
            return total([counts(spec, outcome, candidate.reading) for spec, outcome in fits]).f1

        chosen.append(max(candidates, key=f1))
    return chosen
