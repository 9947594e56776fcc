"""Learning coefficients that are known exactly, and what SGLD at finite step must answer on a quadratic.

Each function that returns (coefficient, multiplicity) gives lambda and m of
`vol{w : L(w) - L(w*) <= e} ~ c e^lambda (log 1/e)^(m-1)`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from slt.errors import BadInput


def regular(parameters: int) -> float:
    """lambda = d/2 of a regular model with d parameters (Watanabe 2009)."""
    if parameters < 0:
        raise BadInput(f"a model cannot have {parameters} parameters")
    return parameters / 2


def normal_crossing(powers: Sequence[int]) -> tuple[float, int]:
    """(lambda, m) of the loss `prod_i w_i^(2 k_i)` at the origin, k the powers: 1/(2 max k), and how often it occurs.

    Raises:
        BadInput: a negative power, or no positive one (the loss would not vanish).
    """
    if min(powers, default=0) < 0 or max(powers, default=0) < 1:
        raise BadInput(f"powers {list(powers)} must not be negative, and one must be at least 1")
    return 1 / (2 * max(powers)), sum(power == max(powers) for power in powers)


def reduced_rank(inputs: int, hidden: int, outputs: int, rank: int) -> tuple[float, int]:
    """(lambda, m) of reduced-rank regression y = B A x with a true product of this rank.

    The minimum over all factorisations of the true product (Aoyagi & Watanabe 2005); at one given
    factorisation the coefficient may be larger, see `reduced_rank_local`.

    Raises:
        BadInput: the rank does not fit the widths.
    """
    M, H, N, r = inputs, hidden, outputs, rank
    _check_rank((M, H, N), r)
    if N + r > M + H:
        return (H * M - H * r + N * r) / 2, 1
    if M + r > N + H:
        return (H * N - H * r + M * r) / 2, 1
    if H + r > M + N:
        return M * N / 2, 1
    odd = (M + H + N + r) % 2
    return (2 * (H + r) * (M + N) - (M - N) ** 2 - (H + r) ** 2 + odd) / 8, 1 + odd


def reduced_rank_local(
    inputs: int, hidden: int, outputs: int, first_rank: int, second_rank: int, rank: int
) -> tuple[float, int]:
    """(lambda, m) of y = B A x at the factorisation with rank A = first_rank, rank B = second_rank, rank BA = rank.

    A local sampler sees this one and not the global minimum of `reduced_rank`. The formula is a posted,
    unreviewed one (August 2026); its minimum over all feasible ranks equals Aoyagi & Watanabe's lambda
    and m for every triple of widths up to 7.

    Raises:
        BadInput: no such factorisation exists.
    """
    N, H, M, a, b, r = inputs, hidden, outputs, first_rank, second_rank, rank
    if not (0 <= r <= min(a, b) and a <= min(H, N) and b <= min(H, M) and a + b - r <= H):
        raise BadInput(f"no factorisation of rank {r} through {N}-{H}-{M} has factors of rank {a} and {b}")
    p, n, h = M - b, N - a, H - a - b + r
    costs = [h * n + t * (p - h - n) + t * t for t in range(min(h, n) + 1)]
    return (M * a + b * N - a * b + min(costs)) / 2, costs.count(min(costs))


def deep_linear(widths: Sequence[int], rank: int) -> tuple[float, int]:
    """(lambda, m) of a deep linear network with these widths, input first, and a true product of this rank.

    The minimum over all factorisations (Aoyagi 2024, "Consideration on the learning efficiency of
    multiple-layered neural networks with linear units").

    Raises:
        BadInput: fewer than two widths, or a rank that does not fit them.
    """
    _check_rank(widths, rank)
    excess = sorted(width - rank for width in widths)
    regular_part = rank * (widths[0] + widths[-1] - rank) / 2
    chosen = excess[: _deficient_layers(excess) + 1]
    layers, total = len(chosen) - 1, sum(chosen)
    if layers == 0 or total == 0:
        return regular_part, 1
    a = total - (math.ceil(total / layers) - 1) * layers
    pairs = sum(x * y for x, y in combinations(chosen, 2))
    singular_part = a * (layers - a) / (4 * layers) - layers * (layers - 1) / 4 * (total / layers) ** 2 + pairs / 2
    return regular_part + singular_part, a * (layers - a) + 1


def _deficient_layers(excess: Sequence[int]) -> int:
    """The l of Aoyagi's theorem: the smallest prefix of the sorted excess widths that meets its three conditions."""
    for layers in range(1, len(excess)):
        chosen, rest = excess[: layers + 1], excess[layers + 1 :]
        if sum(chosen) < layers * max(chosen):
            continue
        if not rest or (max(chosen) < min(rest) and sum(chosen) < layers * min(rest)):
            return layers
    return 0


def _check_rank(widths: Sequence[int], rank: int) -> None:
    if len(widths) < 2 or min(widths) < 1:
        raise BadInput(f"widths {list(widths)} must be at least two positive numbers, input first")
    if not 0 <= rank <= min(widths):
        raise BadInput(f"rank {rank} does not fit widths {list(widths)}; it is between 0 and {min(widths)}")


def sgld_on_quadratic(curvatures: ArrayLike, localization: float, step_size: float, draws: int) -> tuple[float, float]:
    """What full-batch SGLD answers on a quadratic, exactly at finite step: (llc, its standard deviation over runs).

    With h the eigenvalues of n_beta * Hessian, the chain is an AR(1) in each eigendirection with
    coefficient `a = 1 - step_size (h + localization)/2` and stationary variance
    `v = 1/((h + localization)(1 - step_size (h + localization)/4))`, so that `llc = sum h v / 2`.

    Args:
        curvatures: (d,) eigenvalues of n_beta * Hessian, not negative.
        localization: gamma.
        step_size: epsilon; the drift is epsilon/2, the noise sqrt(epsilon).
        draws: T, consecutive draws of one stationary chain whose mean is taken.

    Raises:
        BadInput: a direction without a restoring force, or a step at which the chain explodes.
    """
    h = np.asarray(curvatures, dtype=float)
    pull = h + localization
    if (h < 0).any() or (pull <= 0).any():
        raise BadInput("curvature + localization must be positive in each direction, curvature not negative")
    if (step_size * pull >= 4).any():
        raise BadInput(
            f"step_size {step_size:g} is unstable: it must be below 4 / (curvature + localization) = {4 / pull.max():g}"
        )
    a = 1 - step_size * pull / 2
    v = 1 / (pull * (1 - step_size * pull / 4))
    k = np.arange(1, draws)[:, None]
    correlation = 1 + 2 * ((1 - k / draws) * a ** (2 * k)).sum(axis=0)
    variance = ((h * v) ** 2 / (2 * draws) * correlation).sum()
    return float((h * v).sum() / 2), float(np.sqrt(variance))
