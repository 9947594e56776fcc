from __future__ import annotations

import numpy as np
import pytest

from slt.closed_form import (
    deep_linear,
    normal_crossing,
    reduced_rank,
    reduced_rank_local,
    regular,
    sgld_on_quadratic,
)
from slt.errors import BadInput
from tests import scenarios


@pytest.mark.parametrize(("widths", "rank", "llc", "multiplicity"), scenarios.DEEP_LINEAR)
def test_deep_linear_networks_have_their_published_coefficient(widths, rank, llc, multiplicity):
    assert deep_linear(widths, rank) == (llc, multiplicity)


def test_the_published_fourteen_layer_network_has_4500():
    widths = (100, 89, 467, 95, 231, 59, 159, 36, 225, 210, 342, 457, 495, 366, 186)
    assert deep_linear(widths, 36)[0] == 4500


@pytest.mark.parametrize(("inputs", "hidden", "outputs", "rank", "llc", "multiplicity"), scenarios.REDUCED_RANK)
def test_reduced_rank_regression_has_its_published_coefficient(inputs, hidden, outputs, rank, llc, multiplicity):
    assert reduced_rank(inputs, hidden, outputs, rank) == (llc, multiplicity)


def test_two_layers_of_a_deep_linear_network_are_reduced_rank_regression():
    for m, h, n, r in scenarios.two_layer_shapes(5):
        assert deep_linear((m, h, n), r) == reduced_rank(m, h, n, r), (m, h, n, r)


@pytest.mark.parametrize(("m", "h", "n", "a", "b", "r", "llc", "multiplicity"), scenarios.REDUCED_RANK_LOCAL)
def test_the_local_coefficient_depends_on_the_ranks_of_the_factors(m, h, n, a, b, r, llc, multiplicity):
    assert reduced_rank_local(m, h, n, a, b, r) == (llc, multiplicity)


def test_the_least_local_coefficient_is_the_global_one_with_its_multiplicity():
    for m, h, n, r in scenarios.two_layer_shapes(5):
        ranks = [(a, b) for a in range(r, min(h, m) + 1) for b in range(r, min(h, n) + 1) if a + b - r <= h]
        local = [reduced_rank_local(m, h, n, a, b, r) for a, b in ranks]
        least = min(llc for llc, _ in local)
        assert (least, max(k for llc, k in local if llc == least)) == reduced_rank(m, h, n, r), (m, h, n, r)


@pytest.mark.parametrize(("powers", "llc", "multiplicity"), scenarios.NORMAL_CROSSING)
def test_a_normal_crossing_has_half_the_inverse_of_its_largest_power(powers, llc, multiplicity):
    assert normal_crossing(powers) == (llc, multiplicity)


def test_a_regular_model_has_half_its_parameters():
    assert regular(7) == 3.5


def test_the_finite_step_answer_on_a_quadratic_is_the_published_number():
    llc, _ = sgld_on_quadratic(**scenarios.QUADRATIC, draws=1)
    assert llc == pytest.approx(scenarios.QUADRATIC_LLC, abs=5e-5)


def test_a_vanishing_step_gives_the_gaussian_answer():
    llc, _ = sgld_on_quadratic([2.0, 7.0], localization=0.0, step_size=1e-9, draws=1)
    assert llc == pytest.approx(regular(2))


@pytest.mark.parametrize("draws", [1, 40, 300])
def test_simulated_sgld_has_the_exact_mean_and_error_of_the_mean(draws):
    runs = 4000
    losses = scenarios.sgld_losses(np.random.default_rng(draws), chains=runs, draws=draws, **scenarios.QUADRATIC)
    llc, error = sgld_on_quadratic(**scenarios.QUADRATIC, draws=draws)
    means = losses.mean(axis=1)
    # 4 standard errors of the mean over runs; fixed seeds, so that this is no lottery
    assert abs(means.mean() - llc) < 4 * error / np.sqrt(runs)
    # the sample variance's own standard error comes from the fourth moment, the means being skewed
    deviation = (means - means.mean()) ** 2
    assert abs(deviation.mean() - error**2) < 4 * deviation.std() / np.sqrt(runs)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: reduced_rank(3, 2, 3, 3), "rank 3 does not fit"),
        (lambda: deep_linear([4], 1), "at least two positive"),
        (lambda: deep_linear([4, 0, 4], 0), "at least two positive"),
        (lambda: reduced_rank_local(2, 2, 2, 2, 2, 0), "no factorisation of rank 0"),
        (lambda: normal_crossing([0, 0]), "at least 1"),
        (lambda: normal_crossing([-1, 2]), "not be negative"),
        (lambda: regular(-1), "-1 parameters"),
        (lambda: sgld_on_quadratic([0.0], 0.0, 0.1, 5), "must be positive"),
        (lambda: sgld_on_quadratic([40.0], 0.0, 0.1, 5), "unstable: it must be below .* 0.1$"),
    ],
)
def test_impossible_arguments_are_named(call, says):
    with pytest.raises(BadInput, match=says):
        call()
