"""Tables on standard output, for people; all of them from the documents that `--json` prints."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from estimators.storage import Location
    from workers.pipeline import Summary

LOG_WIDTH = 160


def number(step: float | None) -> str:
    """A step as people write it: 1,690."""
    return "" if step is None else f"{step:,.0f}"


def interval(landmark: dict[str, Any] | None) -> str:
    """A landmark's step with its 90 % interval."""
    if landmark is None:
        return ""
    return f"{number(landmark['step'])} [{number(landmark['low'])}, {number(landmark['high'])}]"


def print_stages(document: dict[str, Any]) -> None:
    """The stage table, with the boundary that ends each stage."""
    table = Table(title=f"Stages, on a {document['axis']} axis of time", title_justify="left")
    for name in (
        "from",
        "to",
        "the curve",
        "change",
        "share",
        "ends in",
        "at [90 %]",
        "probability",
        "next onset [90 %]",
    ):
        table.add_column(name, justify="left" if name in ("the curve", "ends in") else "right")
    boundaries = document["boundaries"]
    total = sum(abs(stage["change"]) for stage in document["stages"])
    for index, stage in enumerate(document["stages"]):
        row = [number(stage["start"]), number(stage["end"]), stage["kind"], f"{stage['change']:+.3g}"]
        row.append(f"{abs(stage['change']) / total:.0%}" if total else "")
        if index < len(boundaries):
            boundary = boundaries[index]
            kind = boundary["kind"] + (", confirmed" if boundary.get("confirmed") else "")
            row += [kind, interval(boundary), f"{boundary['probability']:.2f}", interval(boundary["onset"])]
        table.add_row(*row)
    show(table)
    if document.get("first_onset"):
        show(f"the first burst begins at {interval(document['first_onset'])}")
    for boundary in document["tentative"]:
        show(f"tentative: {boundary['kind']} at {interval(boundary)}, probability {boundary['probability']:.2f}")
    for warning in document["warnings"]:
        show(f"warning: {warning}")
    for advice in document.get("advice", ()):
        steps = ", ".join(number(step) for step in advice["steps"])
        show(f"{advice['action']} for the boundary at {number(advice['boundary'])}: {advice['reason']}. At {steps}")
    if "gauges" in document:
        print_gauges(document["gauges"])


def print_gauges(document: dict[str, Any]) -> None:
    """Which gauge sees which boundary: a row per boundary, a column per gauge."""
    if document["boundaries"] and len(document["names"]) > 1:
        table = Table(title="Which gauge sees which boundary", title_justify="left")
        table.add_column("boundary", justify="right")
        table.add_column("seen by: step (probability)")
        for boundary in document["boundaries"]:
            seen = {name: boundary["seen"].get(name) for name in document["names"]}
            marks = (f"{name} {number(m['step'])} ({m['probability']:.2f})" for name, m in seen.items() if m)
            table.add_row(number(boundary["step"]), ", ".join(marks))
        show(table)
    for name, reason in document["unusable"].items():
        show(f"no stages of {name}: {reason}")


def show(content: object) -> None:
    """Print on standard output; in a log, as wide as it needs to be."""
    width = None if sys.stdout.isatty() else LOG_WIDTH
    Console(highlight=False, width=width).print(content, markup=False, soft_wrap=isinstance(content, str))


def print_comparison(document: dict[str, Any]) -> None:
    """Events against landmarks: who comes first, by how much, and the chance of it per group."""
    farthest_first = sorted(document["matches"], key=lambda match: -abs(match["lag_decades"]))
    matches = {(match["group"], match["event"]): match for match in farthest_first}
    table = Table(title="Events", title_justify="left")
    for name in ("event", "group", "step", "seen", "nearest landmark", "lag in decades [90 %]", "the LLC"):
        table.add_column(name, justify="right" if name in ("step", "lag in decades [90 %]") else "left")
    for sighting in document["sightings"]:
        match = matches.get((sighting["group"], sighting["event"]))
        row = [sighting["event"], sighting["group"], number(sighting["step"])]
        row.append("same signal" if sighting["same_signal"] else "yes" if sighting["seen"] else "no")
        if match:
            lag = f"{match['lag_decades']:+.2f} [{match['low']:+.2f}, {match['high']:+.2f}]"
            relation = match["relation"] if sighting["seen"] else ""  # too far to be the same happening
            row += [f"{match['landmark']} at {number(match['landmark_step'])}", lag, relation]
        else:
            row += _nearest(sighting)
        table.add_row(*row)
    show(table)
    for group in document["groups"]:
        p_value = "" if group["p_value"] is None else f"p = {group['p_value']:.2g}, Holm {group['p_holm']:.2g}. "
        show(f"{group['group']}: {p_value}{group['note']}")
    for boundary in document["unmatched_boundaries"]:
        show(f"no event near the boundary at {number(boundary)}")


def _nearest(sighting: dict[str, Any]) -> list[str]:
    """Where the LLC came closest to an event that no landmark was assigned to."""
    kinds = [kind for kind in ("boundary", "onset") if sighting[f"{kind}_step"] is not None]
    if not kinds:
        return []
    kind = min(kinds, key=lambda kind: abs(sighting[f"{kind}_decades"]))
    return [f"({kind} at {number(sighting[f'{kind}_step'])})", f"{sighting[f'{kind}_decades']:+.2f}"]


def print_calibration(document: Mapping[str, Any], out: Location) -> None:
    """What was tried, what was chosen and why, and where the figure is."""
    table = Table(title="Tried", title_justify="left")
    for name in ("n_beta", "localization", "step size", "acceptance", "LLC, first to last probe", "healthy", "score"):
        table.add_column(name, justify="right")
    for row in document["trials"]:
        llc = f"{row['llc'][0]:.3g} to {row['llc'][-1]:.3g}"
        healthy = f"{row['health'].count('ok')} of {len(row['health'])}"
        cells = [
            f"{row['n_beta']:g}",
            f"{row['localization']:g}",
            f"{row['step_size']:.2g}",
            f"{row['acceptance']:.2f}",
        ]
        table.add_row(*cells, llc, healthy, f"{row['score']:.3g}")
    show(table)
    for sentence in document["sentences"]:
        show(sentence)
    show(f"This cost {document['cost']['ratio']:.0%} of the run that it prepares.")
    chosen = ", ".join(f"{name}: {value:g}" for name, value in document["chosen"].items())
    show(f"sampler: {{{chosen}}}")
    show(str(out / "calibration.png"))


def print_checkpoints(document: dict[str, Any]) -> None:
    """What `slt inspect` found."""
    folders = {os.path.dirname(entry["path"]) for entry in document["checkpoints"]}
    common = os.path.commonpath(folders) if folders else ""
    table = Table(title=f"Checkpoints in {common}", title_justify="left")
    for name in ("step", "unit", "step from", "path", "format", "size"):
        table.add_column(name, justify="right" if name in ("step", "size") else "left")
    for entry in document["checkpoints"]:
        size = f"{entry['bytes'] / 1e3:,.1f} kB"
        path = os.path.relpath(entry["path"], common)
        table.add_row(number(entry["step"]), entry["unit"], entry["step_source"], path, entry["format"], size)
    show(table)
    for problem in document["problems"]:
        show(f"problem: {problem}")


def print_summary(summary: Summary) -> None:
    """What `slt run` ends with; the report's path is the last line."""
    document = summary.to_dict()
    if summary.detection:
        print_stages(summary.detection.to_dict() | {"advice": []})  # it is long, and in the report
    else:
        show("No stages: too few checkpoints have an estimate.")
    if summary.gauges:
        print_gauges(summary.gauges.to_dict())
    if summary.comparison:
        print_comparison(summary.comparison.to_dict())
    for screen in document["mirage"]:
        show(f"{screen['sharp']} beside {screen['smooth']}: {screen['sentence']}")
    units, verdicts = document["units"], document["verdicts"]
    counted = ", ".join(f"{count} {kind}" for kind, count in verdicts.items())
    show(f"{document['checkpoints']} checkpoints: {counted}")
    for step, error in summary.failed_items.items():
        show(f"failed: step {number(step)}: {error}")
    show(f"units: {units['computed']} computed, {units['reused']} reused, {units['failed']} failed")
    show(str(summary.report))


def print_jobs(documents: Sequence[Mapping[str, Any]]) -> None:
    """The jobs of a service: a row each."""
    table = Table(title=f"{len(documents)} jobs", title_justify="left")
    for name in ("id", "state", "progress", "units", "submitted", "message"):
        table.add_column(name, justify="right" if name in ("progress", "units") else "left", overflow="fold")
    for job in documents:
        units = job.get("units") or {}
        counted = f"{units.get('computed', 0) + units.get('reused', 0)}/{units['total']}" if units.get("total") else ""
        progress = f"{job['done']}/{job['total']}" if job.get("total") else ""
        submitted = str(job.get("created") or "")[:16].replace("T", " ")
        table.add_row(job["id"], job["state"], progress, counted, submitted, str(job.get("message") or ""))
    show(table)


def print_job(job: Mapping[str, Any]) -> None:
    """One job of a service, a line for each thing that is known."""
    units = job.get("units") or {}
    progress = f"{job.get('phase')} {job['done']}/{job['total']} {job.get('label') or ''}" if job.get("total") else ""
    lines = {
        "id": job["id"],
        "name": job["name"],
        "state": job["state"],
        "progress": progress.strip(),
        "units": ", ".join(f"{count} {name}" for name, count in units.items()),
        "submitted": job.get("created"),
        "started": job.get("started"),
        "updated": job.get("updated"),
        "folder": job.get("out"),
        "message": job.get("message"),
    }
    for name, value in lines.items():
        if value:
            show(f"{name:>10}  {value}")
