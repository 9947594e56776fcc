"""Settings of the sampler, and what it hands back.

Legend of shapes: K checkpoints, C chains, D draws after burn-in.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from estimators.kernels import FULL_BATCH, KERNELS
from slt.errors import JobError

Floats = NDArray[np.float64]

LARGEST = 1e18
"""Of step size, n_beta and localization: their products are to be float32 numbers."""

_CHOICES = {
    "kernel": tuple(KERNELS),
    "reference": ("labels", "self"),
    "dtype": ("float32", "float64", "bfloat16"),
    "engine": ("auto", "batched", "looped", "sequential"),
}


@dataclass(frozen=True, kw_only=True)
class SamplerConfig:
    """How the posterior around a checkpoint is sampled; the same for a whole sequence.

    Attributes:
        step_size: epsilon, in parameter^2; the drift is epsilon / 2, the noise has variance epsilon.
        n_beta: n times the inverse temperature.
        localization: gamma, in 1 / parameter^2.
        kernel: the sampling algorithm.
        chains: independent chains per checkpoint.
        draws: draws kept per chain.
        burn_in: draws before them that do not enter the estimate.
        batch_size: examples per step; None, or at least n, is the full batch.
        seed: chain c's batches and noise depend on (seed, c) alone.
        reference: "labels" takes the problem's loss; "self" the divergence from the checkpoint's own outputs.
        dtype: precision of weights, data and losses; "bfloat16" is float32 with the model under torch's autocast,
            whose losses resolve no difference below about 1/250 of their size.
        device: "auto" (a GPU if there is one), or a torch device such as "cpu", "cuda:1".
        engine: "auto", "batched" (checkpoints x chains at once), "looped" (the same, chain after chain within each
            step) or "sequential" (one chain to its end, then the next).
        steps_between_draws: sampler steps per draw.

    Raises:
        JobError: a value out of range, or an unknown name.
    """

    step_size: float
    n_beta: float
    localization: float
    kernel: str = "sgld"
    chains: int = 4
    draws: int = 300
    burn_in: int = 100
    batch_size: int | None = 256
    seed: int = 0
    reference: str = "labels"
    dtype: str = "float32"
    device: str = "auto"
    engine: str = "auto"
    steps_between_draws: int = 1

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                raise JobError(f"sampler.{name} is '{value}'{_nearest(value, choices)}; choose {' or '.join(choices)}")
        for name in ("step_size", "n_beta", "localization"):
            value = getattr(self, name)
            if not isinstance(value, int | float | np.number) or not 0 <= float(value) <= LARGEST:
                raise JobError(f"sampler.{name} is {value!r}; it must be a number from 0 to {LARGEST:g}")
        if self.step_size == 0:
            raise JobError(f"sampler.step_size is {self.step_size}; it must be above 0")
        least = {"chains": 1, "draws": 1, "burn_in": 0, "batch_size": 1, "seed": 0, "steps_between_draws": 1}
        for name, minimum in least.items():
            value = getattr(self, name)
            if value is None and name == "batch_size":
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
                raise JobError(f"sampler.{name} is {value!r}; it must be a whole number, {minimum} or more")

        if self.kernel in FULL_BATCH and self.batch_size is not None:
            raise JobError(
                f"sampler.kernel '{self.kernel}' compares losses on the full batch but sampler.batch_size is "
                f"{self.batch_size}; set batch_size to null"
            )

    @property
    def torch_dtype(self) -> torch.dtype:
        """The precision of weights and data as torch names it."""
        return torch.float64 if self.dtype == "float64" else torch.float32

    @property
    def torch_device(self) -> torch.device:
        """The device that "auto" means here.

        Raises:
            JobError: torch does not know the device, this machine lacks it, or it has no float64 or random numbers.
        """
        name = self.device
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            device = torch.device(name)
            torch.empty(0, device=device, dtype=torch.float64)  # of sums over examples and over chains
            torch.Generator(device)
        except (RuntimeError, AssertionError, TypeError) as error:
            reason = str(error).splitlines()[0]
            raise JobError(f"sampler.device is '{self.device}', which cannot be used here: {reason}") from None
        return device


@dataclass(frozen=True, eq=False)
class Traces:
    """What the chains of a group of checkpoints met.

    Attributes:
        excess_loss_KCD: (K, C, burn_in + D) L_B(w) - L_B(w*) of each draw, both on the same batch B; nats
            per example. Draw 0 of a chain with one step per draw is w* itself. NaN or infinite from
            where a chain diverged.
        loss_K: (K,) L_n(w*) by the problem's own loss over the whole data set, nats per example.
        n_beta: as sampled.
        burn_in: draws at the start of each trace that do not enter the estimate.
        distance_KC: (K, C) root mean square over draws after burn-in of |w - w*|.
        acceptance_KC: (K, C) mean probability over draws after burn-in of accepting a proposal; None for kernels
            that accept all.
        step_bias_KC: (K, C) of each chain's LLC, what is due to the finite step and the batches, to first order; None
            for kernels that correct for their step.
        seconds: wall time of the group.
        engine: "batched", "looped" or "sequential".
    """

    excess_loss_KCD: Floats
    loss_K: Floats
    n_beta: float
    burn_in: int
    distance_KC: Floats
    seconds: float
    engine: str
    acceptance_KC: Floats | None = None
    step_bias_KC: Floats | None = None


def _nearest(value: object, choices: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(str(value), choices, n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""
