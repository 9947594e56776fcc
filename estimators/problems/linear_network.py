"""A deep linear network from a small start: it learns one singular mode after the other, saddle to saddle.

The data are y = W* x + unit noise with whitened inputs, so that two layers follow the closed form of
Saxe, McClelland and Ganguli (2013, arXiv 1312.6120), here `half_times`.

Shapes: N examples, I inputs and O outputs (both the width), H hidden units, M modes.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor, nn

from estimators.divergences import squared_error
from estimators.problem import Batch, Problem, problem_tensors
from estimators.problems.recording import RunFolder, log_spaced_steps
from estimators.progress import Progress, silent
from slt.errors import ProblemError
from slt.events import CircuitEvent, crossing

NAME = "linear_network"
CURVE_POINTS = 2000
"""Log-spaced steps at which the curves are recorded."""


def build(
    width: int = 16,
    layers: int = 2,
    singular_values: Sequence[float] = (8.0, 4.0, 2.0, 1.0),
    n_samples: int = 4000,
    data_seed: int = 0,
) -> Problem:
    """The network, its data set, and the loss 1/2 ||y - f(x)||^2: nats per example for unit noise, constants left out.

    Args:
        width: of the input, the output and each hidden layer.
        layers: number of weight matrices.
        singular_values: of the teacher W*; the other modes are zero.
        n_samples: size of the data set.
        data_seed: fixes inputs, teacher and noise.

    Raises:
        ProblemError: more modes than the width, or fewer examples than the width.
    """
    if len(singular_values) > width or n_samples < width or layers < 1 or min(singular_values, default=0) <= 0:
        raise ProblemError(
            f"{NAME} needs 1 to width={width} positive singular_values (got {list(singular_values)}), "
            f"n_samples={n_samples} of at least the width, and layers={layers} of at least 1"
        )
    return Problem(
        model=_network(width, layers),
        data=_data(width, singular_values, n_samples, data_seed),
        loss=_loss,
        divergence=squared_error,
        measures={"singular_values": singular_values_of},
        name=NAME,
    )


def train(
    problem: Problem,
    folder: RunFolder,
    *,
    seed: int = 0,
    progress: Progress = silent,
    start: float = 1e-4,
    learning_rate: float = 2e-3,
    steps: int = 20_000,
    checkpoints: int = 120,
) -> list[CircuitEvent]:
    """Full-batch gradient descent on the mean loss; its events are the modes reaching half of their targets.

    Args:
        problem: what `build` gave; its model is trained in place.
        folder: where checkpoints and the curves (loss, one strength per mode) go.
        seed: fixes the initial weights.
        progress: told (steps done, steps, label).
        start: standard deviation of the initial weights.
        learning_rate: training time, as in the closed form, is learning_rate x step.
        steps: length of the run.
        checkpoints: how many, log-spaced, with step 0 and the last.
    """
    model, (x, y) = problem.model, problem_tensors(problem)
    parameters = list(model.parameters())
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in parameters:
            weight.normal_(0, start, generator=generator)
    modes = Modes.of_data(x, y)
    xx, yx, yy = x.T @ x / len(x), y.T @ x / len(x), y.square().sum() / len(y)
    saved, seen = set(log_spaced_steps(steps, checkpoints)), set(log_spaced_steps(steps, CURVE_POINTS))
    for step in range(steps + 1):
        # The mean over all examples of 1/2 ||y - W x||^2, from their second moments: exact, and without the examples.
        network = product(parameters)
        loss = 0.5 * ((network @ xx * network).sum() - 2 * (network * yx).sum() + yy)
        if step in seen:
            strengths = {mode_name(k): value for k, value in enumerate(modes.strengths(network.detach()).tolist(), 1)}
            folder.record(step, loss=loss.item(), **strengths)
        if step in saved:
            folder.save_checkpoint(step, model.state_dict())
            progress(step, steps, "training linear_network")
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.sub_(gradient, alpha=learning_rate)
    found = (
        crossing(*folder.curve(mode_name(k)), target / 2, f"{mode_name(k)} reaches half of {target:.2f}", group="modes")
        for k, target in enumerate(modes.targets.tolist(), 1)
    )
    return [event for event in found if event is not None]


@dataclass(frozen=True)
class Modes:
    """The singular modes that the data teach: those of the least-squares solution that stand above its noise.

    Attributes:
        left_OM, right_IM: singular vectors.
        targets: (M,) singular values, largest first.
    """

    left_OM: Tensor
    right_IM: Tensor
    targets: Tensor

    @classmethod
    def of_data(cls, x: Tensor, y: Tensor) -> Modes:
        """Keep singular values above 1.5 times the largest that unit noise alone gives, 2 sqrt(width / n)."""
        solution = torch.linalg.lstsq(x, y).solution.T
        left, targets, right = torch.linalg.svd(solution)
        above = targets > 3 * math.sqrt(x.shape[1] / len(x))
        return cls(left[:, above], right.T[:, above], targets[above])

    def strengths(self, weight_OI: Tensor) -> Tensor:
        """(M,) how strongly a map holds each mode: u_k^T W v_k."""
        return (self.left_OM * (weight_OI @ self.right_IM)).sum(0)

    def starts(self, first_HI: Tensor, last_OH: Tensor) -> Tensor:
        """(M,) the closed form's u_0 of each mode, for two layers from a small random start.

        While the product is small, a = W2^T u and b = W1 v obey a' = s b, b' = s a: their mean grows as
        exp(s t) and their difference dies out, so that the mode behaves as if it had begun balanced and
        aligned with u_0 = ||(a + b)/2||^2.
        """
        growing = (last_OH.T @ self.left_OM + first_HI @ self.right_IM) / 2
        return growing.square().sum(0)


def half_times(targets: Tensor, starts: Tensor) -> Tensor:
    """Training times at which modes of a two-layer linear network reach half of their targets.

    Solves u(t) = s / 2 for u(t) = s exp(2 s t) / (exp(2 s t) - 1 + s/u_0) (Saxe et al. 2013, eq. 12):
    t = ln(s/u_0 - 1) / (2 s). Holds for gradient flow, whitened inputs and modes that grow one by one.

    Args:
        targets: (M,) s, the data's singular values.
        starts: (M,) u_0 below s/2, the strengths at the start.

    Returns:
        (M,) times; divided by the learning rate they are steps of gradient descent.
    """
    return torch.log(targets / starts - 1) / (2 * targets)


def product(weights: Sequence[Tensor]) -> Tensor:
    """(O, I) the map that the layers, first to last, make together."""
    return reduce(lambda inner, weight: weight @ inner, weights)


def mode_name(index: int) -> str:
    """Name of the k-th mode in curves and events."""
    return f"mode {index}"


def singular_values_of(problem: Problem, model: nn.Module) -> Mapping[str, float]:
    """The measure `singular_values`: those of the map that the layers make together, largest first."""
    values = torch.linalg.svdvals(product([weight.detach() for weight in model.parameters()]))
    return {f"singular_value_{k}": float(value) for k, value in enumerate(values, 1)}


def _network(width: int, layers: int) -> nn.Module:
    return nn.Sequential(OrderedDict((f"layer_{k}", nn.Linear(width, width, bias=False)) for k in range(1, layers + 1)))


def _data(width: int, singular_values: Sequence[float], n_samples: int, seed: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)

    def gaussian(rows: int) -> Tensor:
        return torch.randn(rows, width, generator=generator, dtype=torch.float64)

    left, right = (torch.linalg.qr(gaussian(width))[0][:, : len(singular_values)] for _ in range(2))
    x = torch.linalg.qr(gaussian(n_samples))[0] * math.sqrt(n_samples)  # whitened: x^T x = n
    teacher = left @ torch.diag(torch.tensor(singular_values, dtype=torch.float64)) @ right.T
    return x.float(), (x @ teacher.T + gaussian(n_samples)).float()


def _loss(model: nn.Module, batch: Batch) -> Tensor:
    return squared_error(model(batch[0]), batch[1])
