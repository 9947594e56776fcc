"""benchmarks/STAGES.md: every figure of the bench, and the machine that gave it."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from math import isnan
from pathlib import Path

from benchmarks.stages.cells import NOISES, POINTS, UNSEEN
from benchmarks.stages.changepoints import SAMPLES
from benchmarks.stages.figures import Figure, Scores
from benchmarks.stages.marks import TOLERANCE_SENTENCE, Row, fine, percent, rows
from benchmarks.stages.online import Online, sentence
from benchmarks.stages.others import CLOSE, EventTest, LinearRun
from benchmarks.stages.scores import total
from slt.caveats import RANGE_IN_NOISE

NULLS = (
    f"Nulls with a boundary. Few can have one by the rule that a curve within {RANGE_IN_NOISE:g} noise levels has only "
    "tentative boundaries, which no peer has; false boundaries on top of a real change show in the precision:"
)


@dataclass(frozen=True, eq=False)
class Bench:
    """All that was measured: the scores of each method (ours first) and the rest."""

    scores: Sequence[Scores]
    events: EventTest
    times: dict[str, float]
    linear: Sequence[LinearRun]
    online: Online
    minutes: float
    processes: int

    @property
    def ours(self) -> Scores:
        return self.scores[0]

    @property
    def rows(self) -> list[Row]:
        return rows(self.ours, self.scores[1:], self.events, self.times, self.online)


def markdown(bench: Bench) -> str:
    """The whole file."""
    parts = [
        "# The stage detector on the bench\n\nWritten by `make bench-stages`; not to be edited. " + _method(bench),
        "## Marks\n\n" + marks_table(bench.rows),
        "## Us and the peers\n\n" + _peers(bench.scores),
        "## Agreement with itself\n\n" + _agreement(bench.scores),
        "## Where it is good and where not\n\n" + _cells(bench.ours),
        "## Probabilities and intervals\n\n" + _probabilities(bench.ours),
        "## Comparison with events\n\n" + _events(bench.events),
        "## Online\n\n" + sentence(bench.online),
        "## Linear networks\n\n" + _linear(bench.linear),
        "## Machine\n\n" + machine(bench),
    ]
    return "\n\n".join(parts) + "\n"


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A markdown table."""
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, ["---"] * len(header), *lines))


def marks_table(listed: Sequence[Row]) -> str:
    """What must be reached, and whether it is."""
    header = ["what", "ours", "must reach", "aim", "reached"]
    return table(header, [[row.what, row.ours, row.must, row.aimed, row.verdict] for row in listed])


def _show(figure: Figure, form: str = ".3f") -> str:
    return format(figure.value, form) + ("" if isnan(figure.error) else f" ± {figure.error:{form}}")


def _method(bench: Bench) -> str:
    size = bench.ours.plan.size
    return (
        f"{TOLERANCE_SENTENCE} Smooth curves are scored on boundaries, ramps and jumps on onsets (a level rest has no "
        f"point that is its boundary), the first included. Cells: noise {', '.join(percent(v) for v in NOISES)} of the "
        f"range x {', '.join(map(str, POINTS))} checkpoints; {size.smooth} smooth curves, {size.stairs} ramps and "
        f"{size.stairs} jumps a cell, {size.nulls} nulls of each kind and number of checkpoints. Counts are pooled "
        "over curves; ± is a standard error over curves (jackknife). The knobs of every method, and how its output is "
        "read, are those with the greatest F1 over smooth curves, ramps, jumps and nulls with even seeds; scored are "
        f"odd seeds above {UNSEEN:,}. Ours has no knob: all defaults. Its constants were set by hand, with curves of "
        "smaller seeds and the published curve in view: F1 on that curve is no test. A row is reached if its value "
        "is, whatever its error."
    )


def _peers(scores: Sequence[Scores]) -> str:
    plan = scores[0].plan
    answers = [*plan.smooth, *plan.ramps, *plan.jumps]
    noise = {name: plan.for_peers(specs) for name, specs in plan.noise.items()}
    largest = [spec for spec in plan.smooth if spec.sampling.points == max(POINTS)]
    lines, settings = [], []
    for score in scores:
        pooled = total(score.counts(answers))
        hausdorff, covering = score.partition(answers)
        published = fine(score.published(plan.published[0]).f1) if plan.published else "not measured"
        by_family = [fine(score.f1(specs).value) for specs in (plan.smooth, plan.ramps, plan.jumps)]
        lines.append(
            [score.chosen.method.name, _show(score.f1(answers)), *by_family]
            + [fine(value) for value in (pooled.precision, pooled.recall, hausdorff, covering)]
            + [percent(score.false_alarms(specs).value) for specs in noise.values()]
            + [published, f"{score.milliseconds(largest):.0f}"]
        )
        settings.append(
            [score.chosen.method.name, score.chosen.method.setting(score.chosen.knob, score.chosen.reading)]
        )
    header = [
        "method",
        "F1 pooled",
        "smooth",
        "ramps",
        "jumps",
        "precision",
        "recall",
        "Hausdorff, decades",
        "covering",
    ]
    header += [*(f"nulls, {name}" for name in noise), "published F1", f"ms a curve, n = {max(POINTS)}"]
    return (
        f"The same {len(answers)} curves and {sum(map(len, noise.values()))} nulls for every method. Change points "
        "are read as kindly as can be: as they are, as the middles of what lies between them, or as the middles of the "
        f"pieces slower than both neighbours. Rbeast with {SAMPLES} samples in each of 3 chains; its change points' "
        "probabilities are a threshold to be set. The Gaussian process is the published procedure with its noise "
        "fitted. Times are of one thread's processor, for all readings of a method together.\n\n"
        + table(header, lines)
        + "\n\nChosen on the even seeds:\n\n"
        + table(["method", "setting"], settings)
    )


def _agreement(scores: Sequence[Scores]) -> str:
    plan = scores[0].plan
    lines = [
        [s.chosen.method.name]
        + [_show(s.agreement(plan.repeated, change)) for change in ("half chains", "thinned", "noisier")]
        for s in scores
    ]
    return (
        f"F1 of the boundaries after a change against those before it, {len(plan.repeated)} smooth curves with 1 % "
        "noise, 100 and 200 checkpoints, 8 chains (frozen offsets, or noise of their own). A method that always "
        "finds nothing agrees with itself: read beside the table above.\n\n"
        + table(["method", "half of the chains", "every second checkpoint", "twice the noise"], lines)
    )


def _cells(ours: Scores) -> str:
    plan = ours.plan
    lines = []
    for noise in NOISES:
        line = [percent(noise)]
        for specs in (plan.smooth, plan.ramps, plan.jumps):
            for points in POINTS:
                cell = [s for s in specs if (s.sampling.noise, s.sampling.points) == (noise, points)]
                line.append(f"{ours.f1(cell).value:.2f}")
        lines.append(line)
    header = ["noise", *(f"{family}, n = {points}" for family in ("smooth", "ramps", "jumps") for points in POINTS)]
    false = [
        [kind]
        + [percent(ours.false_alarms([s for s in specs if s.sampling.points == points]).value) for points in POINTS]
        for kind, specs in plan.noise.items()
    ]
    other = [
        [name, _show(ours.f1(specs)), fine(total(ours.counts(specs)).precision), fine(total(ours.counts(specs)).recall)]
        for name, specs in plan.harder.items()
    ]
    return (
        "F1 by cell:\n\n"
        + table(header, lines)
        + f"\n\n{NULLS}\n\n"
        + table(["noise", *(f"n = {points}" for points in POINTS)], false)
        + "\n\nSmooth curves at 1 % noise and 100 checkpoints, with what the cells leave out:\n\n"
        + table(["what", "F1", "precision", "recall"], other)
    )


def _probabilities(ours: Scores) -> str:
    plan = ours.plan
    bins = [
        [f"{b.low:g} to {b.high:g}", str(b.claims), f"{b.stated:.2f}", f"{b.observed:.2f}"]
        for b in ours.calibration(plan.smooth)
    ]
    held = [
        ["boundaries, smooth", _show(ours.coverage(plan.smooth, "boundary"))],
        ["onsets, smooth", _show(ours.coverage(plan.smooth, "onset"))],
        ["onsets, ramps", _show(ours.coverage(plan.ramps, "onset"))],
        ["onsets, jumps", _show(ours.coverage(plan.jumps, "onset"))],
    ]
    return (
        "Boundaries of all smooth cells, the tentative ones too: the probability that is stated, and the share that "
        "lies near a true one.\n\n"
        + table(["probability", "boundaries", "stated, mean", "observed"], bins)
        + "\n\nShare of 90 % intervals that hold the truth, of landmarks within twice the tolerance of one:\n\n"
        + table(["landmarks", "covered"], held)
    )


def _events(events: EventTest) -> str:
    return (
        f"Simulated onsets (4 to 7) and events (4 or 5) that both crowd late, {events.runs} runs, the local jitter "
        f"test of `slt.comparison.compare`. Without a relation it gives p up to 0.05 in {_show(events.size)} of runs; "
        f"with every event within {CLOSE:g} decades of an onset, in {_show(events.power)}. With 2 events: "
        f'"{events.refusal}"'
    )


def _linear(runs: Sequence[LinearRun]) -> str:
    if not runs:
        return "Left out of this run."
    lines = [
        [
            str(run.seed),
            ", ".join(f"{step:,.0f}" for step in run.modes),
            ", ".join(f"{step:,.0f}" for step in run.boundaries),
            "yes" if run.one_mode_a_stage else "no",
        ]
        for run in runs
    ]
    return (
        "Deep linear networks trained from a small start learn one singular mode after the other. LLC against the "
        "checkpoint's own outputs, all defaults of the detector.\n\n"
        + table(["seed", "steps at which modes reach half", "boundaries", "every stage holds one mode"], lines)
    )


def machine(bench: Bench) -> str:
    """What it ran on, and for how long."""
    libraries = ("numpy", "scipy", "ruptures", "Rbeast", "torch")
    lines = [
        ["processor", _processor()],
        ["cores", f"{os.cpu_count()}, {bench.processes} used"],
        ["memory", f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"],
        ["system", f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"],
        ["libraries", ", ".join(f"{name} {_version(name)}" for name in libraries)],
        ["duration", f"{bench.minutes:.1f} minutes"],
    ]
    return table(["", ""], lines)


def _processor() -> str:
    known = Path("/proc/cpuinfo")
    named = [line for line in known.read_text().splitlines() if "model name" in line] if known.exists() else []
    return named[0].partition(":")[2].strip() if named else platform.processor() or platform.machine()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
