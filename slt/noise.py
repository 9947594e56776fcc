"""Local noise of a curve on an uneven grid: from its own third differences, and from replicates.

The spread over chains is not this noise: with common random numbers a chain's deviation from the
mean is a frozen offset (lag-1 autocorrelation 0.98 to 1.00 over checkpoints), which moves the curve
up and down as a whole and leaves its shape alone. What does not stay the same over checkpoints is
noise, and where it lasts for several checkpoints only the chains can tell it from signal.

Legend of shapes: B curves, T checkpoints, C chains, N blocks of checkpoints.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ORDER = 3  # second differences take curvature for noise: 3x too much in the steep part of a published curve
SD_PER_MEDIAN = 1.4826  # sd of a Gaussian over the median of its absolute value
MEDIAN_POINTS = 31
MEAN_POINTS = 15
LOCAL_SHARE = 0.8
FLOOR = 1e-4  # of the curve's range: published tables carry about four digits
SAFETY = 1.2  # differences see only the roughest part of the noise
BLOCK = 3  # checkpoints over which lasting noise is averaged
LONGER = 1.35  # noise that lasts comes to more in the long run than blocks show (AR(1) 0.5: 1.5 times)


def local_noise(x_T: Floats, y_BT: Floats) -> Floats:
    """Standard deviation of the noise at each point, smooth over the grid.

    Args:
        x_T: strictly increasing positions.
        y_BT: one or more curves, (T,) or (B, T), T >= 4.

    Returns:
        Standard deviations, shaped like `y_BT`, in its unit; at least 1.2e-4 of the curve's range.
    """
    deviation = np.abs(differences(x_T, y_BT))
    nearby = SD_PER_MEDIAN * np.median(_windows(deviation, MEDIAN_POINTS), axis=-1)
    overall = SD_PER_MEDIAN * np.median(deviation, axis=-1, keepdims=True)
    variance = LOCAL_SHARE * nearby**2 + (1 - LOCAL_SHARE) * np.minimum(overall, 3 * nearby) ** 2
    ends = [(0, 0)] * (y_BT.ndim - 1) + [(ORDER // 2, ORDER - ORDER // 2)]
    smooth = _windows(np.pad(variance, ends, mode="edge"), MEAN_POINTS).mean(axis=-1)
    return np.asarray(SAFETY * np.maximum(np.sqrt(smooth), FLOOR * np.ptp(y_BT, axis=-1, keepdims=True)))


def lasting_noise(x_T: Floats, chains_TC: Floats) -> Floats:
    """(T,) noise of the mean over chains, from the chains' deviations in blocks of three checkpoints.

    White noise gives the same as single checkpoints would; noise that lasts averages out more slowly
    and gives more (1.7 times, AR(1) 0.5). An offset that is frozen or drifts smoothly gives nothing.
    Zero where there are too few checkpoints for a difference of blocks.
    """
    blocks = len(x_T) // BLOCK
    if blocks <= ORDER:
        return np.zeros(len(x_T))
    first = np.arange(blocks) * BLOCK
    size_N = np.diff(np.append(first, len(x_T)))
    deviation_CT = (chains_TC - chains_TC.mean(axis=1, keepdims=True)).T
    x_N = np.add.reduceat(x_T, first) / size_N
    block_CN = np.add.reduceat(deviation_CT, first, axis=1) / size_N
    chains = len(deviation_CT)
    sd_CN = np.abs(differences(x_N, block_CN)) * SD_PER_MEDIAN * np.sqrt(BLOCK / (chains - 1))
    near = np.moveaxis(_windows(sd_CN, MEDIAN_POINTS // BLOCK), 0, -1)
    # a median over chains and blocks: one restless chain is not noise of all the others
    typical = np.median(near.reshape(len(near), -1), axis=-1)
    middle = x_N[ORDER // 2 : ORDER // 2 + len(typical)]
    return np.asarray(SAFETY * np.interp(x_T, middle, typical))


def curve_noise(x_T: Floats, y_BT: Floats, chains_TC: Floats | None) -> Floats:
    """The noise to hold boundaries against: local, or lasting where chains show that it lasts.

    Without chains, noise that lasts cannot be told from signal.
    """
    local_BT = local_noise(x_T, y_BT)
    if chains_TC is None:
        return local_BT
    return np.maximum(local_BT, LONGER * lasting_noise(x_T, chains_TC))


def differences(x_T: Floats, y_BT: Floats) -> Floats:
    """(..., T-3) divided differences of third order, scaled to the variance of white noise; quadratics give 0."""
    near = sliding_window_view(x_T, ORDER + 1)
    apart = near[:, :, None] - near[:, None, :] + np.eye(ORDER + 1)
    weights = 1 / apart.prod(axis=2)
    weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    return np.asarray((sliding_window_view(y_BT, ORDER + 1, axis=-1) * weights).sum(axis=-1))


def _windows(values: Floats, points: int) -> Floats:
    """(..., T, points) the window around each point; at the ends, the nearest whole window."""
    length = values.shape[-1]
    points = min(points, length)
    windows = sliding_window_view(values, points, axis=-1)
    first = np.clip(np.arange(length) - points // 2, 0, length - points)
    return windows[..., first, :]
