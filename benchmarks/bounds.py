"""What a chain-step of the speed benchmark's language model is made of, and how far its matrix products are from the
fastest that this processor does.

    python -m benchmarks.bounds [--json]

One thread, 4 checkpoints x 8 chains, losses at w* of few examples included, under torch's profiler, which itself takes
its share; an operation's time is its own, without those that it calls, and the median of all its calls on tensors of
one size: the profiler looks at the clock on the wall, which others' work on the machine moves too. Each engine is
profiled so often; the fastest run counts.

Below the table is what would be left of a chain-step if all of its arithmetic ran at the rate of one large product, and
nothing else took time; then what the model itself takes, forward and backward on one batch without any sampler, with
the attention that torch chooses and with plain products and a softmax; and how far a sampler without any cost of its
own would be ahead of devinterp's, which is measured in turn with it.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
import warnings
from collections import defaultdict
from statistics import median

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed import CHAINS, LOCALIZATION, N_BETA, STEP_SIZE, Case, cases, peer_rate
from estimators.llc import SamplerConfig, sample_group
from estimators.problem import Problem
from estimators.products import unused_width, wide_products

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
ATTENTION = {
    "with torch's attention": [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH],
    "with plain attention": [SDPBackend.MATH],
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
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as seen:
        seconds = run(case, engine)
    calls: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for event in seen.events():
        calls[event.name.rpartition("::")[2], str(event.input_shapes)].append(event.self_cpu_time_total)
    shares = dict.fromkeys([*KINDS, REST], 0.0)
    for (name, _), times in calls.items():
        kind = next((kind for kind, names in KINDS.items() if name in names), REST)
        shares[kind] += median(times) * len(times) / (1e3 * CHECKPOINTS * CHAINS * DRAWS)
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


def model_alone(case: Case, backends: list[SDPBackend], steps: int = 60) -> float:
    """Processor seconds of a forward and a backward pass in the model itself, by the faster library of products."""
    model, batch = case.build().eval(), tuple(tensor[: case.batch_size] for tensor in case.data)
    with sdpa_kernel(backends), wide_products(model, torch.empty(0)):
        case.loss(model, batch).mean().backward()
        start = time.process_time()
        for _ in range(steps):
            case.loss(model, batch).mean().backward()
        return (time.process_time() - start) / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable()
    case = next(case for case in cases() if "LM" in case.name)
    found: dict[str, dict[str, float]] = {}
    peer, alone = float("inf"), dict.fromkeys(ATTENTION, float("inf"))
    devinterp = peer_rate(case, time.process_time)
    for _ in range(options.rounds):
        peer = min(peer, 1 / devinterp())
        alone = {name: min(alone[name], model_alone(case, backends)) for name, backends in ATTENTION.items()}
        for engine in ENGINES:
            shares = profiled(case, engine)
            if engine not in found or sum(shares.values()) < sum(found[engine].values()):
                found[engine] = shares
    flops, rate = arithmetic(case), fastest_product()
    if options.json:
        figures = {"ms": found, "flops": flops, "flops_per_second": rate, "devinterp": peer, "model_alone": alone}
        print(json.dumps(figures, indent=2))
        return
    print(f"{'ms per chain-step':22}" + "".join(f"{engine:>12}" for engine in ENGINES))
    for kind in [*KINDS, REST, OUTSIDE]:
        print(f"{kind:22}" + "".join(f"{found[engine][kind]:12.2f}" for engine in ENGINES))
    print(f"{'together':22}" + "".join(f"{sum(found[engine].values()):12.2f}" for engine in ENGINES))
    print(f"arithmetic: {flops / 1e6:.0f} MFLOP a chain-step; one large product runs at {rate / 1e9:.0f} GFLOP/s")
    print(f"all of it at that rate, and nothing else: {1e3 * flops / rate:.2f} ms, {rate / flops:.0f} chain-steps /s")
    for name, seconds in alone.items():
        print(f"the model alone, {name}: {1e3 * seconds:.2f} ms, {1 / seconds:.0f} chain-steps /s")
    ahead = peer / min(alone.values())
    print(f"devinterp: {1e3 * peer:.2f} ms, {ahead:.1f}x the model alone: no sampler that calls it is further ahead")


if __name__ == "__main__":
    main()
