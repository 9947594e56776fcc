"""Divergences against hand-made values."""

from __future__ import annotations

import math

import torch

from estimators.divergences import kl, squared_error


def test_both_are_zero_where_outputs_agree() -> None:
    outputs = torch.randn(6, 3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for divergence in (kl, squared_error):
        # float64 rounding
        torch.testing.assert_close(
            divergence(outputs, outputs), torch.zeros(6, dtype=torch.float64), atol=1e-14, rtol=0
        )


def test_kl_is_from_the_reference_to_the_outputs() -> None:
    reference = torch.tensor([[math.log(0.75), math.log(0.25)]])
    outputs = torch.zeros(1, 2)
    expected = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    # float32 rounding
    torch.testing.assert_close(kl(outputs, reference), torch.tensor([expected]), atol=1e-6, rtol=0)


def test_kl_averages_over_positions_and_squared_error_sums_over_outputs() -> None:
    reference, outputs = torch.zeros(2, 4, 3), torch.zeros(2, 4, 3)
    outputs[0, 0] = torch.tensor([1.0, 0.0, 0.0])
    per_position = kl(outputs[0], reference[0])
    torch.testing.assert_close(kl(outputs, reference), torch.tensor([per_position.mean().item(), 0.0]))
    torch.testing.assert_close(squared_error(outputs, reference), torch.tensor([0.5, 0.0]))


def test_squared_error_of_one_output_per_example_stays_per_example() -> None:
    torch.testing.assert_close(squared_error(torch.tensor([3.0, 1.0]), torch.ones(2)), torch.tensor([2.0, 0.0]))
