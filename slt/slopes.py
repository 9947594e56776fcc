"""Draws of a curve's slope, from draws of its partition into straight segments.

Legend of shapes: B curves, T points, D draws, S segments of all draws, G cells of a uniform grid.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from slt.partitions import PartitionPosterior, Segments

Floats = NDArray[np.float64]

JUMP_SD = 4.0  # a step between two segments is real when it exceeds this many posterior sd


def draw_lines(
    posterior: PartitionPosterior, segments: Segments, per_curve: int, rng: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    """A draw of every segment's line.

    Returns:
        value_DT: the lines at the points; slope_DI: the slope in each of the T-1 gaps between points; deviation_DT: the
        lines' posterior standard deviation at the points, given the partition.
    """
    curve_S = segments.draw_S // per_curve
    sums = posterior.sums(curve_S, segments.first_S, segments.stop_S)
    level_precision = sums.weight + posterior.level_precision_B[curve_S]
    slope_precision = sums.spread + posterior.slope_precision_B[curve_S]
    level = sums.level / level_precision + rng.standard_normal(len(curve_S)) / np.sqrt(level_precision)
    slope = sums.product / slope_precision + rng.standard_normal(len(curve_S)) / np.sqrt(slope_precision)

    draws, points = int(segments.draw_S[-1]) + 1, len(posterior.x_T)
    length = segments.stop_S - segments.first_S

    def at_points(values_S: Floats) -> Floats:
        return np.repeat(values_S, length).reshape(draws, points)

    slope_DT = at_points(slope)
    value_DT = at_points(level - slope * sums.center) + slope_DT * posterior.x_T
    gap = np.diff(posterior.x_T)
    slope_DI = 0.5 * (slope_DT[:, 1:] + slope_DT[:, :-1])
    step_DI = np.diff(value_DT, axis=1)
    variance_DT = (
        at_points(1 / level_precision) + at_points(1 / slope_precision) * (posterior.x_T - at_points(sums.center)) ** 2
    )
    jump = np.abs(step_DI - slope_DI * gap) > JUMP_SD * np.sqrt(variance_DT[:, 1:] + variance_DT[:, :-1])
    slope_DI = np.where(jump, step_DI / gap, slope_DI)
    return value_DT + np.repeat(posterior.offset_B, per_curve)[:, None], slope_DI, np.sqrt(variance_DT)


def on_grid(x_T: Floats, slope_DI: Floats, edges_G1: Floats) -> Floats:
    """(D, G) mean slope in each cell, so that a step narrower than a cell keeps its whole height."""
    rise_DT = np.concatenate([np.zeros((len(slope_DI), 1)), np.cumsum(slope_DI * np.diff(x_T), axis=1)], axis=1)
    left = np.clip(np.searchsorted(x_T, edges_G1, side="right") - 1, 0, len(x_T) - 2)
    share = (edges_G1 - x_T[left]) / (x_T[left + 1] - x_T[left])
    at_edges = rise_DT[:, left] * (1 - share) + rise_DT[:, left + 1] * share
    return np.diff(at_edges, axis=1) / np.diff(edges_G1)


def hann(slope_DG: Floats, cell: float, half_width: float) -> Floats:
    """Weighted mean over a Hann window; at the ends the outermost value is repeated."""
    reach = int(np.ceil(half_width / cell)) - 1
    if reach < 1:
        return slope_DG
    weights = 0.5 + 0.5 * np.cos(np.pi * np.arange(-reach, reach + 1) * cell / half_width)
    padded = np.pad(slope_DG, ((0, 0), (reach, reach)), mode="edge")
    cells = slope_DG.shape[1]
    shifted = (w * padded[:, k : k + cells] for k, w in enumerate(weights / weights.sum()))
    return np.asarray(sum(shifted))
