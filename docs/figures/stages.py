"""The pictures of docs/stages.md: `python docs/figures/stages.py` writes them to docs/images/."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from slt.stages import Boundary, detect_stages
from slt.synthetic import Sampling, SyntheticCurve, null, smooth_steps
from slt.trajectory import Floats, Trajectory
from workers.report.palette import CURVE, EVENT, GREY, INK, ONSET

IMAGES = Path(__file__).resolve().parents[1] / "images"
STYLE = {"svg.hashsalt": "stages", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}


def main(folder: Path = IMAGES) -> None:
    """Write all pictures."""
    mpl.rcParams.update(STYLE)
    for name, figure in (("boundary", boundary()), ("probability", probability()), ("distrust", distrust())):
        figure.savefig(folder / f"stages_{name}.svg", bbox_inches="tight", metadata={"Date": None})


def boundary() -> Figure:
    """A curve, its speed, the boundaries and onsets, and where a change in mean would be."""
    made = smooth_steps(Sampling(points=150, noise=0.003), bursts=3, signs="mixed", seed=9)
    figure = Figure(figsize=(7.2, 4.2))
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    trajectory = made.trajectory
    upper.plot(trajectory.steps, trajectory.llc, color=CURVE, lw=1.5)
    clean = smooth_steps(Sampling(points=1000, noise=0.0), bursts=3, signs="mixed", seed=9).trajectory
    speed = np.abs(np.gradient(clean.llc, np.log10(clean.steps)))
    lower.plot(clean.steps, speed, color=CURVE, lw=1.5)
    stages = detect_stages(trajectory)
    for axes in (upper, lower):
        for each in stages.boundaries:
            _mark(axes, each)
        axes.plot([], [], color=INK, label="boundary")
        for onset in stages.onsets:
            axes.axvline(onset.step, color=ONSET, lw=1, ls="--")
        axes.plot([], [], color=ONSET, ls="--", label="onset of the next burst")
    for step in change_in_mean(trajectory, cuts=len(stages.boundaries)):
        upper.axvline(step, color=EVENT, lw=1, ls=":")
    upper.plot([], [], color=EVENT, ls=":", label="best change in mean")
    upper.legend(fontsize=8, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    upper.set_ylabel("LLC")
    lower.set(xscale="log", xlabel="training step", ylabel="|d LLC / d log step|")
    return figure


def change_in_mean(trajectory: Trajectory, cuts: int) -> Floats:
    """The cuts into levels with the least squared error, by dynamic programming; told how many."""
    y_T = trajectory.llc
    ends = np.arange(len(y_T) + 1)
    total, square = np.append(0.0, np.cumsum(y_T)), np.append(0.0, np.cumsum(y_T**2))
    size = np.maximum(ends[None] - ends[:, None], 1)
    cost = np.where(
        ends[None] > ends[:, None], square[None] - square[:, None] - (total[None] - total[:, None]) ** 2 / size, np.inf
    )
    best, came_from = cost[0], []
    for _ in range(cuts):
        candidates = best[:, None] + cost
        came_from.append(candidates.argmin(axis=0))
        best = candidates.min(axis=0)
    found, end = [], len(y_T)
    for table in reversed(came_from):
        end = int(table[end])
        found.append(end)
    return np.sqrt(trajectory.steps[np.array(found)] * trajectory.steps[np.array(found) - 1])


def probability() -> Figure:
    """One curve under two levels of noise."""
    figure = Figure(figsize=(7.2, 2.8))
    for axes, noise in zip(figure.subplots(1, 2, sharey=True), (0.004, 0.03), strict=True):
        made = smooth_steps(Sampling(points=80, noise=noise), bursts=3, signs="rising", seed=8)
        _panel(axes, made, f"noise {noise:.1%} of the range".replace("%", " %"))
    figure.axes[0].set_ylabel("LLC")
    return figure


def distrust() -> Figure:
    """Noise that lasts, without and with chains that tell it from signal, and shelves with too few checkpoints."""
    figure = Figure(figsize=(9.2, 2.8))
    alone, replicated, sparse = figure.subplots(1, 3)
    lasting = Sampling(points=120, correlation=0.5)
    _panel(alone, null(lasting, seed=1), "only noise, but it lasts")
    _panel(replicated, null(replace(lasting, chains=4, common_noise=False), seed=1), "the same with four chains")
    few = smooth_steps(Sampling(points=14, noise=0.01), bursts=3, signs="rising", seed=6)
    _panel(sparse, few, "two shelves, 14 checkpoints")
    alone.set_ylabel("LLC")
    return figure


def _panel(axes: Axes, made: SyntheticCurve, title: str) -> None:
    stages = detect_stages(made.trajectory)
    axes.plot(made.trajectory.steps, made.trajectory.llc, color=CURVE, lw=1, marker=".", ms=3)
    for number, each in enumerate(sorted((*stages.boundaries, *stages.tentative), key=lambda each: each.step)):
        _mark(axes, each)
        place = (each.step, 1.0 + 0.06 * (number % 2))
        text = f"{each.probability:.2f}"
        axes.annotate(text, place, xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize=7)
    for step in made.boundaries:
        axes.plot(step, 0.02, marker="^", ms=6, color=EVENT, transform=axes.get_xaxis_transform(), clip_on=False)
    axes.set_title(title, fontsize=9, pad=20)
    axes.set(xscale="log", xlabel="training step")


def _mark(axes: Axes, each: Boundary) -> None:
    sure = each.probability >= 0.5
    axes.axvspan(each.low, each.high, color=GREY, alpha=0.18, lw=0)
    axes.axvline(each.step, color=INK if sure else GREY, lw=1, ls="-" if sure else "--")


if __name__ == "__main__":
    main(*(Path(folder) for folder in sys.argv[1:]))
