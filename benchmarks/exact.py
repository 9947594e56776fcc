"""LLCs of deep linear and reduced-rank networks against their exact learning coefficients, all settings by one rule.

    python -m benchmarks.exact [--only exact|minibatch] [--short] [--calibrated] [--json]

Two protocols: exact gradients (the population loss in closed form, MALA, float64), and minibatch SGLD (n = 100,000
samples of unit noise, batches of 500, float32).

The rule, the same for every network of a protocol (nothing is set by hand for one of them):
    localization  1, in units of the true factors' entries
    n_beta        1,000 for exact gradients, so that the regular directions are held by the data; 300 for batches of
                  500, whose noise heats by a share that grows with n_beta / 500. Both are far below n = 100,000: w*
                  stands for the empirical minimum up to n_beta / n of the LLC (at n / log n that is 9 %)
    step_size     MALA: the largest 2^-k / n_beta of which Metropolis accepts half; SGLD: calibration's, or less where
                  step and batches would heat the chains by more than 8 % (`benchmarks.stepping`)
    chains        4; more for networks of less than 1,000 parameters, as the relative noise of a draw is 1/sqrt(LLC)
    draws         1 / (step_size localization) steps, half of the weakest direction's relaxation time, within bounds;
                  the first half is burn-in

With --calibrated `estimators.calibrate` chooses in the place of the rule, as `auto` does in a job of 200 checkpoints:
everything for minibatches; all but n_beta for exact gradients, whose loss stands for endless data.

The answer to compare with is `lambda - (m-1)/log(n_beta)`; `finite` is the exact value that the sampled posterior
has at this n_beta and localization (`benchmarks.deep_linear`), so that sampler and asymptotics can be told apart.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch

from benchmarks.deep_linear import GOLDEN, Widths, asymptotic, at_finite_n_beta, name, population, regression
from benchmarks.stepping import mala_step, sgld_step
from estimators.calibrate import AUTOMATIC, calibrate
from estimators.llc import SamplerConfig, estimate_llc
from estimators.problem import Problem
from slt.closed_form import deep_linear, reduced_rank_local

N_SAMPLES, BATCH, LOCALIZATION = 100_000, 500, 1.0
REQUIRED = {"exact": {"median": 0.03, "worst": 0.10}, "minibatch": {"median": 0.05, "p90": 0.15}}


@dataclass(frozen=True)
class Protocol:
    problem: Callable[[Widths, int], Problem]
    kernel: str
    dtype: str
    batch_size: int | None
    n_beta: float
    most_steps: int
    most_chains: int
    step: Callable[[Problem, SamplerConfig], float]


PROTOCOLS = {
    "exact": Protocol(population, "mala", "float64", None, 1000.0, 16_000, 64, mala_step),
    "minibatch": Protocol(
        lambda widths, rank: regression(widths, rank, N_SAMPLES), "sgld", "float32", BATCH, 300.0, 5000, 16, sgld_step
    ),
}


def settings(problem: Problem, protocol: Protocol) -> SamplerConfig:
    """The rule of this file's docstring."""
    parameters = sum(p.numel() for p in problem.model.parameters())
    config = SamplerConfig(
        step_size=1.0, n_beta=protocol.n_beta, localization=LOCALIZATION, kernel=protocol.kernel, dtype=protocol.dtype,
        batch_size=protocol.batch_size, chains=int(np.clip(4000 / parameters, 4, protocol.most_chains)), device="cpu",
        engine="batched",
    )  # fmt: skip
    step_size = protocol.step(problem, config)
    steps = int(np.clip(1 / (step_size * LOCALIZATION), 1000, protocol.most_steps))
    return replace(config, step_size=step_size, draws=steps // 2, burn_in=steps // 2)


def calibrated(problem: Problem, protocol: Protocol) -> SamplerConfig:
    """What calibration chooses for this checkpoint."""
    base = SamplerConfig(
        step_size=1.0, n_beta=protocol.n_beta, localization=LOCALIZATION, kernel=protocol.kernel, dtype=protocol.dtype,
        batch_size=protocol.batch_size, chains=16, device="cpu", engine="batched",
    )  # fmt: skip
    automatic = set(AUTOMATIC) - ({"n_beta"} if protocol.batch_size is None else set())
    return calibrate(problem, {1.0: problem.model.state_dict()}, base, automatic, checkpoints=200).config


def measure(
    widths: Widths, rank: int, protocol: Protocol, choose: Callable[[Problem, Protocol], SamplerConfig] = settings
) -> dict[str, object]:
    coefficient, multiplicity = deep_linear(widths, rank)
    if len(widths) == 3:  # SGLD is local: the coefficient at w* itself, not only the least one over the fibre
        assert reduced_rank_local(*widths, rank, rank, rank) == (coefficient, multiplicity)
    start = time.process_time()
    problem = protocol.problem(widths, rank)
    config = choose(problem, protocol)
    trajectory = estimate_llc(problem, {1: problem.model.state_dict()}, config)
    expected = asymptotic(widths, rank, config.n_beta)
    return {
        "network": name(widths, rank), "parameters": sum(p.numel() for p in problem.model.parameters()),
        "lambda": coefficient, "m": multiplicity, "expected": expected,
        "finite": at_finite_n_beta(widths, rank, config.n_beta, config.localization, 400 if max(widths) < 40 else 40),
        "llc": float(trajectory.llc[0]), "std_error": float(trajectory.llc_std_error[0]),
        "error": float(trajectory.llc[0]) / expected - 1, "verdict": trajectory.verdicts[0].kind.value,
        "step_size": config.step_size, "steps": config.draws + config.burn_in, "chains": config.chains,
        "seconds": time.process_time() - start,
    }  # fmt: skip


def summary(protocol: str, rows: list[dict[str, object]]) -> dict[str, object]:
    errors = np.abs([row["error"] for row in rows])
    finite = errors[np.isfinite(errors)]
    figures = {
        "median": float(np.median(finite)), "p90": float(np.quantile(finite, 0.9)), "worst": float(finite.max()),
    }  # fmt: skip
    non_finite = int((~np.isfinite(errors)).sum())
    held = non_finite == 0 and all(figures[key] <= limit for key, limit in REQUIRED[protocol].items())
    return figures | {"non_finite": non_finite, "required": REQUIRED[protocol], "held": held}


def header(protocol: str) -> str:
    return (
        f"{protocol + ' gradients':28}{'d':>7}{'lambda':>8}{'m':>3}{'expected':>10}{'finite':>9}{'LLC':>9}{'±':>7}"
        f"{'error':>8}{'step':>9}{'steps':>7}{'chains':>7}{'s':>6}  verdict"
    )


def line(row: dict[str, object]) -> str:
    return (
        f"{row['network']:28}{row['parameters']:7,}{row['lambda']:8g}{row['m']:3}{row['expected']:10.2f}"
        f"{row['finite']:9.2f}{row['llc']:9.2f}{row['std_error']:7.2f}{row['error']:8.1%}{row['step_size']:9.1e}"
        f"{row['steps']:7}{row['chains']:7}{row['seconds']:6.1f}  {row['verdict']}"
    )


def footer(protocol: str, result: dict[str, object]) -> str:
    required = ", ".join(f"{key} {limit:.0%}" for key, limit in REQUIRED[protocol].items())
    return (
        f"relative error: median {result['median']:.1%}, 90th percentile {result['p90']:.1%}, worst "
        f"{result['worst']:.1%}, non-finite {result['non_finite']}; required: {required}, non-finite 0 -> "
        f"{'held' if result['held'] else 'MISSED'}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=list(PROTOCOLS), help="one of the two protocols")
    parser.add_argument("--short", action="store_true", help="networks of at most 500 parameters")
    parser.add_argument("--calibrated", action="store_true", help="settings by calibration, not by the rule")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    options = parser.parse_args()
    torch.set_num_threads(1)
    document = {}
    for protocol in [options.only] if options.only else PROTOCOLS:
        if not options.json:
            print(header(protocol))
        rows = []
        for widths, rank in GOLDEN:
            if options.short and sum(a * b for a, b in pairwise(widths)) > 500:
                continue
            rows.append(measure(widths, rank, PROTOCOLS[protocol], calibrated if options.calibrated else settings))
            if not options.json:
                print(line(rows[-1]), flush=True)
        document[protocol] = {"rows": rows} | summary(protocol, rows)
        if not options.json:
            print(footer(protocol, document[protocol]), end="\n\n", flush=True)
    if options.json:
        print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
