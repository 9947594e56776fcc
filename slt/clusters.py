"""Landmarks from draws: positions that many draws agree on.

Legend of shapes: M positions of all draws one after the other, D draws.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

PER_WIDTH = 6  # grid points of the density per bandwidth
VALLEY = 0.5  # modes are one while the valley between them is above this share of the lower mode


def clusters(position_M: Floats, bandwidth: float) -> list[Ints]:
    """Group positions into the modes of their density (Gaussian kernel), in increasing order.

    Returns:
        For each cluster, the indices of its members.
    """
    if not len(position_M):
        return []
    cell = bandwidth / PER_WIDTH
    start = position_M.min() - 4 * bandwidth
    counts = np.bincount(((position_M - start) / cell).astype(int), minlength=1 + 8 * PER_WIDTH)
    offsets = np.arange(-4 * PER_WIDTH, 4 * PER_WIDTH + 1) / PER_WIDTH
    density = np.convolve(counts, np.exp(-0.5 * offsets**2), mode="same")
    density = np.append(density, np.zeros(4 * PER_WIDTH))
    cuts = start + cell * (_valleys(density) + 0.5)
    label = np.searchsorted(cuts, position_M)
    return [np.flatnonzero(label == k) for k in range(len(cuts) + 1)]


def _valleys(density: Floats) -> Ints:
    """Cells of the valleys that are deep enough to separate two modes."""
    rise = np.diff(density)
    moves = np.flatnonzero(rise)
    turn = np.diff(np.sign(rise[moves]))
    modes, valleys = moves[1:][turn < 0], moves[1:][turn > 0]
    while len(valleys):
        share = density[valleys] / np.minimum(density[modes[:-1]], density[modes[1:]])
        shallow = int(share.argmax())
        if share[shallow] <= VALLEY:
            break
        lower = shallow + int(density[modes[shallow]] >= density[modes[shallow + 1]])
        modes, valleys = np.delete(modes, lower), np.delete(valleys, shallow)
    return valleys


def by_draw(position_M: Floats, draw_M: Ints, members: Ints, draws: int) -> Floats:
    """(D,) the member of each draw, NaN where it has none; of several, the one nearest to the median."""
    chosen = np.full(draws, np.nan)
    distance = np.abs(position_M[members] - np.median(position_M[members]))
    nearest_last = members[np.argsort(-distance, kind="stable")]
    chosen[draw_M[nearest_last]] = position_M[nearest_last]
    return chosen
