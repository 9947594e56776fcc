"""Draws the figure with plotly, for the screen. What is drawn was decided in `drawing.py`."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from slt.trajectory import Floats, Trajectory
from workers.report.drawing import Drawing, Mark, Onset, Panel, finite_runs
from workers.report.palette import CHAIN, CURVE, EVENT, FLAG, GREY, GRID, INK, MEASURE, ONSET, STAGE
from workers.report.words import number, step_text

LANE, LLC, RIBBON, PANEL, GAP = 18, 340, 20, 84, 21  # heights in pixels
TOP, BOTTOM = 28, 44
FONT = "Source Serif Pro, Charter, Georgia, 'Times New Roman', serif"


def interactive_figure(drawing: Drawing) -> dict[str, Any]:
    """The figure as plotly.js takes it: {"data": [...], "layout": {...}}, of plain JSON values."""
    from plotly.graph_objects import Figure

    figure = Figure(layout=_layout(drawing))
    _strip(figure, drawing)
    _curve(figure, drawing)
    _ribbon(figure, drawing)
    for i, panel in enumerate(drawing.panels):
        color = MEASURE if panel.half_width is None else CURVE
        if panel.half_width is not None:
            _band(figure, panel.steps, panel.values, panel.half_width, f"y{4 + i}")
        _line(figure, panel.steps, panel.values, f"y{4 + i}", color, panel.name, drawing.axis.unit, panel.half_width)
        _onsets(figure, panel.onsets, f"y{4 + i}", size=7)
    plain: dict[str, Any] = json.loads(figure.to_json())
    return plain


def _layout(drawing: Drawing) -> dict[str, Any]:
    heights = _heights(drawing)
    total = _total(drawing)
    tops = total - np.cumsum([0, *(height + GAP for height in heights[:-1])])
    domains = [[max((top - height) / total, 0.0), top / total] for top, height in zip(tops, heights, strict=True)]
    hidden = {"visible": False, "fixedrange": True}
    layout: dict[str, Any] = {
        "template": "none",
        "height": total + TOP + BOTTOM,
        "margin": {"l": 50, "r": 8, "t": TOP, "b": BOTTOM},
        "font": {"family": FONT, "size": 12, "color": INK},
        "hoverlabel": {"font": {"family": FONT}, "bgcolor": "white"},
        "hovermode": "closest",
        "showlegend": False,
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "xaxis": _x_axis(drawing, len(heights)),
        "yaxis": {**hidden, "domain": domains[0], "range": [-max(drawing.lanes, 1) + 0.5, 0.5]},
        "yaxis2": {**_y_axis("LLC"), "domain": domains[1], "range": list(drawing.height_range)},
        "yaxis3": {**hidden, "domain": domains[2], "range": [0, 1]},
        "shapes": [*_landmark_shapes(drawing), *_ribbon_shapes(drawing)],
    }
    for i, panel in enumerate(drawing.panels):
        scale = _log_ticks(panel) if panel.log else {"nticks": 4}
        layout[f"yaxis{4 + i}"] = {**_y_axis(), **scale, "domain": domains[3 + i]}
    layout["annotations"] = [*_labels(drawing), *_panel_titles(drawing)]
    return layout


def _log_ticks(panel: Panel) -> dict[str, Any]:
    """A logarithmic axis with three or four labels, however many decades a low panel spans."""
    known = panel.values[np.isfinite(panel.values)]
    decades = float(np.log10(known.max() / known.min()))
    return {"type": "log", "dtick": max(1, int(np.ceil(decades / 4))), "exponentformat": "power"}


def _labels(drawing: Drawing) -> list[dict[str, Any]]:
    """The labels of the strip, on white so that no line crosses a letter."""
    rows = [(mark, GREY if mark.tentative else INK) for mark in drawing.boundaries]
    rows += [(mark, EVENT) for mark in drawing.events]
    return [
        {
            "text": _plain(mark.label), "hovertext": _plain(mark.detail), "font": {"size": 11, "color": color},
            # An annotation takes the logarithm on a logarithmic axis, a shape the value itself.
            "x": float(np.log10(mark.label_step)) if drawing.axis.log else mark.label_step, "y": -mark.lane,
            "xref": "x", "yref": "y", "xanchor": "right" if mark.to_left else "left", "yanchor": "middle",
            "xshift": -6 if mark.to_left else 6, "showarrow": False, "bgcolor": "white", "borderpad": 0,
        }
        for mark, color in rows
    ]  # fmt: skip


def _panel_titles(drawing: Drawing) -> list[dict[str, Any]]:
    return [
        {
            "text": f"<b>{_plain(panel.name)}</b>", "font": {"size": 11, "color": INK}, "showarrow": False,
            "xref": "paper", "yref": f"y{4 + i} domain", "x": 0, "y": 1, "xanchor": "left", "yanchor": "bottom",
        }
        for i, panel in enumerate(drawing.panels)
    ]  # fmt: skip


def _x_axis(drawing: Drawing, rows: int) -> dict[str, Any]:
    axis = drawing.axis
    limits = [axis.low, axis.high]
    common = {
        "title": {"text": axis.unit + (" (logarithmic)" if axis.log else ""), "standoff": 6},
        "anchor": f"y{rows}", "gridcolor": GRID, "linecolor": GREY, "ticks": "outside", "tickcolor": GREY,
        "tickformat": "~s", "zeroline": False, "showline": True,
    }  # fmt: skip
    if not axis.log:
        return {**common, "range": limits, "nticks": 8}
    decades = float(np.log10(axis.high / axis.low))
    ticks = {"dtick": 1, "minor": {"dtick": "D1", "ticks": "outside", "ticklen": 3}} if decades > 2 else {"dtick": "D2"}
    return {**common, **ticks, "type": "log", "range": [float(np.log10(limit)) for limit in limits]}


def _y_axis(title: str = "") -> dict[str, Any]:
    return {
        "title": {"text": title, "standoff": 4}, "gridcolor": GRID, "linecolor": GREY, "showline": True,
        "zerolinecolor": GREY, "zerolinewidth": 0.6, "ticks": "outside", "tickcolor": GREY, "ticklen": 3,
        "tickfont": {"size": 10.5},
    }  # fmt: skip


def _landmark_shapes(drawing: Drawing) -> list[dict[str, Any]]:
    """Bands and lines through all panels, each starting at its label's lane."""
    strip = max(drawing.lanes, 1) * LANE
    total = _total(drawing)

    def line(mark: Mark, color: str, dash: str, width: float) -> dict[str, Any]:
        return {
            "type": "line", "xref": "x", "yref": "paper", "x0": mark.step, "x1": mark.step, "y0": 0,
            "y1": 1 - (mark.lane + 0.5) * LANE / total, "layer": "between",
            "line": {"color": color, "width": width, "dash": dash},
        }  # fmt: skip

    shapes = []
    for mark in drawing.boundaries:
        shapes.append(
            {
                "type": "rect", "xref": "x", "yref": "paper", "x0": mark.low, "x1": mark.high, "y0": 0,
                "y1": 1 - (strip + GAP) / total, "layer": "between", "line": {"width": 0},
                "fillcolor": "rgba(60,60,60,0.06)" if mark.tentative else "rgba(60,60,60,0.14)",
            }
        )  # fmt: skip
        shapes.append(line(mark, GREY if mark.tentative else INK, "dash" if mark.tentative else "solid", 1))
    shapes += [line(mark, EVENT, "dot", 1.2) for mark in drawing.events]
    return shapes


def _heights(drawing: Drawing) -> list[float]:
    ribbon = RIBBON if drawing.spans else 1
    return [max(drawing.lanes, 1) * LANE, LLC, ribbon, *(PANEL for _ in drawing.panels)]


def _total(drawing: Drawing) -> float:
    heights = _heights(drawing)
    return sum(heights) + GAP * (len(heights) - 1)


def _strip(figure: Any, drawing: Drawing) -> None:
    rows = ((drawing.boundaries, "line-ns-open", INK, 11), (drawing.events, "triangle-down", EVENT, 9))
    for marks, symbol, color, size in rows:
        if not marks:
            continue
        figure.add_scatter(
            x=[mark.step for mark in marks],
            y=[-mark.lane for mark in marks],
            yaxis="y",
            mode="markers",
            marker={"symbol": symbol, "color": color, "size": size, "line": {"width": 1.5, "color": color}},
            error_x={
                "array": [mark.high - mark.step for mark in marks],
                "arrayminus": [mark.step - mark.low for mark in marks],
                "symmetric": False, "color": color, "thickness": 1, "width": 3,
            },
            hovertext=[_plain(mark.detail) for mark in marks],
            hoverinfo="text",
            cliponaxis=False,
        )  # fmt: skip


def _curve(figure: Any, drawing: Drawing) -> None:
    curve, unit = drawing.curve, drawing.axis.unit
    if curve.llc_chains is not None:
        for chain in curve.llc_chains.T:
            figure.add_scatter(
                x=curve.steps, y=chain, yaxis="y2", mode="lines", hoverinfo="skip", opacity=0.55,
                line={"color": CHAIN, "width": 0.8},
            )  # fmt: skip
    if drawing.half_width is not None:
        _band(figure, curve.steps, curve.llc, drawing.half_width, "y2")
    _line(figure, curve.steps, curve.llc, "y2", CURVE, "LLC", unit, drawing.half_width, _beside(curve))
    for flag in drawing.flags:
        color, symbol, _ = FLAG[flag.kind]
        figure.add_scatter(
            x=flag.steps, y=flag.heights, yaxis="y2", mode="markers",
            marker={"symbol": symbol, "color": color, "size": 7, "line": {"width": 1.2, "color": color}},
            hovertext=[_plain(f"{unit} {step_text(step)}: {flag.kind.value}") for step in flag.steps],
            hoverinfo="text",
        )  # fmt: skip
    _onsets(figure, drawing.onsets, "y2", size=9)


def _onsets(figure: Any, onsets: tuple[Onset, ...], yaxis: str, size: float) -> None:
    if onsets:
        figure.add_scatter(
            x=[onset.step for onset in onsets], y=[onset.height for onset in onsets], yaxis=yaxis, mode="markers",
            marker={
                "symbol": ["diamond-open" if onset.tentative else "diamond" for onset in onsets],
                "color": ONSET, "size": size, "line": {"color": "white", "width": 1},
            },
            error_x={
                "array": [onset.high - onset.step for onset in onsets],
                "arrayminus": [onset.step - onset.low for onset in onsets],
                "symmetric": False, "color": ONSET, "thickness": 1.4, "width": 3,
            },
            hovertext=[_plain(onset.detail) for onset in onsets], hoverinfo="text",
        )  # fmt: skip


def _beside(curve: Trajectory) -> list[str]:
    """What the same draws say besides the LLC, for whoever points at a checkpoint."""
    names = {
        "heat_capacity": "heat capacity",
        "wbic": "WBIC",
        "acceptance": "acceptance",
        "step_bias": "of it the step's",
    }
    known = {label: values for name, label in names.items() if (values := getattr(curve, name)) is not None}
    return [
        "".join(f"<br>{label} {number(values[row])}" for label, values in known.items() if np.isfinite(values[row]))
        for row in range(len(curve))
    ]


def _band(figure: Any, steps: Floats, middle: Floats, half_width: Floats, yaxis: str) -> None:
    for run in finite_runs(middle + half_width):
        there, back = middle[run] + half_width[run], middle[run] - half_width[run]
        figure.add_scatter(
            x=np.concatenate([steps[run], steps[run][::-1]]), y=np.concatenate([there, back[::-1]]), yaxis=yaxis,
            mode="lines", line={"width": 0}, fill="toself", fillcolor="rgba(0,114,178,0.20)", hoverinfo="skip",
        )  # fmt: skip


def _line(
    figure: Any,
    steps: Floats,
    values: Floats,
    yaxis: str,
    color: str,
    name: str,
    unit: str,
    half_width: Floats | None = None,
    beside: Sequence[str] = (),
) -> None:
    half_widths = np.full(len(steps), np.nan) if half_width is None else half_width
    figure.add_scatter(
        x=steps, y=values, yaxis=yaxis, mode="lines+markers", hoverinfo="text",
        line={"color": color, "width": 1.6 if yaxis == "y2" else 1.2},
        marker={"size": 3.5 if yaxis == "y2" else 2.5, "color": color},
        hovertext=[
            _plain(f"{unit} {step_text(s)}: {name} {number(v)}")
            + (f" ({number(v - h)} to {number(v + h)})" if np.isfinite(h) else "")
            + text
            for s, v, h, text in zip(steps, values, half_widths, beside or [""] * len(steps), strict=True)
        ],
    )  # fmt: skip


def _ribbon_shapes(drawing: Drawing) -> list[dict[str, Any]]:
    return [
        {
            "type": "rect", "xref": "x", "yref": "y3", "x0": span.start, "x1": span.end, "y0": 0, "y1": 1,
            "layer": "between", "line": {"color": "white", "width": 1}, "fillcolor": STAGE[span.kind],
        }
        for span in drawing.spans
    ]  # fmt: skip


def _ribbon(figure: Any, drawing: Drawing) -> None:
    spans, log = drawing.spans, drawing.axis.log
    if not spans:
        return
    figure.add_scatter(
        x=[(span.start * span.end) ** 0.5 if log else (span.start + span.end) / 2 for span in spans],
        y=[0.5] * len(spans), yaxis="y3", mode="text", text=[span.label for span in spans],
        textfont={"size": 11, "color": INK}, hovertext=[span.detail for span in spans], hoverinfo="text",
    )  # fmt: skip


def _plain(text: str) -> str:
    """Text as it is: plotly reads a little HTML in its texts, and names come from users."""
    return html.escape(text, quote=False)
