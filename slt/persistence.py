"""Persistent minima of |slope|: the rests between two bursts of change that neither noise nor detail explains.

Legend of shapes: D draws, G grid cells, K minima of a draw (padded), M minima of all draws one after the other.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
_Number = TypeVar("_Number", bound=np.generic)

DIP = 0.6  # |slope| must fall to this share of the lower of the two bursts
BURST = 0.01  # each burst must hold this share of the total variation
REST_SPEED = 0.03  # speeds below this share of the mean speed count as rest
BOTTOM = 0.25  # the rest at a shelf reaches up to this share of the minimum's depth
TOP = 0.05  # a peak or a trough, as far as the curve stays within this share of the smaller change beside it
ONSET = 0.45  # a burst begins at about half its speed; a gap that holds a kink has just half, and counts


class Minima(NamedTuple):
    """Minima of all draws one after the other; positions are cells of the grid, fractional for midpoints.

    Attributes:
        draw_M: the draw.
        cell_M: the minimum itself.
        middle_M: midpoint of the rest around it.
        before_M, after_M: maxima of the bursts on its two sides.
        until_M: the next minimum of the draw, or G.
    """

    draw_M: Ints
    cell_M: Ints
    middle_M: Floats
    before_M: Ints
    after_M: Ints
    until_M: Ints


def persistent_minima(slope_DG: Floats, smallest_DG: Floats | None = None) -> Minima:
    """Minima of |slope| between two bursts, after deleting all that are shallow or part small bursts.

    For a minimum between two maxima: `q1 = log[(min(aL, aR) + v0)/(amin + v0)] / log(1/0.6)` and
    `q2 = min(integral left / needed left, integral right / needed right)`, where a burst needs 0.01 TV, or the smallest
    change that is known to be one where the burst is, if that is more. While the smallest `min(q1, q2)` of a draw is
    below 1, that minimum goes, together with the lower of its two maxima.

    Args:
        slope_DG: (D, G) slopes on a uniform grid.
        smallest_DG: (D, G) what a burst's cells must at least add up to, root mean square over them; none by default.
    """
    draws, cells = slope_DG.shape
    speed_DG = np.abs(slope_DG)
    total_D = np.maximum(speed_DG.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    square_DG = np.zeros_like(speed_DG) if smallest_DG is None else (smallest_DG / total_D) ** 2
    speed_DG = np.round(speed_DG / total_D, 12)  # rounding levels what only the last bits tell apart
    rest = REST_SPEED / cells
    low, high, count_D = _extrema(speed_DG)
    rows, column = np.arange(draws)[:, None], np.arange(low.shape[1])
    # of each burst: its change, what such a change must be, squared, summed over its cells, and their number
    sum_DG = np.cumsum([speed_DG, square_DG, np.ones_like(speed_DG)], axis=2)
    at_minima = np.where(column < count_D[:, None], sum_DG[:, rows, low], sum_DG[:, :, -1:])
    sums = np.diff(at_minima, axis=2, prepend=0.0, append=sum_DG[:, :, -1:])
    while len(column):
        lower = np.minimum(speed_DG[rows, high[:, :-1]], speed_DG[rows, high[:, 1:]])
        depth = np.log((lower + rest) / (speed_DG[rows, low] + rest)) / np.log(1 / DIP)
        change, square, width = sums
        burst = change / np.maximum(BURST, np.sqrt(square / np.maximum(width, 1.0)))
        quality = np.minimum(depth, np.minimum(burst[:, :-1], burst[:, 1:]))
        quality[column >= count_D[:, None]] = np.inf
        worst = quality.argmin(axis=1)
        shallow = quality[rows[:, 0], worst] < 1
        if not shallow.any():
            break
        low, high, sums = _merge(speed_DG, low, high, sums, worst, shallow)
        count_D = count_D - shallow
    return _describe(np.copysign(speed_DG, slope_DG), low, high, count_D)


def _extrema(speed_DG: Floats) -> tuple[Ints, Ints, Ints]:
    """(D, K) minima, (D, K+1) maxima around them (both padded with the last cell) and the count of minima."""
    draws, cells = speed_DG.shape
    sign = np.sign(np.diff(speed_DG, axis=1))
    # On level ground the curve goes on as it went before; at the start, as it will go.
    moving = sign != 0
    came_from = np.maximum.accumulate(np.where(moving, np.arange(cells - 1), 0), axis=1)
    came_from = np.maximum(came_from, moving.argmax(axis=1, keepdims=True))
    sign = np.take_along_axis(sign, came_from, axis=1)
    always = np.ones((draws, 1), bool)
    climbs_to = np.concatenate([always, sign > 0], axis=1)
    climbs_from = np.concatenate([sign > 0, ~always], axis=1)
    is_high, is_low = climbs_to & ~climbs_from, ~climbs_to & climbs_from
    count_D = is_low.sum(axis=1)
    low = np.full((draws, int(count_D.max())), cells - 1)
    high = np.full((draws, int(count_D.max()) + 1), cells - 1)
    for found, table in ((is_low, low), (is_high, high)):
        draw, cell = np.nonzero(found)
        rank = np.arange(len(draw)) - np.searchsorted(draw, draw)
        table[draw, rank] = cell
    return low, high, count_D


def _merge(
    speed_DG: Floats, low: Ints, high: Ints, sums: Floats, worst: Ints, active: NDArray[np.bool_]
) -> tuple[Ints, Ints, Floats]:
    """Delete minimum `worst` of each active draw; its two bursts become one."""
    rows, at, after = np.flatnonzero(active), worst[active], worst[active] + 1
    sums[:, rows, after] += sums[:, rows, at]
    left, right = high[rows, at], high[rows, after]
    high[rows, after] = np.where(speed_DG[rows, left] > speed_DG[rows, right], left, right)

    def without(table: NDArray[_Number]) -> NDArray[_Number]:
        column = np.arange(table.shape[1])
        moved = np.minimum(column + (active[:, None] & (column >= worst[:, None])), table.shape[1] - 1)
        return np.take_along_axis(table, moved, axis=1)

    return without(low), without(high), np.stack([without(each) for each in sums])


def _describe(slope_DG: Floats, low: Ints, high: Ints, count_D: Ints) -> Minima:
    cells = slope_DG.shape[1]
    draw, rank = np.nonzero(np.arange(low.shape[1]) < count_D[:, None])
    cell, before, after = low[draw, rank], high[draw, rank], high[draw, rank + 1]
    is_last = rank + 1 == count_D[draw]
    until = np.where(is_last, cells, np.append(cell[1:], cells)[: len(cell)])
    since = np.where(rank > 0, np.append(0, cell[:-1]), 0)
    turns = slope_DG[draw, before] * slope_DG[draw, after] < 0
    outside = np.where(
        turns[:, None],
        _off_the_top(np.abs(slope_DG), draw, since, cell, until),
        _above_the_bottom(np.abs(slope_DG[draw]), before, cell, after),
    )
    index = np.arange(cells)
    left = np.where(outside & (index < cell[:, None]), index, -1).max(axis=1, initial=-1) + 1
    right = np.where(outside & (index > cell[:, None]), index, cells).min(axis=1, initial=cells) - 1
    return Minima(draw, cell, 0.5 * (left + right), before, after, until)


def _above_the_bottom(speed_MG: Floats, before: Ints, cell: Ints, after: Ints) -> NDArray[np.bool_]:
    """(M, G) where the curve is too fast to rest."""
    row = np.arange(len(cell))
    bottom = speed_MG[row, cell]
    level = bottom + BOTTOM * (np.minimum(speed_MG[row, before], speed_MG[row, after]) - bottom)
    return np.asarray(speed_MG > level[:, None])


def _off_the_top(speed_DG: Floats, draw: Ints, since: Ints, cell: Ints, until: Ints) -> NDArray[np.bool_]:
    """(M, G) where the curve has gone too far from where it was in the minimum's cell.

    The speed would not do here: beside the one side that is slow the top is a small part of what is not fast.
    """
    path_DG = np.cumsum(speed_DG, axis=1)
    path_MG, row = path_DG[draw], np.arange(len(cell))
    at = path_MG[row, cell]
    smaller = np.minimum(at - path_MG[row, since], path_MG[row, np.minimum(until, speed_DG.shape[1] - 1)] - at)
    return np.asarray(np.abs(path_MG - at[:, None]) > TOP * smaller[:, None])


def burst_maxima(speed_DG: Floats, draw_M: Ints, from_M: Ints, until_M: Ints) -> Floats:
    """(M,) the greatest |slope| in the cells from..until-1 of each burst's draw."""
    index = np.arange(speed_DG.shape[1])
    inside = (index >= from_M[:, None]) & (index < until_M[:, None])
    return np.asarray(np.where(inside, speed_DG[draw_M], 0.0).max(axis=1, initial=0.0))


def burst_onsets(speed_DI: Floats, greatest_M: Floats, draw_M: Ints, from_M: Ints, until_M: Ints) -> Ints:
    """(M,) first of the gaps from..until-1 in which |slope| reaches half of a burst's greatest; `from_M` if none does.

    The greatest is that of the windowed slope, or a single noisy gap would be taken for the burst.
    """
    index = np.arange(speed_DI.shape[1])
    reached = (index >= from_M[:, None]) & (index < until_M[:, None])
    reached &= speed_DI[draw_M] >= ONSET * greatest_M[:, None]
    return np.where(reached.any(axis=1), reached.argmax(axis=1), from_M)
