"""How readily a boundary is named, by what that costs: expected boundaries on a curve that is noise alone.

Counted by `python -m benchmarks.stages.false_boundaries` on 3,000 null curves of white noise, 50, 100 and 200
checkpoints, none of which had one of the default's probability. Noise that lasts gives more (see docs/stages.md).
"""

from __future__ import annotations

import numpy as np

from slt.errors import BadInput

DEFAULT = 0.5
PER_NULL = {
    0.01: 0.4740,
    0.02: 0.1317,
    0.03: 0.0657,
    0.045: 0.0330,
    0.06: 0.0203,
    0.08: 0.0127,
    0.1: 0.0080,
    0.13: 0.0030,
    0.16: 0.0010,
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
