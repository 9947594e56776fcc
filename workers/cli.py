"""The command `slt`: parses and prints, decides nothing. torch and ray are imported by the commands that need them."""

from __future__ import annotations

import importlib.metadata
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from slt.errors import BadInput, SltError

BAD_INPUT = 2
FAILED_ITEMS = 1
INTERRUPTED = 130


class _Commands(TyperGroup):
    """Errors raised on purpose are one line; anything else is a defect and keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except SltError as error:
            _say(f"Error: {error}")
            raise typer.Exit(BAD_INPUT if isinstance(error, BadInput) else FAILED_ITEMS) from None


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Which developmental stages did a training run pass through?

    Estimates the local learning coefficient (LLC) at every checkpoint of a directory, finds the stages of its
    trajectory, and compares them with dated events.
    """,
    epilog="""A first run: `slt train modular_addition --out runs/grokking`, then `slt run configs/grokking.yaml`.

    Exit codes: 0 all done, 1 finished with failed items, 2 bad input.""",
)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting; repeatable.")]


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"slt {importlib.metadata.version('slt-stages')}")
        raise typer.Exit()


@app.callback()
def _main(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None: ...


@app.command(epilog="Example: `slt train linear_network --out runs/linear --seed 1 --set width=8`")
def train(
    problem: Annotated[str, typer.Argument(help="A built-in problem: modular_addition or linear_network.")],
    out: Annotated[Path, typer.Option(help="Folder for checkpoints, events.csv and training.csv.")],
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
    with progress_on_stderr() as phase:
        train_problem(problem, out, arguments, seed, phase("training"), overwrite=overwrite)
    checkpoints = len(list(out.glob("step_*.safetensors")))
    if as_json:
        _print_json({"out": str(out), "problem": problem, "seed": seed, "checkpoints": checkpoints})
    else:
        typer.echo(f"{checkpoints} checkpoints, with events.csv and training.csv, in {out}")


@app.command(epilog="Example: `slt inspect runs/grokking`")
def inspect(
    directory: Annotated[Path, typer.Argument(help="A directory of checkpoints.")], as_json: AsJson = False
) -> None:
    """List the checkpoints that `slt run` would use, with their steps, and what is wrong with them."""
    from estimators.checkpoints import discover
    from workers.tables import print_checkpoints

    sequence = discover(directory)
    if as_json:
        _print_json(sequence.to_dict())
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
    job_file: Annotated[Path, typer.Argument(metavar="JOB.yaml", help="The job file.")],
    settings: Set = None,
    out: Annotated[Path | None, typer.Option(help="Job folder, in place of the job file's own.")] = None,
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

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clusters and `timeout` interrupt with it
    try:
        with progress_on_stderr() as phase:
            summary = run_job(job, make_executor(job, serial=serial, workers=workers, address=address), phase)
    except KeyboardInterrupt:
        _say(f"Interrupted. What is finished is kept in {job.out}; run the same command again to go on.")
        raise typer.Exit(INTERRUPTED) from None
    if as_json:
        _print_json(summary.to_dict())
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
    job_file: Annotated[Path, typer.Argument(metavar="JOB.yaml", help="The job file.")],
    settings: Set = None,
    out: Annotated[Path | None, typer.Option(help="Job folder, in place of the job file's own.")] = None,
    as_json: AsJson = False,
) -> None:
    """Choose one set of sampler settings for all checkpoints, and say why, from short runs at a handful of them."""
    from workers.calibration import all_automatic
    from workers.console import progress_on_stderr
    from workers.job import read_job

    job = all_automatic(read_job(job_file, settings or (), out))
    from workers.plan import prepare
    from workers.store import JobFolder

    with progress_on_stderr() as phase:
        found = prepare(job, JobFolder(job.out), phase).calibration
    if as_json:
        _print_json(found)
    else:
        from workers.tables import print_calibration

        print_calibration(found or {}, job.out)


@app.command(
    epilog="""Examples: `slt stages results/grokking/trajectory.csv --json`

    `slt stages curves.csv --value llc --gauge llc_attention --gauge test_loss`"""
)
def stages(
    table: Annotated[Path, typer.Argument(metavar="FILE.csv", help="Columns step, llc and, where there, llc_chain_*.")],
    value: Annotated[str, typer.Option(help="Column that holds the curve.")] = "llc",
    gauge: Annotated[
        list[str] | None,
        typer.Option("--gauge", metavar="COLUMN", help="Another curve of the table: which sees which boundary?"),
    ] = None,
    second_opinion: Annotated[
        bool, typer.Option("--second-opinion", help="Mark boundaries that a Gaussian process sees too.")
    ] = False,
    advice: Annotated[
        bool, typer.Option("--advice", help="List the steps at which checkpoints or draws would sharpen a boundary.")
    ] = False,
    false_boundaries: Annotated[
        float | None,
        typer.Option(help="Sensitivity: boundaries expected on a curve of noise alone; by default under 0.002."),
    ] = None,
    axis: Annotated[str, typer.Option(help="Axis of time: log or linear.")] = "log",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the detector's draws.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Also write the stages here, for `slt compare`.")] = None,
    as_json: AsJson = False,
) -> None:
    """Detect the stages of a curve in a CSV table."""
    from slt.advice import advise
    from slt.gauges import gauges
    from slt.second_opinion import confirmed
    from slt.second_opinion import second_opinion as gaussian_process
    from slt.sensitivity import DEFAULT, probability_for
    from slt.stages import detect_stages
    from slt.trajectory import Trajectory

    trajectory = Trajectory.from_csv(table, value=value)
    probability = DEFAULT if false_boundaries is None else probability_for(false_boundaries)
    found = detect_stages(trajectory, axis=axis, seed=seed, probability=probability)
    document = found.to_dict()
    if second_opinion:
        agreed = confirmed(found, gaussian_process(trajectory, axis=axis))
        for boundary, flag in zip(document["boundaries"], agreed, strict=True):
            boundary["confirmed"] = flag
    if advice:
        document["advice"] = [asdict(each) for each in advise(trajectory, found)]
    if gauge:
        others = {name: Trajectory.from_csv(table, value=name) for name in gauge}
        document["gauges"] = gauges(others, known={value: found}, axis=axis, seed=seed).to_dict()
    if out is not None:
        from workers.files import write_json

        write_json(out, found.to_dict(with_draws=True))
    if as_json:
        _print_json(document)
    else:
        from workers.tables import print_stages

        print_stages(document)


@app.command(epilog="Example: `slt compare results/grokking/stages.json runs/grokking/events.csv`")
def compare(
    stages_file: Annotated[Path, typer.Argument(metavar="STAGES.json", help="Written by slt run or slt stages --out.")],
    events_file: Annotated[Path, typer.Argument(metavar="EVENTS.csv", help="Columns name, step; low, high, group.")],
    seed: Annotated[int, typer.Option(min=0, help="Seed of the jitter test and of the lags' draws.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Match boundaries and onsets with dated events: lags, and how likely such a match is by chance."""
    from slt.comparison import compare as compare_with
    from slt.events import read_events
    from workers.files import read_stages

    comparison = compare_with(read_stages(stages_file), read_events(events_file), seed=seed)
    if as_json:
        _print_json(comparison.to_dict())
    else:
        from workers.tables import print_comparison

        print_comparison(comparison.to_dict())


@app.command(epilog="Example: `slt mirage runs/grokking/training.csv --sharp test_accuracy --smooth test_loss`")
def mirage(
    table: Annotated[Path, typer.Argument(metavar="FILE.csv", help="Column step, and the two metrics.")],
    sharp: Annotated[str, typer.Option(help="Column of the thresholded metric, such as accuracy.")],
    smooth: Annotated[str, typer.Option(help="Column of its continuous counterpart, such as the loss.")],
    as_json: AsJson = False,
) -> None:
    """Is a sudden change in the model or in the ruler?"""
    from slt.mirage import mirage as screen
    from slt.trajectory import Trajectory

    result = screen(Trajectory.from_csv(table, value=sharp), Trajectory.from_csv(table, value=smooth))
    if as_json:
        _print_json(result.to_dict())
    else:
        typer.echo(result.sentence)


@app.command(epilog="Example: `slt report results/grokking`")
def report(
    job_folder: Annotated[Path, typer.Argument(metavar="JOBDIR", help="A folder made by slt run.")],
    as_json: AsJson = False,
) -> None:
    """Write the report of a job folder again, with its figures."""
    from workers.report import write_report

    path = write_report(job_folder)
    if as_json:
        _print_json({"report": str(path)})
    else:
        typer.echo(str(path))


def _print_json(document: Any) -> None:
    from workers.files import to_json

    sys.stdout.write(to_json(document))


def _say(message: str) -> None:
    typer.echo(message, err=True)


def main() -> None:
    """Entry point of the command `slt`."""
    app()
