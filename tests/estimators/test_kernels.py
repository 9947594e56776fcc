"""The samplers' updates against devinterp's."""

from __future__ import annotations

import pytest
import torch
from devinterp.optim.sgmcmc import SGMCMC
from torch import nn

from estimators.kernels import sgld


@pytest.mark.parametrize("localization", [0.0, 7.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sgld_is_devinterps_to_rounding_when_given_the_same_noise(localization: float, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    center = torch.randn(50, generator=generator, dtype=dtype)
    parameter = nn.Parameter(center.clone())
    theirs = SGMCMC.sgld([parameter], lr=0.01, nbeta=30.0, localization=localization)
    kernel = sgld.build(0.01, 30.0, localization)
    state = kernel.init(center.clone(), center)

    noise_of_theirs, noise_of_ours = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    for _ in range(5):
        gradient = torch.randn(50, generator=generator, dtype=dtype)
        parameter.grad = gradient.clone()
        theirs.step(noise_generator=noise_of_theirs)
        noise = torch.normal(0.0, 1.0, (50,), generator=noise_of_ours)  # they draw float32 always
        state, _ = kernel.update(state, torch.zeros((), dtype=dtype), gradient, noise.to(dtype))

    # a few roundings a step, of numbers of order 1
    tolerance = 100 * torch.finfo(dtype).eps
    torch.testing.assert_close(state.position, parameter.data, rtol=0, atol=tolerance)
    assert (state.position - center).abs().max() > 0.1


def test_sgld_without_noise_and_gradient_returns_to_the_center() -> None:
    center = torch.tensor([1.0, -2.0])
    kernel = sgld.build(0.1, 5.0, 4.0)
    state = kernel.init(torch.zeros(2), center)
    for _ in range(100):
        state, _ = kernel.update(state, torch.zeros(()), torch.zeros(2), torch.zeros(2))
    # the distance shrinks by 1 - 0.1 * 4 / 2 = 0.8 a step
    torch.testing.assert_close(state.position, center, rtol=0, atol=1e-6)
