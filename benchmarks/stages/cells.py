"""The curves of the bench: which generator, seen how, and what is known about them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slt.synthetic import LINEAR_STEP, Sampling, SyntheticCurve, jumps, null, ramps, smooth_steps
from slt.trajectory import Trajectory

Floats = NDArray[np.float64]

PUBLISHED = Path(__file__).resolve().parents[3] / "shared" / "data" / "llc_regression_seed1.csv"
PUBLISHED_STEPS = (1_000.0, 40_000.0, 126_000.0, 320_000.0)
OTHER_FIRST = 1_500.0
"""The authors' other reading of the first stage's end."""

NOISES = (0.002, 0.01, 0.03)
POINTS = (50, 100, 200)
SPAN = (1.0, 6.0)
"""Decades that every synthetic curve covers."""


@dataclass(frozen=True)
class Spec:
    """One curve of the bench.

    Attributes:
        family: "smooth", "shelves", "peaks", "ramps", "jumps", "null" or "published".
        sampling: how it is seen.
        seed: of the curve and its noise; even ones set knobs, odd ones above a million score.
        change: "", or what is done to it: "thinned" (every second checkpoint), "noisier" (noise of sqrt(3) times its
            own added: twice the noise), "half chains".
        draw: of the change.
    """

    family: str
    sampling: Sampling = field(default_factory=Sampling)
    seed: int = 0
    change: str = ""
    draw: int = 0

    @property
    def whole(self) -> Spec:
        """The same curve, unchanged."""
        return replace(self, change="", draw=0)


@dataclass(frozen=True, eq=False)
class Known:
    """A trajectory and what is true of it, in decades."""

    trajectory: Trajectory
    boundaries: Floats
    onsets: Floats
    axis: str = "log"


def curve(spec: Spec) -> Known:
    """Make the curve of a spec."""
    if spec.family == "published":
        whole = Trajectory.from_csv(PUBLISHED)
        known = Known(whole.select(whole.steps > 0), np.log10(PUBLISHED_STEPS), np.empty(0))  # peers know no step 0
    else:
        known = _known(_synthetic(spec))
    if not spec.change:
        return known
    rng = np.random.default_rng((spec.seed, spec.draw))
    return replace(known, trajectory=_CHANGES[spec.change](known.trajectory, spec, rng))


def decades(steps: Floats, axis: str) -> Floats:
    """Positions of steps of a synthetic curve (on the linear axis) or of any curve (on the log axis)."""
    return np.log10(steps) if axis == "log" else steps / LINEAR_STEP + SPAN[0]


def _synthetic(spec: Spec) -> SyntheticCurve:
    match spec.family:
        case "smooth":
            return smooth_steps(spec.sampling, seed=spec.seed)
        case "shelves":
            return smooth_steps(spec.sampling, signs="rising", seed=spec.seed)
        case "peaks":
            return smooth_steps(spec.sampling, signs="alternating", seed=spec.seed)
    return {"ramps": ramps, "jumps": jumps, "null": null}[spec.family](spec.sampling, seed=spec.seed)


def _known(made: SyntheticCurve) -> Known:
    first = [] if made.first_onset is None else [made.first_onset]
    onsets = decades(np.append(first, made.onsets), made.axis)
    return Known(made.trajectory, decades(made.boundaries, made.axis), onsets, made.axis)


def _thinned(trajectory: Trajectory, spec: Spec, rng: np.random.Generator) -> Trajectory:
    return trajectory.select(slice(spec.draw % 2, None, 2))


def _noisier(trajectory: Trajectory, spec: Spec, rng: np.random.Generator) -> Trajectory:
    noise = spec.sampling.noise if spec.family != "published" else _roughness(trajectory)
    added = np.sqrt(3.0) * noise * rng.standard_normal(len(trajectory))
    chains = trajectory.llc_chains
    return replace(
        trajectory, llc=trajectory.llc + added, llc_chains=None if chains is None else chains + added[:, None]
    )


def second_differences(x_T: Floats, y_T: Floats) -> Floats:
    """(T-2,) inner points less the chord of their neighbours, scaled to the variance of white noise."""
    w = (x_T[2:] - x_T[1:-1]) / (x_T[2:] - x_T[:-2])
    return np.asarray((y_T[1:-1] - w * y_T[:-2] - (1 - w) * y_T[2:]) / np.sqrt(1 + w**2 + (1 - w) ** 2))


def _roughness(trajectory: Trajectory, window: int = 31) -> Floats:
    """(T,) noise of a measured curve: 1.4826 times the median |second difference| of the nearest checkpoints."""
    rough = np.abs(second_differences(np.log10(trajectory.steps), trajectory.llc))
    first = np.clip(np.arange(len(trajectory)) - 1 - window // 2, 0, len(rough) - window)
    return np.array([1.4826 * np.median(rough[start : start + window]) for start in first])


def _half_chains(trajectory: Trajectory, spec: Spec, rng: np.random.Generator) -> Trajectory:
    assert trajectory.llc_chains is not None
    count = trajectory.llc_chains.shape[1]
    chains = trajectory.llc_chains[:, rng.permutation(count)[: count // 2]]
    error = chains.std(axis=1, ddof=1) / np.sqrt(chains.shape[1])
    return replace(trajectory, llc=chains.mean(axis=1), llc_chains=chains, llc_std_error=error)


_CHANGES = {"thinned": _thinned, "noisier": _noisier, "half chains": _half_chains}


UNSEEN = 1_000_000
"""Where scored seeds begin: the detector's constants were set by hand, with curves of smaller seeds in view."""


def seed(number: int, half: int, cell: int = 0) -> int:
    """Of a curve of a cell; half 0 sets knobs (even seeds), half 1 is scored (odd ones)."""
    return 1000 * cell + 2 * number + half * (UNSEEN + 1)


def grid(
    families: Iterable[str], count: int, *, noises: Iterable[float] = NOISES, points: Iterable[int] = POINTS, half: int
) -> list[Spec]:
    """`count` curves for each family, noise and number of points."""
    cells = product(families, noises, points)
    return [
        Spec(family, Sampling(points=size, noise=noise), seed=seed(k, half, cell))
        for cell, (family, noise, size) in enumerate(cells)
        for k in range(count)
    ]


def nulls(correlation: float, count: int, *, half: int, chains: int = 0) -> list[Spec]:
    """`count` curves of noise alone for each number of points; chains have noise of their own: replicates."""
    return [
        Spec(
            "null",
            Sampling(size, correlation=correlation, chains=chains, common_noise=False),
            seed(k, half, cell),
        )
        for cell, size in enumerate(POINTS)
        for k in range(count)
    ]


HARDER = {
    "noise that grows tenfold": Spec("smooth", Sampling(growth=10.0)),
    "AR(1) 0.5 noise": Spec("smooth", Sampling(correlation=0.5)),
    "half of the checkpoints linear in the step": Spec("smooth", Sampling(grid="mixed")),
    "a linear axis": Spec("smooth", Sampling(grid="linear")),
    "8 chains with frozen offsets": Spec("smooth", Sampling(chains=8)),
    "8 chains with noise of their own": Spec("smooth", Sampling(chains=8, common_noise=False)),
    "shelves alone": Spec("shelves"),
    "peaks and troughs alone": Spec("peaks"),
}
"""What the grid leaves out, at 1 % noise and 100 checkpoints."""


def harder(count: int) -> dict[str, list[Spec]]:
    """`count` scored curves of each kind."""
    return {name: [replace(spec, seed=seed(k, 1)) for k in range(count)] for name, spec in HARDER.items()}


def repeated(count: int) -> list[Spec]:
    """Curves whose answer should survive a change: smooth, 1 % noise, 100 and 200 checkpoints, both kinds of chains."""
    kinds = product((100, 200), (True, False))
    return [
        Spec("smooth", Sampling(points=size, chains=8, common_noise=common), seed=seed(k, 1, cell))
        for cell, (size, common) in enumerate(kinds)
        for k in range(count)
    ]


def changes(specs: Iterable[Spec], draws: int = 1) -> list[Spec]:
    """Every change of every curve; thinning keeps the even or the odd checkpoints."""
    return [
        replace(spec, change=change, draw=draw)
        for spec in specs
        for change in _CHANGES
        for draw in range(min(draws, 2) if change == "thinned" else draws)
    ]
