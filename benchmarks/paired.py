"""How much steadier the LLC is for pairing each batch's loss with the checkpoint's loss on the same batch.

    python -m benchmarks.paired [--runs 24] [--json]

A linear network of 1,200 parameters, n = 10,000, n_beta = n / log n, minibatch SGLD with devinterp's defaults for
the rest (4 chains, 200 draws, batches of 32). All three estimates of a run come from the same chains:

    paired             L_B(w) - L_B(w*) on the same batches B
    whole data set     L(w*) is exact, L_B(w) is not
    32 batches         L(w*) is the mean of 32 batches, devinterp 2.0.1's default

Standard deviations are over runs with different seeds.
"""

from __future__ import annotations

import argparse
import json
import math

import numpy as np
import torch
from torch import Tensor, nn

from estimators.llc import SamplerConfig, sample_group
from estimators.problem import Problem
from estimators.seeds import BatchStream

REQUIRED = 8.0
CHAINS, BATCH, BASELINE_BATCHES = 4, 32, 32


def linear_network() -> tuple[Problem, dict[str, Tensor]]:
    """20-20-20-20 without biases, at the true parameter; unit noise, n = 10,000."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(*[nn.Linear(20, 20, bias=False) for _ in range(3)])
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(20, 20, generator=generator) / 20**0.5)
        x = torch.randn(10_000, 20, generator=generator)
        y = model(x) + torch.randn(10_000, 20, generator=generator)

    def loss(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        return 0.5 * (model(batch[0]) - batch[1]).square().sum(dim=1)

    return Problem(model=model, data=(x, y), loss=loss, name="linear network"), model.state_dict()


def estimates(runs: int) -> dict[str, np.ndarray]:
    """LLC of each run by three estimators; run r is chains 4r to 4r + 3 of one batched call."""
    problem, weights = linear_network()
    assert isinstance(problem.data, tuple)
    n_samples = len(problem.data[0])
    config = SamplerConfig(
        step_size=3e-5, n_beta=n_samples / math.log(n_samples), localization=100.0, chains=CHAINS * runs, draws=200,
        burn_in=100, batch_size=BATCH, device="cpu", engine="batched",
    )  # fmt: skip
    traces = sample_group(problem, [weights], config)
    paired = traces.excess_loss_KCD[0, :, config.burn_in :].mean(axis=1)

    losses = problem.loss(problem.model, problem.data).detach().numpy()
    stream = BatchStream(config.seed, range(config.chains), n_samples, BATCH, torch.device("cpu"))
    batches = np.stack([stream.next().numpy() for _ in range(config.burn_in + config.draws)])[config.burn_in :]
    sampled = paired + losses[batches].mean(axis=(0, 2))
    baseline = np.random.default_rng(0).choice(losses, (runs, BASELINE_BATCHES * BATCH)).mean(axis=1)

    def llc(excess: np.ndarray) -> np.ndarray:
        return config.n_beta * excess.reshape(runs, CHAINS).mean(axis=1)

    return {
        "paired": llc(paired),
        "whole data set": llc(sampled - losses.mean()),
        "32 batches": llc(sampled) - config.n_beta * baseline,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=24)
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    options = parser.parse_args()
    llc = estimates(options.runs)
    steady = llc["paired"].std(ddof=1)
    rows = [
        {"L(w*)": name, "llc": values.mean(), "std": values.std(ddof=1), "over_paired": values.std(ddof=1) / steady}
        for name, values in llc.items()
    ]
    if options.json:
        print(json.dumps({"rows": rows, "required": REQUIRED}, indent=2))
        return
    print(f"{'L(w*) from':18}{'mean LLC':>10}{'sd over runs':>14}{'over paired':>13}")
    for row in rows:
        print(f"{row['L(w*)']:18}{row['llc']:10.1f}{row['std']:14.2f}{row['over_paired']:12.1f}x")
    print(f"required, over devinterp's default: {REQUIRED:.0f}x")


if __name__ == "__main__":
    main()
