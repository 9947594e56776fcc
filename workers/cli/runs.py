"""Commands on runs and job folders: train, inspect, run, calibrate, report."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workers.cli.app import FAILED_ITEMS, INTERRUPTED, AsJson, Place, Set, app, folder_here, path, print_json, say

if TYPE_CHECKING:
    from workers.pipeline import Summary


@app.command(epilog="Example: `slt train linear_network --out runs/linear --seed 1 --set width=8`")
def train(
    problem: Annotated[str, typer.Argument(help="A built-in problem: modular_addition or linear_network.")],
    out: Annotated[Path, typer.Option(parser=folder_here, help="Folder for checkpoints, events.csv and training.csv.")],
    seed: Annotated[int, typer.Option(min=0, help="Seed of data and training.")] = 0,
    settings: Set = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an earlier training run in the folder.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train a built-in problem with a known story, saving checkpoints at log-spaced steps and its events."""
    from estimators.problems import train as train_problem
    from workers.console import progress_on_stderr
    from workers.job import parse_assignment

    arguments = dict(parse_assignment(text) for text in settings or [])
    sentence = f"Interrupted. The checkpoints so far are in {out}; begin again with --overwrite."
    with _interrupted(sentence), progress_on_stderr() as phase:
        train_problem(problem, out, arguments, seed, phase("training"), overwrite=overwrite)
    checkpoints = len(list(out.glob("step_*.safetensors")))
    if as_json:
        print_json({"out": str(out), "problem": problem, "seed": seed, "checkpoints": checkpoints})
    else:
        typer.echo(f"{checkpoints} checkpoints, with events.csv and training.csv, in {out}")


@app.command(epilog="Example: `slt inspect runs/grokking`")
def inspect(
    directory: Annotated[Place, typer.Argument(parser=path, help="A directory of checkpoints.")],
    as_json: AsJson = False,
) -> None:
    """List the checkpoints that `slt run` would use, with their steps, and what is wrong with them."""
    from estimators.checkpoints import discover
    from workers.tables import print_checkpoints

    sequence = discover(directory)
    if as_json:
        print_json(sequence.to_dict())
    else:
        print_checkpoints(sequence.to_dict())
    sequence.require_usable()


@app.command(
    epilog="""Examples: `slt run configs/grokking.yaml`

    `slt run job.yaml --set sampler.chains=8 --set sampler.step_size=1e-4 --out results/more-chains`

    `slt run job.yaml --address ray://head:10001`

    Run again after an interruption: only what is missing is computed. All paths, in the job file too, are relative
    to the current directory."""
)
def run(
    job_file: Annotated[Place, typer.Argument(parser=path, metavar="JOB.yaml", help="The job file.")],
    settings: Set = None,
    out: Annotated[Place | None, typer.Option(parser=path, help="Job folder, in place of the job file's own.")] = None,
    serial: Annotated[bool, typer.Option("--serial", help="Compute in this process, without Ray.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Units at once; by default all cores.")] = None,
    address: Annotated[
        str | None, typer.Option(envvar="RAY_ADDRESS", help="A running Ray cluster; by default a local Ray is started.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Estimate, detect stages, compare with events and write the report: one job from start to end."""
    from workers.console import progress_on_stderr
    from workers.job import read_job

    job = read_job(job_file, settings or (), out)
    from workers.pipeline import make_executor, run_job

    with _interrupted(_kept(job.out)), progress_on_stderr() as phase:
        summary = run_job(job, make_executor(job, serial=serial, workers=workers, address=address), phase)
    _end(summary, as_json)


@app.command(
    "watch-dir",
    epilog="""Examples: `slt watch-dir runs/grokking configs/grokking.yaml`

    `slt watch-dir runs/grokking configs/grokking.yaml --until 20000 --idle 600`

    A unit of work holds one checkpoint, unless the job says otherwise. Started again, it goes on where it was; and
    `slt run JOBDIR/job.yaml`, with the job.yaml that it leaves in its folder, reuses all that it computed.""",
)
def watch_dir(
    directory: Annotated[
        Place, typer.Argument(parser=path, metavar="DIR", help="The directory that a training run writes to.")
    ],
    job_file: Annotated[Place, typer.Argument(parser=path, metavar="JOB.yaml", help="The job file.")],
    settings: Set = None,
    idle: Annotated[
        float | None, typer.Option(min=0, help="End when no checkpoint has come for so many seconds; else never.")
    ] = None,
    until: Annotated[float | None, typer.Option(help="End when a checkpoint of this step, or later, is there.")] = None,
    out: Annotated[Place | None, typer.Option(parser=path, help="Job folder, in place of the job file's own.")] = None,
    serial: Annotated[bool, typer.Option("--serial", help="Compute in this process, without Ray.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Units at once; by default all cores.")] = None,
    address: Annotated[
        str | None, typer.Option(envvar="RAY_ADDRESS", help="A running Ray cluster; by default a local Ray is started.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Follow a directory that training still writes: estimate each checkpoint once it is complete, settle boundaries.

    Ctrl-C or SIGTERM ends it too, with tables, stages, comparison and report over what was estimated by then.
    """
    from workers.console import progress_on_stderr
    from workers.job import read_job

    job = read_job(job_file, settings or (), out, directory)
    from workers.pipeline import make_executor
    from workers.watch import Ending, watch

    with _interrupted(_kept(job.out)), progress_on_stderr() as phase:
        executor = make_executor(job, serial=serial, workers=workers, address=address)
        summary = watch(job, executor, phase, Ending(idle, until))
    _end(summary, as_json)


@contextmanager
def _interrupted(sentence: str) -> Iterator[None]:
    """Ctrl-C and SIGTERM, with which clusters and `timeout` interrupt, end in a sentence."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        say(sentence)
        raise typer.Exit(INTERRUPTED) from None


def _kept(out: object) -> str:
    return f"Interrupted. What is finished is kept in {out}; run the same command again to go on."


def _end(summary: Summary, as_json: bool) -> None:
    for remark in summary.remarks:
        say(remark)
    if as_json:
        print_json(summary.to_dict())
    else:
        from workers.tables import print_summary

        print_summary(summary)
    raise typer.Exit(FAILED_ITEMS if summary.failed_items else 0)


@app.command(
    epilog="""Examples: `slt calibrate job.yaml`

    `slt calibrate job.yaml --set sampler.reference=self --out results/trial`

    A setting that the job gives as a number stays; if it gives all of them, all are chosen anew. `slt run` with
    automatic settings does the same by itself, and reuses what is here."""
)
def calibrate(
    job_file: Annotated[Place, typer.Argument(parser=path, metavar="JOB.yaml", help="The job file.")],
    settings: Set = None,
    out: Annotated[Place | None, typer.Option(parser=path, help="Job folder, in place of the job file's own.")] = None,
    as_json: AsJson = False,
) -> None:
    """Choose one set of sampler settings for all checkpoints, and say why, from short runs at a handful of them."""
    from workers.calibration import all_automatic
    from workers.console import progress_on_stderr
    from workers.job import read_job

    job = all_automatic(read_job(job_file, settings or (), out))
    from workers.plan import prepare
    from workers.store import JobFolder

    sentence = "Interrupted. Nothing was chosen; run the same command again."
    with _interrupted(sentence), progress_on_stderr() as phase:
        found = prepare(job, JobFolder(job.out), phase).calibration
    if as_json:
        print_json(found)
    else:
        from workers.tables import print_calibration

        print_calibration(found or {}, job.out)


@app.command(epilog="Example: `slt report results/grokking`")
def report(
    job_folder: Annotated[Place, typer.Argument(parser=path, metavar="JOBDIR", help="A folder made by slt run.")],
    as_json: AsJson = False,
) -> None:
    """Write the report of a job folder again, with its figures."""
    from workers.report import write_report

    page = write_report(job_folder)
    if as_json:
        print_json({"report": str(page)})
    else:
        typer.echo(str(page))
