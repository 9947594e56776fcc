"""How work scales over Ray: overhead of a unit, speed-up of two workers, the driver's memory, and 100,000 units.

    python -m benchmarks.scaling [--only NAME ...] [--json]

overhead    2,000 items that do nothing, through `RayExecutor` on a local Ray: wall and processor time of the driver.
memory      10,000 items whose results are of a real unit's size: what the driver holds (resident) on its way.
speed_up    real units (SGLD on modular addition, p 53) with one and with two workers, Ray already started. The second
            column is what the machine itself gives: two processes with the same work and without Ray, over one.
card        items that ask for a card, of which each begins in a fresh process that imports torch.
reading     the share of a unit's time that reading and checking its checkpoints takes: what reading ahead hides.
crowd       1,000 nodes of 8 slots as the driver sees them: 100,000 items with 16,000 in flight all the time, handed to
            a real Ray, landed, saved as files in a job folder. Simulated is only the far side: two local workers
            return a real unit's numbers at once, so that what is timed is the driver, the owner of all tasks.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.real_units import CHAINS, alone, imported, real_units
from workers.executor import Failure, Outcome
from workers.store import JobFolder
from workers.units import CheckpointResult, UnitResult, compute_unit

STEPS = 400
CHECKPOINTS_OF_UNIT = 8
Row = tuple[str, str]


def nothing(item: int) -> int:
    return item


def one_checkpoint(item: int) -> UnitResult:
    """The numbers of a unit of one checkpoint, as of a model that fills a card."""
    draws = np.random.default_rng(item).normal(size=(CHAINS, STEPS))
    measures = {"loss": 1.0, "weight_norm": 1.0}
    each = np.ones(CHAINS)
    return UnitResult((CheckpointResult(draws, 1.0, each, each, 0.01 * each, n_samples=1000, measures=measures),), 1.0)


def of_real_size(item: int) -> UnitResult:
    """The numbers of one unit of eight checkpoints, of four chains and 400 draws each: 103 kB."""
    return UnitResult(tuple(one_checkpoint(item).entries[0] for _ in range(CHECKPOINTS_OF_UNIT)), 1.0)


@contextmanager
def local_ray(cores: int, gpus: int = 0) -> Iterator[Any]:
    from workers.ray_cluster import connect

    connect(None, cores, ())
    import ray

    if gpus:
        ray.shutdown()
        ray.init(address="local", num_cpus=cores, num_gpus=gpus, include_dashboard=False, log_to_driver=False)
    try:
        yield ray
    finally:
        ray.shutdown()


def through_ray(function: Callable[[Any], Any], items: Any, keep: Callable[..., None], **settings: Any) -> float:
    """Seconds that the executor takes, with workers that have imported all there is to import."""
    from workers.ray_executor import RayExecutor

    if not settings.get("gpus"):
        RayExecutor().run(imported, range(8), lambda outcome: None)
    started = time.perf_counter()
    RayExecutor(**settings).run(function, items, keep)
    return time.perf_counter() - started


def overhead(count: int = 2000) -> dict[str, Any]:
    with local_ray(2):
        seconds = busy = float("inf")
        for _ in range(3):
            before = time.process_time()
            seconds = min(seconds, through_ray(nothing, range(count), _require_result))
            busy = min(busy, time.process_time() - before)
    return {"items": count, "wall_ms": 1e3 * seconds / count, "driver_ms": 1e3 * busy / count}


def _require_result(outcome: Outcome[Any, Any]) -> None:
    if isinstance(outcome.result, Failure):
        raise RuntimeError(f"item failed: {outcome.result.error}")


def resident() -> float:
    """MB that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def memory(count: int = 10_000) -> dict[str, Any]:
    held: list[float] = []

    landed = itertools.count(1)

    def keep(outcome: Outcome[int, Any]) -> None:
        _require_result(outcome)
        if next(landed) % (count // 10) == 0:
            held.append(resident())

    with local_ray(2):
        through_ray(of_real_size, range(count), keep)
    return {"items": count, "mb": held, "growth_mb_per_1000": (held[-1] - held[0]) / (0.9 * count) * 1000}


def crowd(count: int = 100_000, in_flight: int = 16_000) -> dict[str, Any]:
    """The driver of a large job, with everything that it does for a unit."""
    with tempfile.TemporaryDirectory() as directory, local_ray(2):
        folder = JobFolder(Path(directory))
        folder.open()
        held, marks = [resident()], [time.perf_counter()]
        saving, landed = 0.0, itertools.count(1)

        def keep(outcome: Outcome[int, Any]) -> None:
            nonlocal saving
            _require_result(outcome)
            started = time.perf_counter()
            folder.save_unit(f"{outcome.item:032x}", outcome.result)
            saving += time.perf_counter() - started
            if next(landed) % (count // 10) == 0:
                held.append(resident())
                marks.append(time.perf_counter())

        before = time.process_time()
        seconds = through_ray(one_checkpoint, range(count), keep, workers=in_flight)
        busy = time.process_time() - before
        size = sum(path.stat().st_size for path in itertools.islice((Path(directory) / "units").iterdir(), 100)) / 100
    return {
        "items": count, "in_flight": in_flight, "wall_ms": 1e3 * seconds / count, "driver_ms": 1e3 * busy / count,
        "saving_ms": 1e3 * saving / count, "mb": held, "bytes_per_unit": size,
        "first_tenth_ms": 1e4 * (marks[1] - marks[0]) / count, "last_tenth_ms": 1e4 * (marks[-1] - marks[-2]) / count,
    }  # fmt: skip


def speed_up(checkpoints: int = 100, draws: int = 300, rounds: int = 2) -> dict[str, Any]:
    times: dict[str, list[float]] = {name: [] for name in ("one", "two", "alone_one", "alone_two")}
    with tempfile.TemporaryDirectory() as directory:
        units = real_units(Path(directory), checkpoints, draws)
        for _ in range(rounds):  # in turn, so that what else the machine does meets all of them
            with local_ray(2):
                for name, workers in (("one", 1), ("two", 2)):
                    through_ray(compute_unit, units[-2:], _require_result, workers=workers)  # the problem is built
                    times[name].append(through_ray(compute_unit, units, _require_result, workers=workers))
            times["alone_one"].append(alone([units]))
            times["alone_two"].append(alone([units[::2], units[1::2]]))
    best = {name: min(seconds) for name, seconds in times.items()}
    return {
        "units": len(units), "seconds": best, "speed_up": best["one"] / best["two"],
        "of_the_machine": best["alone_one"] / best["alone_two"],
    }  # fmt: skip


def card(count: int = 12) -> dict[str, Any]:
    with local_ray(2, gpus=2):
        fresh = through_ray(imported, range(count), _require_result, gpus=1)
        same = through_ray(imported, range(count), _require_result)
    return {"items": count, "fresh_s": fresh * 2 / count, "same_s": same * 2 / count}


def reading(draws: int = 300) -> dict[str, Any]:
    """Processor seconds, which other work on the machine does not touch."""
    from estimators.checkpoints import content_hash, load_fitting

    torch.set_num_threads(1)
    rows = {}
    with tempfile.TemporaryDirectory() as directory:
        units = real_units(Path(directory), 100, draws)
        for unit in (units[0], units[-1]):
            compute_unit(replace(unit, sampler=replace(unit.sampler, draws=2)))
            problem, _ = unit.problem.load()
            started = time.process_time()
            for each in unit.checkpoints:
                content_hash(load_fitting(each, problem.model, "modular_addition"))
            read = time.process_time() - started
            started = time.process_time()
            compute_unit(unit)
            rows[len(unit.checkpoints)] = {"read_s": read, "unit_s": time.process_time() - started}
    return {"units": rows, "share": max(row["read_s"] / row["unit_s"] for row in rows.values())}


PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "overhead": overhead,
    "memory": memory,
    "speed_up": speed_up,
    "card": card,
    "reading": reading,
    "crowd": crowd,
}


def rows(name: str, found: dict[str, Any]) -> list[Row]:
    """What of it a reader wants, in words and figures."""
    if name == "overhead":
        return [
            (f"overhead of a unit, {found['items']:,} of them: wall", f"{found['wall_ms']:.2f} ms"),
            ("  of it the driver's processor", f"{found['driver_ms']:.2f} ms"),
        ]
    if name == "memory":
        held = found["mb"]
        return [
            (f"driver's memory over {found['items']:,} units: after a tenth", f"{held[0]:.0f} MB"),
            ("  at the end", f"{held[-1]:.0f} MB"),
        ]
    if name == "speed_up":
        seconds = found["seconds"]
        return [
            (f"{found['units']} real units: one worker, two workers", f"{seconds['one']:.1f}, {seconds['two']:.1f} s"),
            ("  speed-up", f"{found['speed_up']:.2f}x"),
            ("  of two plain processes on this machine", f"{found['of_the_machine']:.2f}x"),
        ]
    if name == "card":
        return [
            ("a unit that asks for a card, two at once: begins in", f"{found['fresh_s']:.2f} s"),
            ("  a unit that asks for none", f"{found['same_s']:.2f} s"),
        ]
    if name == "reading":
        return [
            *(
                (f"a unit of {n} checkpoints: reading, all of it", f"{row['read_s']:.3f}, {row['unit_s']:.1f} s")
                for n, row in found["units"].items()
            ),
            ("  share of reading", f"{100 * found['share']:.1f} %"),
        ]
    return [
        (f"{found['items']:,} units, {found['in_flight']:,} in flight: wall a unit", f"{found['wall_ms']:.2f} ms"),
        ("  of it the driver's processor", f"{found['driver_ms']:.2f} ms"),
        ("  of it saving the unit's file", f"{found['saving_ms']:.2f} ms"),
        ("  in the first tenth, in the last", f"{found['first_tenth_ms']:.2f}, {found['last_tenth_ms']:.2f} ms"),
        ("  driver's memory before, most", f"{found['mb'][0]:.0f}, {max(found['mb']):.0f} MB"),
        ("  bytes of a unit's file", f"{found['bytes_per_unit']:,.0f}"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    options = parser.parse_args()
    found = {name: PARTS[name]() for name in options.only}
    if options.json:
        print(json.dumps(found, indent=2))
        return
    for name, result in found.items():
        for what, figure in rows(name, result):
            print(f"{what:66}{figure:>18}")


if __name__ == "__main__":
    main()
