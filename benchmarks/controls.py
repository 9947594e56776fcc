"""LLCs where the answer is known and not that of a linear network: normal crossings, k-gons, a regular model.

    python -m benchmarks.controls [--json]

MALA on exact losses in float64, its step from acceptance. `lambda` is the learning coefficient, `exact` what the
sampled posterior has at this n_beta and localization: for normal crossings by quadrature in the plane, for the others
of Gaussian posteriors sum_i h_i / (2 (h_i + gamma)) over the eigenvalues h of n_beta times the Hessian at w*.
The relative error is that against `exact`.

k-gons are critical points of the toy model of superposition with 6 features in 2 dimensions (Chen et al. 2023):
k features are the corners of a regular polygon, the others dead. Rotation is free, and so is what moves dead features
alone: the 5-gon has (15 - 1)/2 = 7, the 6-gon (18 - 1)/2 = 8.5.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.speed import Superposition
from benchmarks.stepping import mala_step
from estimators.llc import SamplerConfig, estimate_llc
from estimators.problem import Problem
from slt.closed_form import normal_crossing, regular

EXAMPLES, FEATURES = 4000, 10
POLYGONS = {5: (1.17046, -0.28230, 7.0), 6: (1.32053, -0.61814, 8.5)}
"""Corners: distance from the origin, bias, learning coefficient."""


@dataclass(frozen=True)
class Control:
    name: str
    problem: Problem
    coefficient: float
    exact: float
    n_beta: float
    localization: float
    chains: int
    steps: int


class Crossing(nn.Module):
    def __init__(self, powers: tuple[int, int]) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(2))
        self.powers = powers

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.powers
        return (self.w[0].pow(2 * first) * self.w[1].pow(2 * second)).expand(len(x))


def crossing(powers: tuple[int, int], n_beta: float = 1e3, localization: float = 1.0) -> Control:
    """Loss w_1^(2 k_1) w_2^(2 k_2) at the origin."""
    coefficient, multiplicity = normal_crossing(powers)
    logs = np.linspace(-16, 2.5, 2000)
    w = np.exp(logs)
    loss = np.outer(w ** (2 * powers[0]), w ** (2 * powers[1]))
    weight = np.exp(-n_beta * loss - 0.5 * localization * np.add.outer(w**2, w**2)) * np.outer(w, w)
    problem = Problem(model=Crossing(powers), data=(torch.zeros(1, 1),), loss=lambda model, batch: model(batch[0]))
    return Control(
        f"normal crossing {powers}, m {multiplicity}", problem, coefficient,
        float(n_beta * (weight * loss).sum() / weight.sum()), n_beta, localization, 256, 12_000,
    )  # fmt: skip


class PopulationLoss(nn.Module):
    """Half the mean square error over inputs mu e_i, i one of 6 and mu uniform on (0, 1), in closed form.

    Unit j answers input i with relu(a mu + b): an integral of squares over where it is on and where it is off.
    """

    def __init__(self, model: Superposition) -> None:
        super().__init__()
        self.weight, self.bias = model.weight, model.bias

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.weight.T @ self.weight, self.bias.unsqueeze(1)  # (output j, input i)
        goal = torch.eye(len(a), dtype=a.dtype)
        kink = (-b / torch.where(a == 0, torch.ones_like(a), a)).clamp(0, 1)
        always = (b > 0).to(a.dtype).expand_as(a)
        low = torch.where(a > 0, kink, torch.where(a < 0, torch.zeros_like(a), 1 - always))
        high = torch.where(a < 0, kink, torch.ones_like(a))
        slope = a - goal

        def until(mu: Tensor) -> Tensor:
            return slope**2 * mu**3 / 3 + slope * b * mu**2 + b**2 * mu

        off = goal**2 * (low**3 + 1 - high**3) / 3
        return 0.5 * (until(high) - until(low) + off).sum().div(len(a)).expand(len(x))


def polygon(corners: int, n_beta: float = 1e6, localization: float = 100.0) -> Control:
    """At the critical point itself, up to the five digits to which it is known."""
    length, bias, coefficient = POLYGONS[corners]
    model = Superposition().double()
    angles = 2 * math.pi * torch.arange(corners, dtype=torch.float64) / corners
    with torch.no_grad():
        model.weight.zero_()[:, :corners] = length * torch.stack([angles.cos(), angles.sin()])
        model.bias.fill_(bias)
    problem = Problem(
        model=PopulationLoss(model), data=(torch.zeros(1, 1),), loss=lambda model, batch: model(batch[0])
    )  # fmt: skip
    exact = gaussian(problem, n_beta, localization)
    return Control(f"superposition, {corners}-gon", problem, coefficient, exact, n_beta, localization, 32, 8000)


def logistic(localization: float = 1.0) -> Control:
    """Logistic regression at its maximum of likelihood; n_beta = n, as at n / log n cubic terms still count 3 %."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(EXAMPLES, FEATURES, generator=generator, dtype=torch.float64)
    labels = torch.bernoulli(torch.sigmoid(x.sum(dim=1) / 3), generator=generator)
    model = nn.Linear(FEATURES, 1, bias=False).double()

    def loss(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        logits = model(batch[0]).squeeze(-1)
        return nn.functional.binary_cross_entropy_with_logits(logits, batch[1], reduction="none")

    problem = Problem(model=model, data=(x, labels), loss=loss)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=100, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(model, (x, labels)).mean()
        value.backward()
        return value

    optimizer.step(closure)
    exact = gaussian(problem, EXAMPLES, localization)
    return Control("logistic regression", problem, regular(FEATURES), exact, EXAMPLES, localization, 32, 1200)


def gaussian(problem: Problem, n_beta: float, localization: float) -> float:
    """sum h / (2 (h + gamma)) over the eigenvalues of n_beta times the Hessian at the model's weights."""
    names, values = zip(*problem.model.named_parameters(), strict=True)
    shapes = [value.shape for value in values]

    def mean_loss(flat: Tensor) -> Tensor:
        pieces = flat.split([shape.numel() for shape in shapes])
        state = {name: piece.view(shape) for name, piece, shape in zip(names, pieces, shapes, strict=True)}
        return problem.loss(lambda x: torch.func.functional_call(problem.model, state, (x,)), problem.data).mean()

    flat = torch.cat([value.detach().flatten() for value in values])
    h = n_beta * torch.linalg.eigvalsh(torch.autograd.functional.hessian(mean_loss, flat)).clamp(min=0)
    return float((h / (h + localization)).sum() / 2)


def measure(control: Control) -> dict[str, object]:
    config = SamplerConfig(
        step_size=1.0, n_beta=control.n_beta, localization=control.localization, kernel="mala", chains=control.chains,
        draws=control.steps // 2, burn_in=control.steps // 2, batch_size=None, dtype="float64", device="cpu",
    )  # fmt: skip
    step_size = mala_step(control.problem, config)
    config = SamplerConfig(**vars(config) | {"step_size": step_size})
    trajectory = estimate_llc(control.problem, {1: control.problem.model.state_dict()}, config)
    llc, error = float(trajectory.llc[0]), float(trajectory.llc_std_error[0])
    return {
        "control": control.name, "lambda": control.coefficient, "exact": control.exact, "llc": llc, "std_error": error,
        "relative_error": llc / control.exact - 1, "n_beta": control.n_beta, "localization": control.localization,
        "step_size": step_size, "verdict": trajectory.verdicts[0].kind.value,
    }  # fmt: skip


def controls() -> list[Control]:
    crossings = [crossing(powers) for powers in ((0, 1), (1, 2), (2, 2), (3, 3))]
    return [*crossings, polygon(5), polygon(6), logistic()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [measure(control) for control in controls()]
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    print(f"{'control':30}{'lambda':>8}{'exact':>8}{'LLC':>8}{'±':>7}{'error':>8}{'n_beta':>9}{'step':>9}  verdict")
    for row in rows:
        print(
            f"{row['control']:30}{row['lambda']:8.3f}{row['exact']:8.3f}{row['llc']:8.3f}{row['std_error']:7.3f}"
            f"{row['relative_error']:8.1%}{row['n_beta']:9.0f}{row['step_size']:9.1e}  {row['verdict']}"
        )


if __name__ == "__main__":
    main()
