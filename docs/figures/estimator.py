"""Draws the pictures of docs/estimator.md, in seconds: `python docs/figures/estimator.py`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from slt.closed_form import sgld_on_quadratic

IMAGES = Path(__file__).parent.parent / "images"
STYLE = {"font.size": 8, "svg.hashsalt": "slt", "axes.spines.top": False, "axes.spines.right": False}
BLUE, RED, GREY = "#2b5c8a", "#b5482f", "#888888"


def volumes() -> Figure:
    """How the share of parameters with nearly the same loss shrinks, in a regular and in a singular model."""
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-1, 1, (2, 400_000))
    figure = Figure(figsize=(6.4, 2.5), layout="constrained")
    for ax, loss, slope, title in (
        (figure.add_subplot(1, 2, 1), x**2 + y**2, 1.0, "$x^2+y^2$: LLC $d/2 = 1$"),
        (figure.add_subplot(1, 2, 2), x**2 * y**2, 0.5, "$x^2y^2$: LLC $1/2$, multiplicity 2"),
    ):
        levels = np.geomspace(1e-4, 0.3, 25)
        volume = np.array([(loss < level).mean() for level in levels])
        ax.loglog(levels, volume, "o", color=BLUE, markersize=3)
        shape = levels**slope * (0.5 * np.log(1 / levels) + 1 if slope < 1 else 1)
        ax.loglog(levels, shape * volume[5] / shape[5], color=GREY, linewidth=0.8)
        ax.set_title(title, size=8)
        ax.set_xlabel("tolerated loss")
        ax.set_ylabel("share of parameters")
    return figure


def chain(curvatures: np.ndarray, localization: float, step: float, draws: int) -> np.ndarray:
    """(draws,) n_beta * excess loss of one full-batch SGLD chain from the minimum of a quadratic."""
    rng = np.random.default_rng(1)
    w, losses = np.zeros(len(curvatures)), []
    for _ in range(draws):
        losses.append(0.5 * (curvatures * w**2).sum())
        w = w - 0.5 * step * (curvatures + localization) * w + np.sqrt(step) * rng.standard_normal(len(w))
    return np.array(losses)


def steps() -> Figure:
    """One posterior, three step sizes; and the exact finite-step answer over the step."""
    curvatures, localization = np.geomspace(0.5, 50, 20), 5.0
    limit = 4 / (curvatures.max() + localization)
    figure = Figure(figsize=(6.4, 2.5), layout="constrained")
    traces, bias = figure.subplots(1, 2)
    for share, color, label in ((0.005, GREY, "too small"), (0.15, BLUE, "good"), (0.93, RED, "too large")):
        traces.plot(chain(curvatures, localization, share * limit, 300), color=color, linewidth=0.8, label=label)
    traces.set_xlabel("draw")
    traces.set_ylabel("$n\\beta\\,(L(w) - L(w^*))$")
    traces.legend(frameon=False)
    shares = np.linspace(0.005, 0.97, 80)
    bias.plot(shares, [sgld_on_quadratic(curvatures, localization, s * limit, 2)[0] for s in shares], color=BLUE)
    bias.axhline(0.5 * (curvatures / (curvatures + localization)).sum(), color=GREY, linewidth=0.8, linestyle=":")
    bias.set_xlabel("step size / largest stable one")
    bias.set_ylabel("LLC; dotted: without a step's bias")
    return figure


def localizations() -> Figure:
    """LLC of a quadratic with 60 parameters over localization: a plateau, then a number that only measures gamma."""
    curvatures, gammas = np.geomspace(1, 1e3, 60), np.geomspace(1e-2, 1e6, 100)
    llc = np.array([0.5 * (curvatures / (curvatures + gamma)).sum() for gamma in gammas])
    share = -np.gradient(np.log(llc), np.log(gammas))
    figure = Figure(figsize=(6.4, 2.3), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.loglog(gammas, llc, color=BLUE)
    left.axhline(0.5, color=RED, linewidth=0.8, linestyle=":")
    left.set_ylabel("LLC; dotted: one parameter")
    right.semilogx(gammas, share, color=BLUE)
    right.set_ylabel("share due to localization")
    for ax in (left, right):
        ax.set_xlabel("localization $\\gamma$")
    return figure


def main() -> None:
    """Write the three pictures to docs/images."""
    IMAGES.mkdir(exist_ok=True)
    with rc_context(STYLE):
        for name, draw in (("volumes", volumes), ("steps", steps), ("localizations", localizations)):
            draw().savefig(IMAGES / f"estimator_{name}.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
