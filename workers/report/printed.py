"""Draws the figure with matplotlib, for papers. What is drawn was decided in `drawing.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from slt.trajectory import Floats
from workers.report.drawing import Drawing, Mark, Onset
from workers.report.palette import CHAIN, CURVE, EVENT, FLAG, GREY, GRID, INK, MEASURE, ONSET, STAGE

LANE, LLC, RIBBON, PANEL, GAP = 0.16, 2.3, 0.17, 0.65, 0.17  # heights in inches
WIDTH, LEFT, RIGHT, BOTTOM, TOP = 6.6, 0.62, 0.08, 0.45, 0.05  # text width of a paper
STYLE = {
    "font.family": "serif", "font.serif": ["STIX Two Text", "STIXGeneral", "DejaVu Serif"], "font.size": 8.5,
    "mathtext.fontset": "stix",
    "axes.edgecolor": GREY, "axes.linewidth": 0.6, "axes.labelcolor": INK, "text.color": INK, "axes.grid": True,
    "axes.axisbelow": True, "grid.color": GRID, "grid.linewidth": 0.5, "axes.spines.top": False,
    "axes.spines.right": False, "xtick.color": GREY, "ytick.color": GREY, "xtick.labelcolor": INK,
    "ytick.labelcolor": INK, "xtick.major.width": 0.6, "ytick.major.width": 0.6, "xtick.minor.width": 0.4,
    "svg.hashsalt": "slt",
}  # fmt: skip


def save_figures(drawing: Drawing, folder: Path) -> dict[str, Path]:
    """Write `llc` (the curve) and `trajectory` (curve and measures), each as PNG and SVG; paths by file name."""
    from matplotlib import rc_context

    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    with rc_context(STYLE):
        for name, panels in (("llc", False), ("trajectory", True)):
            figure = printed_figure(drawing, panels=panels)
            for suffix, metadata in (("png", {}), ("svg", {"Date": None})):
                path = folder / f"{name}.{suffix}"
                figure.savefig(path, dpi=300, metadata=metadata)
                paths[path.name] = path
    return paths


def printed_figure(drawing: Drawing, *, panels: bool) -> Any:
    """The figure as matplotlib draws it; to be called in an `rc_context` of STYLE."""
    from matplotlib.figure import Figure

    measures = drawing.panels if panels else ()
    heights = [max(drawing.lanes, 1) * LANE, LLC, RIBBON, *(PANEL for _ in measures)]
    total = TOP + sum(heights) + GAP * (len(heights) - 1) + BOTTOM
    figure = Figure(figsize=(WIDTH, total))
    axes: list[Any] = []
    top = total - TOP
    for height in heights:
        place = (LEFT / WIDTH, (top - height) / total, (WIDTH - LEFT - RIGHT) / WIDTH, height / total)
        axes.append(figure.add_axes(place, sharex=axes[0] if axes else None))
        top -= height + GAP
    _x_axis(axes, drawing)
    _strip(axes[0], drawing)
    _curve(axes[1], drawing)
    _ribbon(axes[2], drawing)
    for ax, panel in zip(axes[3:], measures, strict=True):
        ax.plot(panel.steps, panel.values, color=MEASURE if panel.half_width is None else CURVE, linewidth=0.9)
        if panel.half_width is not None:
            _band(ax, panel.steps, panel.values, panel.half_width)
        ax.set_yscale("log" if panel.log else "linear")
        if panel.log:
            ax.yaxis.minorticks_off()
        else:
            ax.locator_params(axis="y", nbins=3)
        _onsets(ax, panel.onsets, size=3.5)
        ax.text(0, 1.03, panel.name, transform=ax.transAxes, va="bottom", weight="bold", size=7.5, parse_math=False)
    for ax in (axes[1], *axes[3:]):
        _landmarks(ax, drawing)
    return figure


def _x_axis(axes: list[Any], drawing: Drawing) -> None:
    from matplotlib.ticker import EngFormatter

    axis = drawing.axis
    axes[0].set_xscale("log" if axis.log else "linear")
    axes[0].set_xlim(axis.low, axis.high)
    last = axes[-1]
    if not axis.log or axis.high / axis.low > 100:
        last.xaxis.set_major_formatter(EngFormatter(sep=""))
    for ax in axes[:-1]:
        ax.tick_params(axis="x", which="both", bottom=False, labelbottom=False)
    last.set_xlabel(axis.unit + (" (logarithmic)" if axis.log else ""))


def _strip(ax: Any, drawing: Drawing) -> None:
    ax.set_axis_off()
    bottom = -max(drawing.lanes, 1) + 0.5
    ax.set_ylim(bottom, 0.5)
    for marks, symbol, color in ((drawing.boundaries, "|", INK), (drawing.events, "v", EVENT)):
        for mark in marks:
            ax.plot([mark.low, mark.high], [-mark.lane, -mark.lane], color=color, linewidth=0.7)
            ax.plot(mark.step, -mark.lane, symbol, color=color, markersize=5)
            ax.plot([mark.step] * 2, [-mark.lane, bottom - GAP / LANE], clip_on=False, **_stroke(mark, color))
            ax.annotate(
                mark.label, (mark.label_step, -mark.lane), xytext=(-5 if mark.to_left else 5, 0),
                textcoords="offset points", ha="right" if mark.to_left else "left", va="center",
                color=GREY if mark.tentative else color, size=7.5, parse_math=False, zorder=5,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
            )  # fmt: skip


def _stroke(mark: Mark, color: str) -> dict[str, Any]:
    if color == EVENT:
        return {"color": EVENT, "linewidth": 0.8, "linestyle": (0, (1, 2))}
    if mark.tentative:
        return {"color": GREY, "linewidth": 0.7, "linestyle": (0, (4, 3))}
    return {"color": INK, "linewidth": 0.7}


def _landmarks(ax: Any, drawing: Drawing) -> None:
    for mark in drawing.boundaries:
        ax.axvspan(mark.low, mark.high, color="0.25", alpha=0.06 if mark.tentative else 0.14, linewidth=0, zorder=0)
        ax.axvline(mark.step, zorder=1, **_stroke(mark, INK))
    for mark in drawing.events:
        ax.axvline(mark.step, zorder=1, **_stroke(mark, EVENT))


def _curve(ax: Any, drawing: Drawing) -> None:
    curve = drawing.curve
    if curve.llc_chains is not None:
        ax.plot(curve.steps, curve.llc_chains, color=CHAIN, linewidth=0.5, alpha=0.55)
    if drawing.half_width is not None:
        _band(ax, curve.steps, curve.llc, drawing.half_width)
    ax.plot(curve.steps, curve.llc, color=CURVE, linewidth=1.2, marker=".", markersize=2.5)
    for flag in drawing.flags:
        color, _, marker = FLAG[flag.kind]
        style = {"color": color} if marker == "x" else {"facecolors": "none", "edgecolors": color}
        ax.scatter(flag.steps, flag.heights, marker=marker, s=11, linewidths=0.7, zorder=4, **style)
    _onsets(ax, drawing.onsets, size=4.5)
    ax.set_ylim(*drawing.height_range)
    ax.set_ylabel("LLC")


def _band(ax: Any, steps: Floats, middle: Floats, half_width: Floats) -> None:
    ax.fill_between(steps, middle - half_width, middle + half_width, color=CURVE, alpha=0.2, linewidth=0)


def _onsets(ax: Any, onsets: tuple[Onset, ...], size: float) -> None:
    for onset in onsets:
        ax.plot([onset.low, onset.high], [onset.height] * 2, color=ONSET, linewidth=1.1, zorder=5)
        face, edge = ("white", ONSET) if onset.tentative else (ONSET, "white")
        ax.plot(onset.step, onset.height, "D", color=face, markeredgecolor=edge, markersize=size, zorder=6)


def _ribbon(ax: Any, drawing: Drawing) -> None:
    ax.set_ylim(0, 1)
    ax.set_yticks([])
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    for span in drawing.spans:
        ax.axvspan(span.start, span.end, color=STAGE[span.kind], linewidth=0)
        ax.axvline(span.end, color="white", linewidth=1)
        middle = np.sqrt(span.start * span.end) if drawing.axis.log else (span.start + span.end) / 2
        ax.text(middle, 0.47, span.label, ha="center", va="center", size=7.5)
