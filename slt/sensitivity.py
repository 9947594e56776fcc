"""How readily a boundary is named, by what that costs: expected boundaries on a curve that is noise alone.

Counted by `python -m benchmarks.stages.false_boundaries` on 3,000 null curves of white noise, 50, 100 and 200
checkpoints, none of which had one of the default's probability. Noise that lasts gives more (see docs/stages.md).
"""

from __future__ import annotations

import numpy as np

from slt.errors import BadInput

DEFAULT = 0.5
PER_NULL = {
    0.09: 0.1720,
    0.1125: 0.1073,
    0.135: 0.0740,
    0.16: 0.0520,
    0.18: 0.0417,
    0.2: 0.0320,
    0.225: 0.0210,
    0.25: 0.0157,
    0.275: 0.0120,
    0.3: 0.0067,
    0.35: 0.0023,
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
