"""Everything with a known answer that more than one test file needs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray

from slt.stages import Boundary, Landmark, Stage, Stages

Floats = NDArray[np.float64]

DEEP_LINEAR = [  # widths, rank of the true product, lambda, multiplicity
    ((4, 4, 4, 4), 2, 7.5, 3),
    ((2, 2, 2), 0, 1.5, 1),
    ((3, 3, 3), 1, 4.0, 1),
    ((5, 4, 5), 2, 10.5, 1),
    ((4, 3, 8), 3, 13.5, 1),
    ((3, 8, 4), 3, 6.0, 1),
    ((10, 10, 10), 10, 50.0, 1),
    ((5, 5, 5, 5), 2, 11.0, 1),
    ((10, 10, 10, 10), 4, 44.0, 1),
    ((50, 50, 50, 50, 50), 20, 1081.5, 5),
    ((20, 30, 10, 40, 20), 6, 128.0, 1),
    ((64, 64, 64, 64), 16, 1664.0, 1),
    ((5, 10, 10, 10, 10, 5), 0, 12.5, 1),
    ((5, 10, 10, 10, 10, 5), 3, 12.5, 1),
]
REDUCED_RANK = [  # inputs, hidden, outputs, rank, lambda, multiplicity
    (10, 10, 10, 5, 47.0, 2),
    (5, 3, 5, 3, 10.5, 1),
    (2, 2, 2, 0, 1.5, 1),
]
REDUCED_RANK_LOCAL = [  # inputs, hidden, outputs, rank of A, rank of B, rank of BA, lambda, multiplicity
    (2, 2, 2, 2, 0, 0, 2.0, 1),
    (10, 10, 10, 5, 5, 5, 47.0, 2),
    (10, 10, 10, 10, 5, 5, 50.0, 1),
]
NORMAL_CROSSING = [  # powers k of prod w_i^(2 k_i), lambda, multiplicity
    ((0, 1), 0.5, 1),
    ((1, 2), 0.25, 1),
    ((2, 2), 0.25, 2),
    ((3, 3), 1 / 6, 2),
]

QUADRATIC = {"curvatures": (0.5, 3.0, 40.0), "localization": 5.0, "step_size": 0.02}
QUADRATIC_LLC = 0.8155


def two_layer_shapes(largest: int) -> list[tuple[int, int, int, int]]:
    """Each (inputs, hidden, outputs, rank) with widths up to `largest`."""
    widths = range(1, largest + 1)
    return [(m, h, n, r) for m, h, n in product(widths, repeat=3) for r in range(min(m, h, n) + 1)]


def sgld_losses(
    rng: np.random.Generator, *, chains: int, draws: int, curvatures: Sequence[float], localization: float,
    step_size: float,
) -> Floats:  # fmt: skip
    """(chains, draws) n_beta * excess loss of full-batch SGLD on a quadratic, from its stationary distribution."""
    h = np.asarray(curvatures)
    pull = h + localization
    a = 1 - step_size * pull / 2
    w = rng.standard_normal((chains, len(h))) * np.sqrt(1 / (pull * (1 - step_size * pull / 4)))
    losses = np.empty((chains, draws))
    for t in range(draws):
        losses[:, t] = (h * w**2).sum(axis=1) / 2
        w = a * w + np.sqrt(step_size) * rng.standard_normal(w.shape)
    return losses


def slow_chains(rng: np.random.Generator, *, time: float, chains: int = 4, draws: int = 300, modes: int = 6) -> Floats:
    """(chains, draws) stationary excess losses: half the sum of squares of AR(1) modes with this relaxation time."""
    a = np.exp(-1 / time) if time else 0.0
    w = rng.standard_normal((chains, modes))
    losses = np.empty((chains, draws))
    for t in range(draws):
        losses[:, t] = (w**2).sum(axis=1) / 2
        w = a * w + np.sqrt(1 - a * a) * rng.standard_normal(w.shape)
    return losses


def stages_at(
    boundaries: Sequence[float], onsets: Sequence[float | None], *, first: float = 10.0, last: float = 1e4,
    width: float = 0.02, draws: int = 400, probability: float = 0.9, seed: int = 0,
) -> Stages:  # fmt: skip
    """Stages with boundaries and onsets at these steps, each with this width (sd, in decades)."""
    rng = np.random.default_rng(seed)

    def drawn(steps: Sequence[float | None]) -> Floats:
        middle = np.log10([np.nan if step is None else step for step in steps])
        return 10 ** (middle + width * rng.standard_normal((draws, len(steps))))

    def landmark(step: float) -> Landmark:
        return Landmark(step, step / 10 ** (1.7 * width), step * 10 ** (1.7 * width), probability)

    ends = [first, *boundaries, last]
    return Stages(
        boundaries=tuple(
            Boundary(**vars(landmark(step)), kind="shelf", onset=None if onset is None else landmark(onset))
            for step, onset in zip(boundaries, onsets, strict=True)
        ),
        tentative=(),
        stages=tuple(Stage(start, end, "rise", 1.0) for start, end in pairwise(ends)),
        warnings=(),
        boundary_draws=drawn(boundaries),
        onset_draws=drawn(onsets),
    )
