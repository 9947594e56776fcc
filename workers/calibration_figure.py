"""The figure of a calibration: what was tried, how the LLC looked at the probes, and the pilot run's traces."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from workers.files import writing
from workers.report.palette import CURVE, GREY, INK

SIZE = (9.5, 2.9)
NOTABLE = 4


def save_figure(document: Mapping[str, Any], folder: Path) -> None:
    """Write calibration.png and calibration.svg beside calibration.json.

    Raises:
        OutputError: the folder is not writable or full.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    style = {"font.size": 8, "svg.hashsalt": "slt", "axes.spines.top": False, "axes.spines.right": False}
    with rc_context(style):
        figure = Figure(figsize=SIZE, layout="constrained")
        tried, probes, traces = figure.subplots(1, 3, width_ratios=(1.1, 1, 1))
        _tried(tried, document)
        _probes(probes, document)
        _traces(traces, document)
        for suffix, metadata in (("png", {}), ("svg", {"Date": None})):
            with writing(folder):
                figure.savefig(folder / f"calibration.{suffix}", dpi=160, metadata=metadata)


def _tried(ax: Any, document: Mapping[str, Any]) -> None:
    """A cell per pair: its color is the score, its text how many probes are healthy."""
    rows = document["trials"]
    n_betas = sorted({row["n_beta"] for row in rows})
    gammas = sorted({row["localization"] for row in rows})
    score = np.full((len(n_betas), len(gammas)), np.nan)
    for row in rows:
        at = n_betas.index(row["n_beta"]), gammas.index(row["localization"])
        healthy = row["health"].count("ok")
        score[at] = np.log10(max(row["score"] or 0, 0.1))
        ax.text(at[1], at[0], f"{healthy}/{len(row['health'])}", ha="center", va="center", color=INK, size=7.5)
    ax.imshow(score, origin="lower", cmap="Greens", aspect="auto", alpha=0.75)
    chosen = document["pilot"]
    between = np.interp(np.log(chosen["localization"]), np.log(gammas), range(len(gammas)))
    shape = ("s", 26) if chosen["localization"] in gammas else ("D", 9)  # half of a column's localization
    ax.plot(between, n_betas.index(chosen["n_beta"]), shape[0], markersize=shape[1], markerfacecolor="none",
            markeredgecolor=INK, markeredgewidth=1.4)  # fmt: skip
    ax.set_xticks(range(len(gammas)), [f"{gamma:g}" for gamma in gammas])
    ax.set_yticks(range(len(n_betas)), [f"{n_beta:g}" for n_beta in n_betas])
    ax.set_xlabel("localization")
    ax.set_ylabel("n_beta")
    ax.set_title("healthy probes; darker: higher score; blank: not tried", size=8, loc="left")


def _probes(ax: Any, document: Mapping[str, Any]) -> None:
    """The LLC at the probes relative to its largest value, for the chosen setting and the next best."""
    for rank, row in reversed(list(enumerate([document["pilot"], *document["trials"][:NOTABLE]]))):
        llc = np.array(row["llc"], dtype=float)
        largest = np.nanmax(np.abs(llc)) if np.isfinite(llc).any() else 1.0
        style = {"color": CURVE, "linewidth": 1.4, "marker": "o"} if rank == 0 else {"color": GREY, "linewidth": 0.7}
        label = f"{row['n_beta']:g}, {row['localization']:g}: up to {largest:.3g}"
        ax.plot(document["steps"], llc / (largest or 1.0), markersize=3, label=label, **style)
    ax.set_xscale("log")
    ax.set_xlabel("training step")
    ax.set_title("LLC at the probes, relative", size=8, loc="left")
    ax.legend(title="n_beta, localization", fontsize=6.5, title_fontsize=6.5, frameon=False)


def _traces(ax: Any, document: Mapping[str, Any]) -> None:
    """n_beta times the excess loss in the pilot, a line per probe from early (light) to late (dark)."""
    traces = document["pilot"]["trace"]
    for k, trace in enumerate(traces):
        values = np.array(trace, dtype=float)
        width = max(len(values) // 40, 1)
        smooth = np.convolve(values, np.ones(width) / width, mode="valid")
        ax.plot(
            np.arange(len(smooth)), smooth, color=CURVE, alpha=0.25 + 0.75 * k / max(len(traces) - 1, 1), linewidth=0.9
        )
    ax.axvline(document["length"]["burn_in"], color=INK, linewidth=0.8, linestyle=":")
    ax.set_xlabel("draw of the pilot run; dotted: burn-in")
    ax.set_title("running mean of the LLC, light: early probes", size=8, loc="left")
