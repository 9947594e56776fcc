"""`python -m benchmarks.stages.false_boundaries`: boundaries per null curve, for slt/sensitivity.py.

By least probability. White noise around a constant, 50, 100 and 200 checkpoints. To be run again when the detector
changes.
"""

from __future__ import annotations

import argparse
import os
from itertools import product
from multiprocessing import get_context

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: processes share the cores

import numpy as np

from slt.stages import detect_stages
from slt.synthetic import Sampling, null

POINTS = (50, 100, 200)
PROBABILITIES = (0.01, 0.02, 0.03, 0.045, 0.06, 0.08, 0.1, 0.13, 0.16)
FIRST_SEED = 100_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--curves", type=int, default=1000, help="for each number of checkpoints; default 1000")
    parser.add_argument("--processes", type=int, default=2, help="default 2")
    options = parser.parse_args()
    seeds = range(FIRST_SEED, FIRST_SEED + options.curves)
    with get_context("spawn").Pool(options.processes) as pool:
        each = pool.starmap(probabilities, product(POINTS, seeds), chunksize=20)
    found = np.concatenate([np.array(curve, dtype=float) for curve in each])
    for probability in PROBABILITIES:
        print(f"    {probability}: {(found >= probability).sum() / len(each):.4f},")


def probabilities(points: int, seed: int) -> list[float]:
    """Of every boundary that the detector sees in one null curve."""
    stages = detect_stages(null(Sampling(points=points), seed=seed).trajectory, probability=min(PROBABILITIES))
    return [boundary.probability for boundary in (*stages.boundaries, *stages.tentative)]


if __name__ == "__main__":
    main()
