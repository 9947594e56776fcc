"""What a chain-step of the speed benchmark's language model is made of, and how far its matrix products are from the
fastest that this processor does.

    python -m benchmarks.bounds [--json]

One thread, 4 checkpoints x 8 chains, losses at w* of few examples included, under torch's profiler, which itself takes
its share; an operation's time is its own, without those that it calls. Each engine is profiled so often; the fastest
run counts. The last line is what would be left of a chain-step if all of its arithmetic ran at the rate of one large
product, and nothing else took time.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed import CHAINS, LOCALIZATION, N_BETA, STEP_SIZE, Case, cases
from estimators.llc import SamplerConfig, sample_group
from estimators.problem import Problem
from estimators.products import unused_width

ENGINES = ("batched", "looped", "sequential")
CHECKPOINTS, DRAWS, ROWS = 4, 2, 256
KINDS = {
    "matrix products": ("mm", "bmm", "addmm", "baddbmm", "_linear_pointwise"),
    "fused attention": (
        "_scaled_dot_product_flash_attention_for_cpu",
        "_scaled_dot_product_flash_attention_for_cpu_backward",
    ),
    "copies": ("copy_", "cat", "clone", "fill_", "zero_"),
    "noise and update": ("normal_", "lerp_", "add_"),
}
REST = "other operations"
OUTSIDE = "between operations"


def run(case: Case, engine: str) -> float:
    """Processor seconds per chain-step."""
    problem = Problem(
        model=case.build(), data=tuple(tensor[:ROWS] for tensor in case.data), loss=case.loss, name=case.name
    )
    weights = [case.build().state_dict() for _ in range(CHECKPOINTS)]
    config = SamplerConfig(
        step_size=STEP_SIZE, n_beta=N_BETA, localization=LOCALIZATION, chains=CHAINS, draws=DRAWS, burn_in=0,
        batch_size=case.batch_size, device="cpu", engine=engine,
    )  # fmt: skip
    start = time.process_time()
    sample_group(problem, weights, config)
    return (time.process_time() - start) / (CHECKPOINTS * CHAINS * DRAWS)


def profiled(case: Case, engine: str) -> dict[str, float]:
    """Milliseconds per chain-step by kind of operation."""
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        seconds = run(case, engine)
    shares = dict.fromkeys([*KINDS, REST], 0.0)
    for event in seen.key_averages():
        name = event.key.rpartition("::")[2]
        kind = next((kind for kind, names in KINDS.items() if name in names), REST)
        shares[kind] += event.self_cpu_time_total / (1e3 * CHECKPOINTS * CHAINS * DRAWS)
    shares[OUTSIDE] = max(0.0, 1e3 * seconds - sum(shares.values()))
    return shares


def arithmetic(case: Case) -> float:
    """Floating-point operations of one chain-step's forward and backward pass."""
    model, batch = case.build(), tuple(tensor[: case.batch_size] for tensor in case.data)
    with FlopCounterMode(display=False) as counted, sdpa_kernel(SDPBackend.MATH):  # of fused attention it knows nothing
        torch.autograd.grad(case.loss(model, batch).mean(), list(model.parameters()))
    return float(counted.get_total_flops())


def fastest_product(size: int = 1024, rounds: int = 20) -> float:
    """Floating-point operations per second of the better of torch's libraries, on one large product."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    products = [lambda: a @ b]
    if unused_width():
        products.append(lambda: torch.ops.mkldnn._linear_pointwise.default(a, b, None, "none", [], ""))
    best = float("inf")
    for product in products * rounds:
        start = time.process_time()
        product()
        best = min(best, time.process_time() - start)
    return 2 * size**3 / best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    case = next(case for case in cases() if "LM" in case.name)
    found: dict[str, dict[str, float]] = {}
    for _ in range(options.rounds):
        for engine in ENGINES:
            shares = profiled(case, engine)
            if engine not in found or sum(shares.values()) < sum(found[engine].values()):
                found[engine] = shares
    flops, rate = arithmetic(case), fastest_product()
    if options.json:
        print(json.dumps({"ms": found, "flops": flops, "flops_per_second": rate}, indent=2))
        return
    print(f"{'ms per chain-step':22}" + "".join(f"{engine:>12}" for engine in ENGINES))
    for kind in [*KINDS, REST, OUTSIDE]:
        print(f"{kind:22}" + "".join(f"{found[engine][kind]:12.2f}" for engine in ENGINES))
    print(f"{'together':22}" + "".join(f"{sum(found[engine].values()):12.2f}" for engine in ENGINES))
    print(f"arithmetic: {flops / 1e6:.0f} MFLOP a chain-step; one large product runs at {rate / 1e9:.0f} GFLOP/s")
    print(f"all of it at that rate, and nothing else: {1e3 * flops / rate:.2f} ms, {rate / flops:.0f} chain-steps /s")


if __name__ == "__main__":
    main()
