"""Units of a job on modular addition for benchmarks, and how long processes without Ray take for them."""

from __future__ import annotations

import multiprocessing
import time
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from estimators.checkpoints import content_hash, discover, load_fitting
from estimators.sampler import SamplerConfig
from workers.units import ProblemReference, Unit, compute_unit, group_size, largest_first, tapered, unit_key

CHAINS = 4


def imported(item: int) -> float:
    """What a worker imports, and time for another to begin."""
    time.sleep(0.2)
    torch.set_num_threads(1)
    return float(torch.ones(2).sum())


def real_units(directory: Path, checkpoints: int, draws: int) -> list[Unit]:
    """Units of a job on modular addition, as `slt run` cuts them; weights as at initialisation."""
    reference = ProblemReference("modular_addition", {"p": 53, "train_fraction": 0.4}, Path.cwd())
    problem, data_hash = reference.load()
    reference = replace(reference, data_hash=data_hash)
    for step in range(checkpoints):
        weights = {name: value * (1 + step / 1000) for name, value in problem.model.state_dict().items()}
        save_file(weights, directory / f"step_{step + 1:06d}.safetensors")
    sampler = SamplerConfig(
        step_size=0.003, n_beta=2, localization=5, chains=CHAINS, draws=draws, burn_in=0, batch_size=128, device="cpu"
    )
    found = [
        (each, content_hash(load_fitting(each, problem.model, "modular_addition"))) for each in discover(directory)
    ]
    units = [
        Unit(
            key=unit_key([one for _, one in group], reference, sampler, ("loss",)),
            checkpoints=tuple(each for each, _ in group),
            weight_hashes=tuple(one for _, one in group),
            problem=reference,
            sampler=sampler,
            measures=("loss",),
            cpus=1,
        )
        for group in tapered(found, group_size(len(found)))
    ]
    return largest_first(units)


def work(units: list[Unit]) -> None:
    """One process's share."""
    for unit in units:
        compute_unit(unit)


def alone(shares: list[list[Unit]]) -> float:
    """Seconds for processes without Ray, one a share, each warm."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(len(shares)) as pool:
        pool.map(imported, range(2 * len(shares)), chunksize=1)
        pool.map(work, [share[-1:] for share in shares], chunksize=1)
        started = time.perf_counter()
        pool.map(work, shares, chunksize=1)
        return time.perf_counter() - started
