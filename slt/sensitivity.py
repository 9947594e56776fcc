"""How readily a boundary is named, by what that costs: expected boundaries on a curve that is noise alone.

Counted by `python -m benchmarks.stages.false_boundaries` on 3,000 null curves of white noise, 50, 100 and 200
checkpoints. Noise that lasts gives more (see docs/stages.md).
"""

from __future__ import annotations

import numpy as np

from slt.errors import BadInput

DEFAULT = 0.5
PER_NULL = {
    0.2: 0.1720,
    0.25: 0.1073,
    0.3: 0.0740,
    0.35: 0.0533,
    0.4: 0.0417,
    0.45: 0.0300,
    0.5: 0.0210,
    0.55: 0.0160,
    0.6: 0.0127,
    0.65: 0.0080,
    0.7: 0.0053,
}
"""Least probability of a boundary -> boundaries per null curve."""


def probability_for(false_boundaries: float) -> float:
    """The least probability at which a null curve has so many boundaries, on average.

    Args:
        false_boundaries: expected number per null curve.

    Raises:
        BadInput: outside of what was counted.
    """
    probabilities, counts = np.array(list(PER_NULL)), np.array(list(PER_NULL.values()))
    most, least = counts[0], counts[-1]
    if not least <= false_boundaries <= most:
        raise BadInput(
            f"{false_boundaries:g} expected false boundaries cannot be had; the detector was calibrated from "
            f"{least:g} to {most:g} per curve of noise"
        )
    return float(np.interp(-np.log(false_boundaries), -np.log(counts), probabilities))
