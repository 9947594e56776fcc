"""Chain-steps per second: our batched engine over devinterp's own sampler, on the same models, data and batches.

    python -m benchmarks.speed [--threads 1] [--json]

A chain-step is one update of one chain at one checkpoint. Both run with the same batch size, data and number of
threads; ours samples 8 checkpoints x 8 chains, the peer as many steps of one checkpoint's chains as a few seconds
hold (it runs chains and checkpoints one after the other, so its rate does not depend on their number). The time of
both includes the losses at w* and everything else that their entry points do.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from estimators.llc import SamplerConfig, sample_group
from estimators.problem import Problem

Clock = Callable[[], float]
CHECKPOINTS, CHAINS = 8, 8
STEP_SIZE, N_BETA, LOCALIZATION = 1e-5, 10.0, 100.0


class Superposition(nn.Module):
    """The toy model of superposition: 6 features in 2 dimensions, 18 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.3 * torch.randn(2, 6))
        self.bias = nn.Parameter(torch.zeros(6))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x @ self.weight.T @ self.weight + self.bias)


class AttentionOnly(nn.Module):
    """Two layers of attention and nothing else: 43,008 parameters at d 64, context 32, 64 tokens."""

    def __init__(self, width: int = 64, context: int = 32, tokens: int = 64, heads: int = 4, layers: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.embed = nn.Embedding(tokens, width)
        self.position = nn.Parameter(0.02 * torch.randn(context, width))
        self.qkv = nn.ModuleList(nn.Linear(width, 3 * width, bias=False) for _ in range(layers))
        self.out = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(layers))
        self.unembed = nn.Linear(width, tokens, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        batch, length = ids.shape
        x = self.embed(ids) + self.position[:length]
        for qkv, out in zip(self.qkv, self.out, strict=True):
            q, k, v = qkv(x).view(batch, length, 3 * self.heads, -1).transpose(1, 2).chunk(3, dim=1)
            mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + out(mixed.transpose(1, 2).reshape(batch, length, -1))
        return self.unembed(x)


def squared_error(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    return 0.5 * (model(batch[0]) - batch[1]).square().sum(dim=-1)


def next_token(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    """The mean over positions of what devinterp takes by default for token data: log_softmax and gather."""
    log_probabilities = log_softmax(model(batch[0]), dim=-1)[:, :-1]
    return -log_probabilities.gather(-1, batch[0][:, 1:, None])[..., 0].mean(dim=1)


@dataclass(frozen=True)
class Case:
    name: str
    build: Callable[[], nn.Module]
    data: tuple[Tensor, ...]
    loss: Callable[[nn.Module, tuple[Tensor, ...]], Tensor]
    batch_size: int
    draws: int
    peer_draws: int
    required: float


def cases() -> list[Case]:
    torch.manual_seed(0)
    features, inputs, images = torch.rand(2000, 6), torch.randn(2000, 20), torch.randn(2000, 100)
    tokens = torch.randint(64, (2000, 32))
    linear = lambda: nn.Sequential(*[nn.Linear(20, 20, bias=False) for _ in range(4)])  # noqa: E731
    mlp = lambda: nn.Sequential(nn.Linear(100, 128), nn.GELU(), nn.Linear(128, 100))  # noqa: E731
    return [
        Case("superposition", Superposition, (features, features), squared_error, 256, 1000, 100, 100),
        Case("linear network", linear, (inputs, inputs), squared_error, 256, 400, 100, 40),
        Case("MLP", mlp, (images, images), squared_error, 256, 100, 100, 8),
        Case("attention-only LM", AttentionOnly, (tokens,), next_token, 32, 40, 150, 3),
    ]


def our_rate(case: Case, clock: Clock) -> Clock:
    """A function that measures chain-steps per second; warmed up."""
    problem = Problem(model=case.build(), data=case.data, loss=case.loss, name=case.name)
    weights = [case.build().state_dict() for _ in range(CHECKPOINTS)]

    def run(draws: int) -> float:
        config = SamplerConfig(
            step_size=STEP_SIZE,
            n_beta=N_BETA,
            localization=LOCALIZATION,
            chains=CHAINS,
            draws=draws,
            burn_in=0,
            batch_size=case.batch_size,
            device="cpu",
            engine="auto",
        )
        start = clock()
        sample_group(problem, weights, config)
        return clock() - start

    run(2)
    return lambda: CHECKPOINTS * CHAINS * case.draws / run(case.draws)


def peer_rate(case: Case, clock: Clock) -> Clock:
    """Token data as devinterp takes them. It takes no others: there a row holds the example's index twice."""
    from datasets import Dataset, disable_progress_bars
    from devinterp.slt.llc import llc

    disable_progress_bars()
    tokens = case.loss is next_token
    ids = case.data[0].tolist() if tokens else [[i, i] for i in range(len(case.data[0]))]
    rows = Dataset.from_dict({"input_ids": ids}).with_format("torch")

    def looked_up(model: nn.Module, ids: Tensor) -> Tensor:
        return case.loss(model, tuple(tensor[ids[:, 0]] for tensor in case.data)).unsqueeze(1)

    def run(draws: int) -> float:
        with tempfile.TemporaryDirectory() as folder:
            start = clock()
            llc(
                case.build(),
                rows,
                {},
                lr=STEP_SIZE,
                n_beta=N_BETA,
                localization=LOCALIZATION,
                num_chains=2,
                num_draws=draws,
                batch_size=case.batch_size,
                num_init_loss_batches=len(case.data[0]) // case.batch_size,
                device="cpu",
                loss_fn=None if tokens else looked_up,
                output_path=f"{folder}/samples.zarr",
            )
            return clock() - start

    run(2)
    return lambda: 2 * case.peer_draws / run(case.peer_draws)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1, help="torch threads, for both")
    parser.add_argument("--only", help="run the cases whose name contains this")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument("--rounds", type=int, default=3, help="both in turn, so often; the best of each counts")
    parser.add_argument("--cpu-time", action="store_true", help="processor time, for a machine that others use too")
    options = parser.parse_args()
    clock = time.process_time if options.cpu_time else time.perf_counter
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    logging.disable()
    rows = []
    for case in cases():
        if options.only and options.only not in case.name:
            continue
        parameters = sum(parameter.numel() for parameter in case.build().parameters())
        our_measurement, peer_measurement = our_rate(case, clock), peer_rate(case, clock)
        rates = [(our_measurement(), peer_measurement()) for _ in range(options.rounds)]
        ours, peer = (max(column) for column in zip(*rates, strict=True))
        rows.append({"model": case.name, "parameters": parameters, "ours": ours, "devinterp": peer})
        rows[-1] |= {"ratio": ours / peer, "required": case.required}
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    print(f"{'model':20}{'parameters':>11}{'ours /s':>11}{'devinterp /s':>14}{'ratio':>8}{'required':>10}")
    for row in rows:
        print(
            f"{row['model']:20}{row['parameters']:11,}{row['ours']:11,.0f}{row['devinterp']:14,.0f}"
            f"{row['ratio']:7.1f}x{row['required']:9.0f}x"
        )


if __name__ == "__main__":
    main()
