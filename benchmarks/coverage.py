"""How often a 90 % interval of an LLC covers the exact value: 200 runs of 4 chains.

    python -m benchmarks.coverage [--runs 200] [--json]

Intervals are LLC ± t standard errors, with Student's t of C - 1 degrees of freedom
(`slt.learning_coefficient.interval`), and with 1.645 for comparison: a standard error over 4 chains is itself uncertain
by 40 %. Run r is chains 4r to 4r + 3 of one batched call.

    quadratic             full-batch SGLD; exact: its own finite-step answer (`slt.closed_form.sgld_on_quadratic`)
    deep linear network   4-4-4-4 at the true product 0, MALA; exact: the posterior's answer at this n_beta and
                          localization, by Gibbs sampling (`benchmarks.deep_linear.at_finite_n_beta`, exact at rank 0)

Required of each: 85 to 95 % for the intervals by Student's t.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.deep_linear import at_finite_n_beta, population
from benchmarks.stepping import mala_step
from estimators.llc import SamplerConfig, sample_group
from estimators.problem import Problem
from slt.closed_form import sgld_on_quadratic
from slt.learning_coefficient import estimates_from_traces, interval
from slt.trajectory import Estimate

CHAINS, LEVEL, NORMAL_QUANTILE = 4, 0.9, 1.645
REQUIRED = (0.85, 0.95)
CURVATURES = (0.05, 0.3, 4.0)
WIDTHS = (4, 4, 4, 4)


class Bowl(nn.Module):
    """Loss sum_i h_i w_i^2 / 2 for every example."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(len(CURVATURES)))
        self.register_buffer("curvatures", torch.tensor(CURVATURES))

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * (self.curvatures * self.w**2).sum().expand(len(x))


def config(runs: int, **changes: object) -> SamplerConfig:
    settings = {
        "chains": CHAINS * runs, "batch_size": None, "dtype": "float64", "device": "cpu", "engine": "batched",
    }  # fmt: skip
    return SamplerConfig(**settings | changes)


def estimates(problem: Problem, settings: SamplerConfig) -> list[Estimate]:
    """One of each run."""
    traces = sample_group(problem, [problem.model.state_dict()], settings)
    excess_loss_RCD = traces.excess_loss_KCD[0].reshape(-1, CHAINS, settings.burn_in + settings.draws)
    return [
        estimates_from_traces([1], run[None], traces.loss_K, traces.n_beta, burn_in=settings.burn_in)[0]
        for run in excess_loss_RCD
    ]


def quadratic(runs: int) -> tuple[list[Estimate], float]:
    settings = config(runs, step_size=0.02, n_beta=10.0, localization=5.0, draws=300, burn_in=150)
    problem = Problem(model=Bowl(), data=(torch.zeros(1, 1),), loss=lambda model, batch: model(batch[0]))
    exact, _ = sgld_on_quadratic(settings.n_beta * np.array(CURVATURES), settings.localization, settings.step_size, 1)
    return estimates(problem, settings), exact


def deep_linear_network(runs: int) -> tuple[list[Estimate], float]:
    problem = population(WIDTHS, 0)
    settings = config(
        runs, step_size=1.0, n_beta=1000.0, localization=5.0, draws=600, burn_in=600, kernel="mala"
    )  # fmt: skip
    settings = replace(settings, step_size=mala_step(problem, settings))
    exact = at_finite_n_beta(WIDTHS, 0, settings.n_beta, settings.localization, sweeps=3000)
    return estimates(problem, settings), exact


def coverage(found: list[Estimate], exact: float) -> dict[str, float]:
    bounds = np.array([interval(estimate, LEVEL) for estimate in found])
    normal = [abs(estimate.llc - exact) <= NORMAL_QUANTILE * estimate.llc_std_error for estimate in found]
    llc = np.array([estimate.llc for estimate in found])
    return {
        "runs": len(found), "exact": exact, "mean": float(llc.mean()), "sd": float(llc.std(ddof=1)),
        "covered": float(((bounds[:, 0] <= exact) & (exact <= bounds[:, 1])).mean()), "normal": float(np.mean(normal)),
        "bias_in_errors": float((llc.mean() - exact) / (llc.std(ddof=1) / len(llc) ** 0.5)),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cases = {"quadratic": quadratic, "deep linear network": deep_linear_network}
    rows = {name: coverage(*case(options.runs)) for name, case in cases.items()}
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    print(f"{'':22}{'runs':>6}{'exact':>9}{'mean LLC':>10}{'sd':>8}{'bias/se':>9}{'Student t':>11}{'normal':>8}")
    for name, row in rows.items():
        print(
            f"{name:22}{row['runs']:6}{row['exact']:9.4f}{row['mean']:10.4f}{row['sd']:8.4f}"
            f"{row['bias_in_errors']:9.1f}{row['covered']:11.1%}{row['normal']:8.1%}"
        )
    held = all(REQUIRED[0] <= row["covered"] <= REQUIRED[1] for row in rows.values())
    print(f"90 % intervals must cover in {REQUIRED[0]:.0%} to {REQUIRED[1]:.0%}: {'held' if held else 'MISSED'}")


if __name__ == "__main__":
    main()
