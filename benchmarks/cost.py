"""Processor seconds to know the LLC of 50 checkpoints to 5 %: ours over devinterp's own sampler.

    python -m benchmarks.cost [--runs 6] [--json]

The linear network of the paired benchmark (1,200 parameters, n = 10,000), at 50 checkpoints of training that goes on
around the true parameter. All use SGLD with the same step, n_beta, localization, batches of 32 and 4 chains. The
standard error is the spread of the whole estimate over runs with different seeds, L(w*) included, because that is what
a user meets. The draws that 5 % take follow from it: the variance that draws average falls like one over their number,
what stems from L(w*) does not. devinterp is timed on one checkpoint, for it takes them one after the other; ours on
all 50. Burn-in, losses at w* and everything else that the entry points do are counted.

    devinterp, defaults   L(w*) from 32 batches, burn-in 0 and part of the average
    devinterp, at best    L(w*) from the whole data set, 100 steps of burn-in, left out, batches that differ by chain
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import math
import tempfile
import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.paired import BATCH, CHAINS, linear_network
from estimators.llc import SamplerConfig, sample_group
from estimators.problem import Problem

CHECKPOINTS, TARGET, DRAWS, BURN_IN, STEP_SIZE, LOCALIZATION = 50, 0.05, 200, 100, 3e-5, 100.0


@dataclass(frozen=True)
class Measured:
    """What runs of one kind gave.

    Attributes:
        llc: mean over runs.
        from_draws: standard error that the draws cause, at `DRAWS`; from_center: that L(w*) causes.
        seconds: of processor time for all checkpoints, at `DRAWS`; burn_in: the steps among them before draws.
    """

    llc: float
    from_draws: float
    from_center: float
    seconds: float
    burn_in: int

    @property
    def error(self) -> float:
        """Relative standard error as run."""
        return math.hypot(self.from_draws, self.from_center) / self.llc

    @property
    def draws_needed(self) -> float:
        """Draws per chain for the wished error; infinite where L(w*) alone is less certain than that."""
        room = (TARGET * self.llc) ** 2 - self.from_center**2
        return max(1.0, DRAWS * self.from_draws**2 / room) if room > 0 else math.inf

    @property
    def cost(self) -> float:
        """Processor seconds for the wished error."""
        return self.seconds * (self.burn_in + self.draws_needed) / (self.burn_in + DRAWS)


def trained_on(problem: Problem, weights: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """Checkpoints of SGD, 20 steps apart, that set out from `weights`."""
    assert isinstance(problem.data, tuple)
    problem.model.load_state_dict(weights)
    optimizer = torch.optim.SGD(problem.model.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(1)
    found = []
    for _ in range(CHECKPOINTS):
        for _ in range(20):
            rows = torch.randint(len(problem.data[0]), (BATCH,), generator=generator)
            optimizer.zero_grad()
            problem.loss(problem.model, tuple(tensor[rows] for tensor in problem.data)).mean().backward()
            optimizer.step()
        found.append({name: value.clone() for name, value in problem.model.state_dict().items()})
    return found


def ours(problem: Problem, checkpoints: list[dict[str, Tensor]], n_beta: float, runs: int) -> Measured:
    """L(w*) is of the same examples as the draws; what it causes is part of what the draws cause."""

    def sampled(checkpoints: list[dict[str, Tensor]], chains: int) -> np.ndarray:
        config = SamplerConfig(
            step_size=STEP_SIZE, n_beta=n_beta, localization=LOCALIZATION, chains=chains, draws=DRAWS,
            burn_in=BURN_IN, batch_size=BATCH, device="cpu",
        )  # fmt: skip
        return n_beta * sample_group(problem, checkpoints, config).excess_loss_KCD[:, :, BURN_IN:].mean(axis=2)

    sampled(checkpoints[:1], 1)
    start = time.process_time()
    sampled(checkpoints, CHAINS)
    seconds = time.process_time() - start
    llc = sampled(checkpoints[-1:], CHAINS * 4 * runs)[0].reshape(-1, CHAINS).mean(axis=1)
    return Measured(llc.mean(), llc.std(ddof=1), 0.0, seconds, BURN_IN)


def theirs(problem: Problem, weights: dict[str, Tensor], n_beta: float, runs: int, *, best: bool) -> Measured:
    """A row of their data holds an example's index twice; the loss looks it up."""
    from datasets import Dataset, disable_progress_bars
    from devinterp.slt.llc import llc

    disable_progress_bars()
    assert isinstance(problem.data, tuple)
    data, n = problem.data, len(problem.data[0])
    rows = Dataset.from_dict({"input_ids": [[i, i] for i in range(n)]}).with_format("torch")
    problem.model.load_state_dict(weights)
    burn_in = BURN_IN if best else 0
    settings: dict[str, Any] = {"num_chains": CHAINS, "num_draws": DRAWS, "num_burnin_steps": burn_in}
    if best:
        settings |= {"num_init_loss_batches": n // BATCH, "match_sampling_input_ids_across_chains": False}

    def looked_up(model: nn.Module, ids: Tensor) -> Tensor:
        return problem.loss(model, tuple(tensor[ids[:, 0]] for tensor in data)).unsqueeze(1)

    def run(seed: int) -> tuple[float, float]:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
            found = llc(
                problem.model, rows, {}, lr=STEP_SIZE, n_beta=n_beta, localization=LOCALIZATION, batch_size=BATCH,
                device="cpu", loss_fn=looked_up, init_seed=seed, output_path=f"{folder}/samples.zarr", **settings,
            )  # fmt: skip
        trace = found.loss_trace.values
        return float(trace[:, trace.shape[1] - DRAWS :].mean()), float(found.init_loss)

    start = time.process_time()
    found = np.array([run(1000 * (seed + 1)) for seed in range(runs)])
    seconds = CHECKPOINTS * (time.process_time() - start) / runs
    drawn, center = n_beta * found.T
    return Measured((drawn - center).mean(), drawn.std(ddof=1), center.std(ddof=1), seconds, burn_in)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=6, help="of devinterp, whose spread is the error; 4 times of ours")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable()
    problem, weights = linear_network()
    assert isinstance(problem.data, tuple)
    n_beta = len(problem.data[0]) / math.log(len(problem.data[0]))
    checkpoints = trained_on(problem, weights)
    rows = {
        "ours": ours(problem, checkpoints, n_beta, options.runs),
        "devinterp, at best": theirs(problem, checkpoints[-1], n_beta, options.runs, best=True),
        "devinterp, defaults": theirs(problem, checkpoints[-1], n_beta, options.runs, best=False),
    }
    if options.json:
        print(json.dumps({name: vars(row) | {"cost": row.cost} for name, row in rows.items()}, indent=2))
        return
    print(f"{CHECKPOINTS} checkpoints, {CHAINS} chains, {DRAWS} draws each; then what a standard error of 5 % takes")
    print(f"{'':22}{'LLC':>8}{'error':>9}{'CPU s':>9} |{'draws':>8}{'CPU s':>9}{'over ours':>11}")
    for name, row in rows.items():
        needed = f"{row.draws_needed:8.0f}{row.cost:9.1f}{row.cost / rows['ours'].cost:10.0f}x"
        if math.isinf(row.cost):
            needed = f"   never: L(w*) alone errs by {row.from_center / row.llc:.0%}"
        print(f"{name:22}{row.llc:8.1f}{row.error:9.1%}{row.seconds:9.1f} |{needed}")


if __name__ == "__main__":
    main()
