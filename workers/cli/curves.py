"""Commands on tables: the stages of a curve, their comparison with events, and the metric mirage screen."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from workers.cli.app import AsJson, Place, app, path, print_json


@app.command(
    epilog="""Examples: `slt stages results/grokking/trajectory.csv --json`

    `slt stages curves.csv --value llc --gauge llc_attention --gauge test_loss`"""
)
def stages(
    table: Annotated[
        Place, typer.Argument(parser=path, metavar="FILE.csv", help="Columns step, llc and, where there, llc_chain_*.")
    ],
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
    out: Annotated[
        Place | None, typer.Option(parser=path, help="Also write the stages here, for `slt compare`.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Detect the stages of a curve in a CSV table."""
    from estimators.storage import read_from
    from slt.advice import advise
    from slt.gauges import gauges
    from slt.second_opinion import confirmed
    from slt.second_opinion import second_opinion as gaussian_process
    from slt.sensitivity import DEFAULT, probability_for
    from slt.stages import detect_stages
    from slt.trajectory import Trajectory

    columns = (value, *(gauge or ()))
    curves = read_from(table, lambda file: {name: Trajectory.from_csv(file, value=name) for name in columns})
    trajectory = curves[value]
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
        others = {name: curves[name] for name in gauge}
        document["gauges"] = gauges(others, known={value: found}, axis=axis, seed=seed).to_dict()
    if out is not None:
        from workers.files import write_json

        write_json(out, found.to_dict(with_draws=True))
    if as_json:
        print_json(document)
    else:
        from workers.tables import print_stages

        print_stages(document)


@app.command(epilog="Example: `slt compare results/grokking/stages.json runs/grokking/events.csv`")
def compare(
    stages_file: Annotated[
        Place, typer.Argument(parser=path, metavar="STAGES.json", help="Written by slt run or slt stages --out.")
    ],
    events_file: Annotated[
        Place, typer.Argument(parser=path, metavar="EVENTS.csv", help="Columns name, step; low, high, group.")
    ],
    seed: Annotated[int, typer.Option(min=0, help="Seed of the jitter test and of the lags' draws.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Match boundaries and onsets with dated events: lags, and how likely such a match is by chance."""
    from estimators.storage import read_from
    from slt.comparison import compare as compare_with
    from slt.events import read_events
    from workers.files import read_stages

    comparison = compare_with(read_stages(stages_file), read_from(events_file, read_events), seed=seed)
    if as_json:
        print_json(comparison.to_dict())
    else:
        from workers.tables import print_comparison

        print_comparison(comparison.to_dict())


@app.command(epilog="Example: `slt mirage runs/grokking/training.csv --sharp test_accuracy --smooth test_loss`")
def mirage(
    table: Annotated[Place, typer.Argument(parser=path, metavar="FILE.csv", help="Column step, and the two metrics.")],
    sharp: Annotated[str, typer.Option(help="Column of the thresholded metric, such as accuracy.")],
    smooth: Annotated[str, typer.Option(help="Column of its continuous counterpart, such as the loss.")],
    as_json: AsJson = False,
) -> None:
    """Is a sudden change in the model or in the ruler?"""
    from estimators.storage import read_from
    from slt.mirage import mirage as screen
    from slt.trajectory import Trajectory

    result = screen(*read_from(table, lambda file: [Trajectory.from_csv(file, value=name) for name in (sharp, smooth)]))
    if as_json:
        print_json(result.to_dict())
    else:
        typer.echo(result.sentence)
