"""The samplers' updates against devinterp's, and their draws against a known posterior."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from devinterp.optim.sgmcmc import SGMCMC
from devinterp.optim.sgnht import SGNHT
from torch import Tensor, nn
from torch.optim import Optimizer

from estimators.kernels import Kernel, mala, rmsprop_sgld, sgld, sgnht
from tests.estimators.gaussian import PRECISION, assert_samples_the_gaussian, excess_variance, relaxation

STEP_SIZE, N_BETA, SIZE = 0.01, 30.0, 50
SCALES = torch.linspace(0.1, 5.0, SIZE, dtype=torch.float64)


def walk_beside(
    theirs: Optimizer, kernel: Kernel, parameter: nn.Parameter, center: Tensor, steps: int, *, begin: object = None
) -> tuple[Tensor, Tensor]:
    """Where ours and theirs end on a bowl after steps with the same noise and, at first, the same momentum."""
    dtype = center.dtype
    state = kernel.init(center.clone(), center)
    if begin is not None:
        state = state._replace(momentum=begin)
    noise_of_ours = torch.Generator().manual_seed(3)
    noise_of_theirs = torch.Generator().manual_seed(3)
    keywords = {} if isinstance(theirs, SGNHT) else {"noise_generator": noise_of_theirs}
    torch.manual_seed(3)
    for _ in range(steps):
        parameter.grad = SCALES.to(dtype) * (parameter.detach() - 1)
        theirs.step(**keywords)
        noise = torch.normal(0.0, 1.0, (SIZE,), generator=noise_of_ours).to(dtype)  # they draw float32 always
        gradient = SCALES.to(dtype) * (state.position - 1)
        state, _ = kernel.update(state, torch.zeros((), dtype=dtype), gradient, noise)
    return state.position, parameter.detach()


def fresh(dtype: torch.dtype) -> tuple[Tensor, nn.Parameter]:
    center = torch.randn(SIZE, generator=torch.Generator().manual_seed(0), dtype=dtype)
    return center, nn.Parameter(center.clone())


@pytest.mark.parametrize("steps", [1, 500])
@pytest.mark.parametrize("localization", [0.0, 7.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("theirs", "build"), [(SGMCMC.sgld, sgld.build), (SGMCMC.rmsprop_sgld, rmsprop_sgld.build)], ids=["sgld", "rmsprop"]
)
def test_the_update_is_devinterps_to_rounding_when_given_the_same_noise(
    theirs: Callable[..., SGMCMC], build: Callable[..., Kernel], dtype: torch.dtype, localization: float, steps: int
) -> None:
    center, parameter = fresh(dtype)
    optimizer = theirs([parameter], lr=STEP_SIZE, nbeta=N_BETA, localization=localization)
    ours, expected = walk_beside(optimizer, build(STEP_SIZE, N_BETA, localization), parameter, center, steps)
    # a few roundings a step of numbers of order 1, of which a contracting chain forgets all but the last 100 steps'
    torch.testing.assert_close(ours, expected, rtol=0, atol=200 * torch.finfo(dtype).eps)
    assert (ours - center).abs().max() > 0.1


@pytest.mark.parametrize("steps", [1, 300])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sgnht_is_devinterps_to_rounding_when_given_the_same_noise_and_momentum(dtype: torch.dtype, steps: int) -> None:
    center, parameter = fresh(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        theirs = SGNHT([parameter], lr=1e-3, nbeta=N_BETA)
    begin = theirs.state[parameter]["momentum"].clone()
    ours, expected = walk_beside(theirs, sgnht.build(1e-3, N_BETA, 0.0), parameter, center, steps, begin=begin)
    # as above; an oscillation is forgotten in 2/A = 200 steps only, and their thermostat is always a float32
    torch.testing.assert_close(ours, expected, rtol=0, atol=500 * torch.finfo(torch.float32).eps)
    assert (ours - center).abs().max() > 0.01


def test_devinterps_own_sgmcmc_sgnht_is_sgld_at_a_temperature_of_twice_the_diffusion() -> None:
    """Why ours is held to its older `SGNHT`: the momentum of this one is never used."""
    center, parameter = fresh(torch.float64)
    theirs = SGMCMC.sgnht([parameter], lr=STEP_SIZE, nbeta=N_BETA, diffusion_factor=0.01)
    cold = sgld.build(STEP_SIZE, N_BETA, 0.0)

    def cooled(state: object, loss: Tensor, gradient: Tensor, noise: Tensor) -> object:
        return cold.update(state, loss, gradient, math.sqrt(0.02) * noise)

    ours, expected = walk_beside(theirs, cold._replace(update=cooled), parameter, center, 100)
    # they keep the square root of 2 A as a float32
    torch.testing.assert_close(ours, expected, rtol=0, atol=100 * torch.finfo(torch.float32).eps)


def slow_preconditioner(step_size: float, n_beta: float, localization: float) -> Kernel:
    config = rmsprop_sgld.RMSpropSGLDConfig(step_size, n_beta, localization, decay=0.9999)
    return Kernel(rmsprop_sgld.init, partial(rmsprop_sgld.update, config=config))


def quick_thermostat(step_size: float, n_beta: float, localization: float) -> Kernel:
    config = sgnht.SGNHTConfig(step_size, n_beta, localization, diffusion=0.05)
    return Kernel(partial(sgnht.init, config=config), partial(sgnht.update, config=config))


@pytest.mark.parametrize(
    ("build", "step_size", "steps", "bias"),
    [
        # the stationary variance of SGLD is off by epsilon p / 4, of the largest precision p
        (sgld.build, 0.01, relaxation(0.01), 0.25 * 0.01 * 12.93),
        # exact, although the step is 16 times that of SGLD, at which SGLD is off by a half
        (mala.build, 0.16, relaxation(0.16), 0.0),
        # as SGLD at the step epsilon / stability, which is where the preconditioner starts
        (slow_preconditioner, 0.001, relaxation(0.01), 0.25 * 0.01 * 12.93),
        # friction after the kick: diffusion over mobility is (1 - A/2) / (1 - A), at any step size. An oscillation is
        # forgotten to exp(-A n / 2) = exp(-8)
        (quick_thermostat, 0.02, 320, 0.5 * 0.05 / 0.95),
    ],
    ids=["sgld", "mala", "rmsprop_sgld", "sgnht"],
)
def test_draws_have_the_mean_and_covariance_of_the_posterior(
    build: Callable[..., Kernel], step_size: float, steps: int, bias: float
) -> None:
    assert_samples_the_gaussian(build, step_size, steps, bias)


def test_halving_the_step_halves_the_bias_of_sgld() -> None:
    steps = np.array([0.12, 0.06, 0.03])
    biases = [excess_variance(sgld.build, step, relaxation(step)) for step in steps]
    # exactly, the mean over the precisions of 1/(1 - epsilon p / 4) - 1
    precisions = torch.linalg.eigvalsh(PRECISION).numpy()
    exact = (1 / (1 - 0.25 * np.outer(steps, precisions)) - 1).mean(axis=1)
    # four standard errors, sqrt(2 / (3 * 20,000)), of a variance that is larger by the bias
    np.testing.assert_allclose(biases, exact, rtol=0, atol=4 * 0.0058 * (1 + exact.max()))
    order = np.polyfit(np.log(steps), np.log(biases), 1)[0]
    # first order; the exact biases have the slope 1.2 at these steps, and 1/0.07 errors at the smallest give +- 0.1
    assert 0.9 < order < 1.5


def test_mala_has_no_bias_at_any_step() -> None:
    for step in (0.05, 0.1, 0.2):
        # four standard errors, as above
        assert abs(excess_variance(mala.build, step, relaxation(step))) < 4 * 0.0058


def test_a_preconditioner_that_follows_the_chain_leaves_a_bias_that_smaller_steps_do_not_mend() -> None:
    """Known and kept: devinterp, like everyone, leaves out the term for the change of G with w."""
    biases = [excess_variance(rmsprop_sgld.build, step, relaxation(10 * step)) for step in (0.005, 0.0025)]
    # four standard errors above zero, yet below the 15 % that the documents state
    assert all(4 * 0.0058 < bias < 0.15 for bias in biases)


def test_mala_accepts_with_the_ratio_of_the_posterior_and_the_proposals_densities() -> None:
    generator = torch.Generator().manual_seed(1)

    def numbers(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    center, start, epsilon = numbers(4), 0.5 * numbers(7, 4), 0.1
    kernel = mala.build(epsilon, N_BETA, 2.0)

    def potential(w: Tensor) -> Tensor:
        return N_BETA * (w**4).sum(dim=-1) / 4 + (w - center).square().sum(dim=-1)

    def slope(w: Tensor) -> Tensor:
        return N_BETA * w**3 + 2 * (w - center)

    def log_density(there: Tensor, here: Tensor) -> Tensor:
        return -(there - here + epsilon / 2 * slope(here)).square().sum(dim=-1) / (2 * epsilon)

    state, first = kernel.update(
        kernel.init(start.clone(), center), (start**4).sum(dim=-1) / 4, start**3, numbers(7, 5)
    )
    assert torch.isnan(first.acceptance).all()
    torch.testing.assert_close(first.position, start)
    proposal = state.position.clone()
    _, draw = kernel.update(state, (proposal**4).sum(dim=-1) / 4, proposal**3, numbers(7, 5))
    ratio = potential(start) - potential(proposal) + log_density(start, proposal) - log_density(proposal, start)
    # float64 rounding of potentials of order 100
    torch.testing.assert_close(draw.acceptance, ratio.clamp(max=0).exp(), rtol=1e-10, atol=1e-12)
    assert ((draw.acceptance > 0.001) & (draw.acceptance < 0.999)).any()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_mala_refuses_a_proposal_without_a_finite_loss_and_stays(bad: float) -> None:
    kernel, center = mala.build(0.1, 5.0, 1.0), torch.zeros(2)
    state, first = kernel.update(kernel.init(center.clone(), center), torch.tensor(0.0), torch.zeros(2), torch.ones(3))
    state, draw = kernel.update(state, torch.tensor(bad), torch.full((2,), bad), torch.ones(3))
    assert draw.acceptance == 0
    assert draw.loss == first.loss == 0
    torch.testing.assert_close(draw.position, center)
    assert torch.isfinite(state.position).all()


@pytest.mark.parametrize("build", [sgld.build, rmsprop_sgld.build, mala.build])
def test_without_noise_and_gradient_the_chain_returns_to_the_center(build: Callable[..., Kernel]) -> None:
    center = torch.tensor([1.0, -2.0], dtype=torch.float64)
    kernel = build(0.02, 5.0, 4.0)
    state = kernel.init(torch.zeros(2, dtype=torch.float64), center)
    for _ in range(400):
        state, draw = kernel.update(
            state, torch.zeros((), dtype=torch.float64), torch.zeros(2, dtype=torch.float64),
            torch.zeros(2 + kernel.extra_noise, dtype=torch.float64),
        )  # fmt: skip
    # the distance shrinks by at least 1 - 0.02 * 4 / 2 = 0.96 a step
    torch.testing.assert_close(draw.position, center, rtol=0, atol=1e-6)
