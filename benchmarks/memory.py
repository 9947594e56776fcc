"""Peak memory and speed on one HuggingFace causal LM of about a million parameters, over devinterp's own sampler.

    python -m benchmarks.memory [--steps 60] [--rounds 2] [--json]

The model is GPT-2's architecture with random weights, 4 layers of width 128; 512 rows of 64 tokens, batches of 16, one
chain, one thread, SGLD with the same settings. Each measurement is a process of its own. Memory is what the
process's peak (getrusage) lies above what it held when model and data were ready and all libraries imported: weights at
w*, gradient, noise, activations, and whatever else the sampler keeps. Speed is in chain-steps per second of
processor time, losses at w* and the traces' storage included, as both entry points do them.
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.speed import LOCALIZATION, N_BETA, STEP_SIZE
from estimators.llc import SamplerConfig, sample_group
from estimators.problem import Problem

WIDTH, LAYERS, TOKENS, CONTEXT, ROWS, BATCH = 128, 4, 1000, 64, 512, 16
ENGINES = ("sequential", "batched", "devinterp")


def language_model() -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=TOKENS, n_positions=CONTEXT, n_embd=WIDTH, n_layer=LAYERS, n_head=4, use_cache=False,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return GPT2LMHeadModel(config).eval()


def next_token(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    """Mean over positions of the cross-entropy, in nats."""
    log_probabilities = model(input_ids=batch[0]).logits[:, :-1].log_softmax(dim=-1)
    return -log_probabilities.gather(-1, batch[0][:, 1:, None])[..., 0].mean(dim=1)


def ours(engine: str, model: nn.Module, tokens: Tensor) -> Callable[[int], None]:
    problem = Problem(model=model, data=(tokens,), loss=next_token, name="GPT-2")
    weights = [model.state_dict()]

    def run(steps: int) -> None:
        config = SamplerConfig(
            step_size=STEP_SIZE, n_beta=N_BETA, localization=LOCALIZATION, chains=1, draws=steps, burn_in=0,
            batch_size=BATCH, device="cpu", engine=engine,
        )  # fmt: skip
        sample_group(problem, weights, config)

    return run


def peer(model: nn.Module, tokens: Tensor) -> Callable[[int], None]:
    from datasets import Dataset, disable_progress_bars
    from devinterp.slt.llc import llc

    disable_progress_bars()
    rows = Dataset.from_dict({"input_ids": tokens.tolist()}).with_format("torch")

    def run(steps: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            llc(
                model, rows, {}, lr=STEP_SIZE, n_beta=N_BETA, localization=LOCALIZATION, num_chains=1,
                num_draws=steps, batch_size=BATCH, num_init_loss_batches=ROWS // BATCH, device="cpu",
                output_path=f"{folder}/samples.zarr",
            )  # fmt: skip

    return run


def measure(engine: str, steps: int) -> dict[str, float]:
    """In this process, which does nothing else."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable()
    tokens = torch.randint(TOKENS, (ROWS, CONTEXT), generator=torch.Generator().manual_seed(0))
    model = language_model()
    run = peer(model, tokens) if engine == "devinterp" else ours(engine, model, tokens)
    page, unit = resource.getpagesize(), 1 if sys.platform == "darwin" else 1024
    held = int(Path("/proc/self/statm").read_text().split()[1]) * page
    run(2)
    start = time.process_time()
    run(steps)
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {
        "parameters": parameters, "held_mib": held / 2**20, "rise_mib": (peak - held) / 2**20,
        "steps_per_second": steps / seconds,
    }  # fmt: skip


def in_process(engine: str, steps: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.memory", "--measure", engine, "--steps", str(steps)]
    reply = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(reply.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=2, help="of each in turn; the best speed and least memory count")
    parser.add_argument("--measure", choices=ENGINES, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.steps)))
        return
    rounds = [{engine: in_process(engine, options.steps) for engine in ENGINES} for _ in range(options.rounds)]
    rows = {
        engine: {
            "parameters": rounds[0][engine]["parameters"],
            "rise_mib": min(each[engine]["rise_mib"] for each in rounds),
            "steps_per_second": max(each[engine]["steps_per_second"] for each in rounds),
        }
        for engine in ENGINES
    }
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    theirs = rows["devinterp"]
    print(f"GPT-2 with {theirs['parameters']:,} parameters, {theirs['parameters'] * 4 / 2**20:.1f} MiB of weights")
    print(f"{'engine':12}{'peak rise, MiB':>16}{'over devinterp':>16}{'chain-steps /s':>16}{'over devinterp':>16}")
    for engine, row in rows.items():
        memory, speed = (row[key] / theirs[key] for key in ("rise_mib", "steps_per_second"))
        print(f"{engine:12}{row['rise_mib']:16.0f}{memory:15.2f}x{row['steps_per_second']:16.1f}{speed:15.2f}x")


if __name__ == "__main__":
    main()
