"""LLCs of deep linear and reduced-rank networks against their exact learning coefficients, all settings by one rule.

    python -m benchmarks.exact [--only exact|minibatch] [--short] [--json]

Two protocols: exact gradients (the population loss in closed form, MALA, float64), and minibatch SGLD (n = 100,000
samples of unit noise, batches of 500, float32).

The rule, the same for every network and protocol (nothing is set by hand for one of them):
    localization  1, in units of the true factors' entries
    n_beta        1,000 = 1,000 localization, so that the regular directions are held by the data; with n = 100,000 the
                  checkpoint is a perfect stand-in for the empirical minimum up to n_beta / n = 1 % of the LLC
    step_size     the largest 2^-k / n_beta that is accepted by Metropolis: at least half of the proposals for MALA,
                  nine in ten for SGLD, whose error is of the order of those refused
    chains        8, more for networks of less than 500 parameters: the relative noise of one draw is 1/sqrt(LLC)
    burn-in       half of all draws; draws: as many as the weakest direction needs, 1 / (step_size localization), within
                  bounds

The answer to compare with is `lambda - (m-1)/log(n_beta)`; `finite` is the exact value that the sampled posterior
has at this n_beta and localization (`benchmarks.deep_linear`), so that sampler and asymptotics can be told apart.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from benchmarks.deep_linear import GOLDEN, Widths, asymptotic, at_finite_n_beta, name, population, regression
from benchmarks.stepping import MALA_ACCEPTANCE, SGLD_ACCEPTANCE, largest_step
from estimators.llc import SamplerConfig, estimate_llc
from estimators.problem import Problem
from slt.closed_form import deep_linear, reduced_rank_local

N_SAMPLES, BATCH, N_BETA, LOCALIZATION = 100_000, 500, 1000.0, 1.0
REQUIRED = {"exact": {"median": 0.03, "worst": 0.10}, "minibatch": {"median": 0.05, "p90": 0.15}}


@dataclass(frozen=True)
class Protocol:
    problem: Callable[[Widths, int], Problem]
    kernel: str
    dtype: str
    batch_size: int | None
    acceptance: float
    most_steps: int


PROTOCOLS = {
    "exact": Protocol(population, "mala", "float64", None, MALA_ACCEPTANCE, 8000),
    "minibatch": Protocol(
        lambda widths, rank: regression(widths, rank, N_SAMPLES), "sgld", "float32", BATCH, SGLD_ACCEPTANCE, 6000
    ),
}


def settings(widths: Widths, rank: int, protocol: Protocol, most_steps: int) -> SamplerConfig:
    """The rule of this file's docstring; acceptance is that of a pilot run on the population loss."""
    problem = population(widths, rank)
    parameters = sum(p.numel() for p in problem.model.parameters())
    config = SamplerConfig(
        step_size=1 / N_BETA, n_beta=N_BETA, localization=LOCALIZATION, kernel=protocol.kernel, dtype=protocol.dtype,
        batch_size=protocol.batch_size, chains=int(np.clip(4000 / parameters, 8, 64)), device="cpu", engine="batched",
    )  # fmt: skip
    step_size = largest_step(problem, config, protocol.acceptance)
    steps = int(min(1 / (step_size * LOCALIZATION), most_steps))
    return replace(config, step_size=step_size, draws=steps // 2, burn_in=steps // 2)


def measure(widths: Widths, rank: int, protocol: Protocol, most_steps: int) -> dict[str, object]:
    coefficient, multiplicity = deep_linear(widths, rank)
    if len(widths) == 3:  # SGLD is local: the coefficient at w* itself, not only the least one over the fibre
        assert reduced_rank_local(*widths, rank, rank, rank) == (coefficient, multiplicity)
    start = time.process_time()
    config = settings(widths, rank, protocol, most_steps)
    problem = protocol.problem(widths, rank)
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


def table(protocol: str, rows: list[dict[str, object]], result: dict[str, object]) -> str:
    lines = [
        f"{protocol + ' gradients':28}{'d':>7}{'lambda':>8}{'m':>3}{'expected':>10}{'finite':>9}{'LLC':>9}{'±':>7}"
        f"{'error':>8}{'step':>9}{'steps':>7}{'chains':>7}{'s':>6}  verdict"
    ]
    lines += [
        f"{row['network']:28}{row['parameters']:7,}{row['lambda']:8g}{row['m']:3}{row['expected']:10.2f}"
        f"{row['finite']:9.2f}{row['llc']:9.2f}{row['std_error']:7.2f}{row['error']:8.1%}{row['step_size']:9.1e}"
        f"{row['steps']:7}{row['chains']:7}{row['seconds']:6.1f}  {row['verdict']}"
        for row in rows
    ]
    required = ", ".join(f"{key} {limit:.0%}" for key, limit in REQUIRED[protocol].items())
    lines.append(
        f"relative error: median {result['median']:.1%}, 90th percentile {result['p90']:.1%}, worst "
        f"{result['worst']:.1%}, non-finite {result['non_finite']}; required: {required}, non-finite 0 -> "
        f"{'held' if result['held'] else 'MISSED'}"
    )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=list(PROTOCOLS), help="one of the two protocols")
    parser.add_argument("--short", action="store_true", help="networks of at most 500 parameters")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    options = parser.parse_args()
    torch.set_num_threads(1)
    document = {}
    for protocol in [options.only] if options.only else PROTOCOLS:
        chosen = PROTOCOLS[protocol]
        sizes = [(w, r) for w, r in GOLDEN if not options.short or math.prod(w[:2]) * (len(w) - 1) <= 500]
        rows = [measure(widths, rank, chosen, chosen.most_steps) for widths, rank in sizes]
        document[protocol] = {"rows": rows} | summary(protocol, rows)
        if not options.json:
            print(table(protocol, rows, document[protocol]), end="\n\n", flush=True)
    if options.json:
        print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
