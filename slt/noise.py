"""Local noise of a curve on an uneven grid, from its second differences.

The spread over chains is not this noise: with common random numbers a chain's deviation from the
mean is a frozen offset (lag-1 autocorrelation 0.98 to 1.00 over checkpoints), which moves the curve
up and down as a whole and leaves its shape alone.

Legend of shapes: B curves, T checkpoints.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SD_PER_MEDIAN = 1.4826  # sd of a Gaussian over the median of its absolute value
MEDIAN_POINTS = 31
MEAN_POINTS = 15
LOCAL_SHARE = 0.8
FLOOR = 1e-4  # of the curve's range: published tables carry about four digits
SAFETY = 1.2  # second differences see only the roughest part of the noise


def local_noise(x_T: Floats, y_BT: Floats) -> Floats:
    """Standard deviation of the noise at each point, smooth over the grid.

    Args:
        x_T: strictly increasing positions.
        y_BT: one or more curves, (T,) or (B, T), T >= 3.

    Returns:
        Standard deviations, shaped like `y_BT`, in its unit; at least 1.2e-4 of the curve's range.
    """
    deviation = np.abs(second_differences(x_T, y_BT))
    nearby = SD_PER_MEDIAN * np.median(_windows(deviation, MEDIAN_POINTS), axis=-1)
    overall = SD_PER_MEDIAN * np.median(deviation, axis=-1, keepdims=True)
    variance = LOCAL_SHARE * nearby**2 + (1 - LOCAL_SHARE) * np.minimum(overall, 3 * nearby) ** 2
    ends = [(0, 0)] * (y_BT.ndim - 1) + [(1, 1)]
    smooth = _windows(np.pad(variance, ends, mode="edge"), MEAN_POINTS).mean(axis=-1)
    return SAFETY * np.maximum(np.sqrt(smooth), FLOOR * np.ptp(y_BT, axis=-1, keepdims=True))


def second_differences(x_T: Floats, y_BT: Floats) -> Floats:
    """(..., T-2) each inner point minus the chord of its neighbours, scaled to the noise's own variance."""
    w = (x_T[2:] - x_T[1:-1]) / (x_T[2:] - x_T[:-2])
    chord = w * y_BT[..., :-2] + (1 - w) * y_BT[..., 2:]
    return (y_BT[..., 1:-1] - chord) / np.sqrt(1 + w**2 + (1 - w) ** 2)


def _windows(values: Floats, points: int) -> Floats:
    """(..., T, points) the window around each point; at the ends, the nearest whole window."""
    length = values.shape[-1]
    points = min(points, length)
    windows = sliding_window_view(values, points, axis=-1)
    first = np.clip(np.arange(length) - points // 2, 0, length - points)
    return windows[..., first, :]
