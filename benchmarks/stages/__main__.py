"""`python -m benchmarks.stages [--quick]`: score the stage detector and its peers, write benchmarks/STAGES.md."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: a curve is timed on one core, and processes share them

from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks.stages.figures import Scores
from benchmarks.stages.online import online
from benchmarks.stages.others import LinearRun, event_test, linear_run, seconds_per_curve
from benchmarks.stages.plan import FULL, QUICK, Plan
from benchmarks.stages.report import Bench, markdown, marks_table
from benchmarks.stages.work import METHODS, Outcome, Task, choose, run, tuning

RESULTS = Path(__file__).resolve().parents[1] / "STAGES.md"


def main() -> None:
    options = _options()
    started = time.perf_counter()
    plan = Plan(QUICK if options.quick else FULL)
    columns = (TextColumn("{task.description:24}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True)) as progress:

        def fitted(label: str, tasks: list[Task]) -> dict[Task, Outcome]:
            bar = progress.add_task(label, total=len(dict.fromkeys(tasks)))
            return run(tasks, options.processes, lambda done: progress.advance(bar, done))

        chosen = choose(fitted("set knobs, even seeds", tuning(plan.tuned)), METHODS.values())
        outcomes = fitted("score, odd seeds", plan.scoring(chosen))
        linear = _linear_runs(plan.size.linear if options.linear is None else options.linear, progress)
        rest = progress.add_task("online, event test, times", total=3)
        live = online(plan.size.online, options.processes)
        progress.advance(rest)
        events = event_test(plan.size.events)
        progress.advance(rest)
        times = seconds_per_curve()
        progress.advance(rest)
    scores = [Scores(plan, each, outcomes) for each in chosen]
    bench = Bench(scores, events, times, linear, live, (time.perf_counter() - started) / 60, options.processes)
    out = options.out or (None if options.quick else RESULTS)
    Console().print(Markdown(marks_table(bench.rows) if out else markdown(bench)))
    if out:
        out.write_text(markdown(bench), encoding="utf-8")
        Console().print(f"All figures: {out}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a minute's worth of curves; prints, writes nothing")
    parser.add_argument("--processes", type=int, default=2, help="default 2")
    parser.add_argument("--linear", type=int, help="linear networks to train; default 3, with --quick 0")
    parser.add_argument("--out", type=Path, help="write the report there; default benchmarks/STAGES.md, unless --quick")
    return parser.parse_args()


def _linear_runs(count: int, progress: Progress) -> list[LinearRun]:
    if not count:
        return []
    bar = progress.add_task("linear networks", total=None)

    def show(seed: int) -> Callable[[int, int, str], None]:
        def told(done: int, total: int, label: str) -> None:
            progress.update(bar, description=f"linear network {seed}", completed=done, total=total)

        return told

    return [linear_run(seed, show(seed)) for seed in range(count)]


if __name__ == "__main__":
    main()
