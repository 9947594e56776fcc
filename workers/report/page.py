"""Puts figure, tables and words into one page that opens offline."""

from __future__ import annotations

import base64
import importlib.metadata
import shlex
from importlib import resources
from pathlib import Path
from typing import Any

from estimators.storage import Location
from slt.errors import OutputError
from slt.trajectory import VerdictKind
from workers.files import working_folder
from workers.report import palette, tables
from workers.report.drawing import Drawing
from workers.report.folder import JobRecord, read_job
from workers.report.interactive import interactive_figure
from workers.report.prepare import prepare
from workers.report.printed import save_figures
from workers.report.summary import summary
from workers.report.words import count, first_upper, listed, step_text

MEANINGS = {
    VerdictKind.OK: "nothing to object",
    VerdictKind.DIVERGED: "a chain met a loss that is not finite, or the chains run away; a smaller step size",
    VerdictKind.CHAINS_DISAGREE: "the chains settled at different levels (R-hat); more draws or a smaller step size",
    VerdictKind.DRIFTING: "the loss still moves in one direction; a longer burn-in",
    VerdictKind.BELOW_CHECKPOINT: "the chains found lower losses: the checkpoint is not at a local minimum",
    VerdictKind.SATURATED: "the chains' loss no longer depends on the checkpoint: the LLC mirrors the training loss",
    VerdictKind.STEP_TOO_SMALL: "the chains hardly moved within their draws; a larger step size, or more draws",
    VerdictKind.STEP_TOO_LARGE: (
        "a tenth of the LLC or more is the step's: steep directions are shaken too much; a smaller step size"
    ),
    VerdictKind.FAILED: "sampling raised an error; see the failed items",
}

# Signs of matplotlib's markers in the key, as paths in a box of 22 by 14.
SIGNS = {
    "x": "M7 3l8 8M15 3l-8 8",
    "P": "M11 2v10M6 7h10",
    "s": "M7 3h8v8h-8z",
    "^": "M11 2.5l5 8.5h-10z",
    "v": "M11 11.5l5-8.5h-10z",
    "o": "M15 7a4 4 0 1 1-8 0a4 4 0 1 1 8 0z",
    "D": "M11 2l5 5-5 5-5-5z",
    "h": "M11 2l4.3 2.5v5L11 12l-4.3-2.5v-5z",
}


def write_report(job_folder: Location) -> Location:
    """Write `report.html` and `figures/` from what the job left in its folder; nothing is computed anew.

    Returns:
        The path of the page.

    Raises:
        JobError, TrajectoryError, EventsError: the folder is not a job folder, or a file in it is damaged.
        OutputError: the page or a figure cannot be written.
        StorageError: object storage does not answer, or refuses.
    """
    with working_folder(job_folder, _is_read) as folder:
        _write_report(folder)
    return job_folder / "report.html"


def _is_read(name: str) -> bool:
    """Whether a report is made from the file of this name in a job folder."""
    return name.startswith("failures/") or ("/" not in name and name.endswith((".yaml", ".csv", ".json")))


def _write_report(job_folder: Path) -> None:
    job = read_job(job_folder)
    drawing = prepare(job)
    report = job_folder / "report.html"
    try:
        static = save_figures(drawing, job_folder / "figures")["trajectory.svg"] if drawing else None
        temporary = report.with_suffix(".tmp")
        temporary.write_text(_page(job, drawing, static), encoding="utf-8")
        temporary.replace(report)
    except OSError as error:
        raise OutputError(
            f"the report cannot be written to {job_folder}: {error.strerror or error}; make room or permit writing"
        ) from error


def _page(job: JobRecord, drawing: Drawing | None, static: Path | None) -> str:
    from jinja2 import Environment, StrictUndefined
    from plotly.offline import get_plotlyjs

    files = resources.files(__package__)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string(files.joinpath("page.html").read_text(encoding="utf-8"))
    return template.render(
        **_content(job),
        drawing=drawing,
        figure=interactive_figure(drawing) if drawing else None,
        plotly=get_plotlyjs() if drawing else "",
        static_figure=_data_uri(static) if static else "",
        css=files.joinpath("page.css").read_text(encoding="utf-8"),
        colors=palette,
        sign=SIGNS,
        count=count,
        first_upper=first_upper,
        steps_listed=tables.steps_listed,
        version=importlib.metadata.version("slt-stages"),
    )


def _content(job: JobRecord) -> dict[str, Any]:
    groups = tables.group_rows(job.comparison) if job.comparison else []
    first_onset = job.stages.first_onset if job.stages else None
    return {
        "job": job,
        "summary": summary(job),
        "stages": tables.stage_rows(job),
        "measures": tables.measure_rows(job),
        "no_stages": _no_stages(job),
        "boundaries": tables.boundary_rows(job),
        "advice": tables.advice_rows(job),
        "gauges": tables.gauge_rows(job),
        "first_onset": step_text(first_onset.step) if first_onset else "",
        "events": tables.event_rows(job.comparison, job.given_events) if job.comparison else [],
        "measured": tables.event_rows(job.comparison, job.measured_events) if job.comparison else [],
        "groups": [row for row in groups if row.group not in job.measures],
        "measured_groups": [row for row in groups if row.group in job.measures],
        "unmatched_boundaries": listed([step_text(s) for s in job.comparison.unmatched_boundaries])
        if job.comparison
        else "",
        "no_comparison": _no_comparison(job),
        "counts": tables.verdict_counts(job),
        "verdicts": tables.verdict_rows(job),
        "refined": tables.refined_rows(job),
        "meanings": MEANINGS,
        "settings": list(tables.setting_rows(job.settings)),
        "calibration": job.calibration,
        "command": _command(job),
    }


def _command(job: JobRecord) -> str:
    out = str(job.settings.get("out") or job.folder)
    return f"slt run {shlex.quote(f'{out}/job.yaml')} --out {shlex.quote(f'{out}-again')}"


def _no_stages(job: JobRecord) -> str:
    if job.trajectory is None:
        return "no checkpoint was estimated."
    return "the detector gave no result; it needs at least 8 checkpoints with a finite LLC."


def _no_comparison(job: JobRecord) -> str:
    if not job.given_events:
        return "No events were given. A file with the columns name and step, named by “events” in the job, adds them."
    return "There are events but no stages to compare them with."


def _data_uri(path: Path) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
