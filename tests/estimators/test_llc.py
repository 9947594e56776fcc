"""The estimate: against exact answers, and what makes it comparable between checkpoints."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from estimators import Problem, SamplerConfig, estimate_llc, llc
from estimators.divergences import squared_error
from estimators.llc import sample_group
from estimators.seeds import BatchStream
from slt.closed_form import sgld_on_quadratic
from slt.errors import CheckpointMismatch, JobError, NonFiniteWeights, ProblemError
from slt.trajectory import VerdictKind

CURVATURES = (0.05, 0.3, 4.0)
ENGINES = ("batched", "sequential")


class Bowl(nn.Module):
    """Loss sum_i h_i w_i^2 / 2 for every example."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(3))
        self.register_buffer("curvatures", torch.tensor(CURVATURES))

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * (self.curvatures * self.w**2).sum().expand(len(x))


def bowl(**changes: object) -> Problem:
    return Problem(model=Bowl(), data=(torch.zeros(4, 1),), loss=lambda model, batch: model(batch[0]), **changes)


def quadratic_config(engine: str, chains: int, draws: int) -> SamplerConfig:
    return SamplerConfig(
        step_size=0.02, n_beta=10.0, localization=5.0, chains=chains, draws=draws, burn_in=100, batch_size=None,
        engine=engine, dtype="float64",
    )  # fmt: skip


class Regression(nn.Module):
    def __init__(self, width: int = 8, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.inner = nn.Parameter(0.5 * torch.randn(width, 5, generator=generator))
        self.outer = nn.Parameter(0.5 * torch.randn(2, width, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x @ self.inner.T) @ self.outer.T


def regression(n: int = 200, **changes: object) -> Problem:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, 5, generator=generator)
    y = Regression(seed=7)(x).detach() + torch.randn(n, 2, generator=generator)
    return Problem(
        model=Regression(),
        data=(x, y),
        loss=lambda model, batch: 0.5 * (model(batch[0]) - batch[1]).square().sum(dim=1),
        name="regression",
        **changes,
    )


def config(**changes: object) -> SamplerConfig:
    settings = {"chains": 3, "draws": 20, "burn_in": 5, "batch_size": 16}
    return SamplerConfig(**({"step_size": 1e-3, "n_beta": 20.0, "localization": 10.0} | settings | changes))


def weights(*seeds: int) -> list[dict[str, Tensor]]:
    return [Regression(seed=seed).state_dict() for seed in seeds]


@pytest.mark.parametrize(("engine", "chains", "draws"), [("batched", 200, 300), ("sequential", 12, 150)])
def test_a_quadratic_gives_the_exact_finite_step_llc_and_error_bar(engine: str, chains: int, draws: int) -> None:
    exact, chain_error = sgld_on_quadratic(10.0 * np.array(CURVATURES), 5.0, 0.02, draws)

    trajectory = estimate_llc(bowl(), {1: Bowl().state_dict()}, quadratic_config(engine, chains, draws))

    # three standard errors of a mean over independent chains, each of known variance
    assert trajectory.llc[0] == pytest.approx(exact, abs=3 * chain_error / np.sqrt(chains))
    # the standard deviation of C nearly Gaussian numbers has the relative standard error 1/sqrt(2(C-1))
    relative = 3 / np.sqrt(2 * (chains - 1))
    assert trajectory.llc_std_error[0] == pytest.approx(chain_error / np.sqrt(chains), rel=relative)


@pytest.mark.parametrize("engine", ENGINES)
def test_parameters_outside_the_restriction_do_not_count(engine: str) -> None:
    class Two(Bowl):
        def __init__(self) -> None:
            super().__init__()
            self.held = nn.Parameter(torch.ones(3))

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + 5 * (self.held - 1).square().sum()

    problem = Problem(
        model=Two(), data=(torch.zeros(4, 1),), loss=lambda model, batch: model(batch[0]), restriction=("w*",)
    )
    free = Problem(model=Two(), data=problem.data, loss=problem.loss)
    free.model.held.requires_grad_(False)
    settings = quadratic_config(engine, 2, 30)

    expected = sample_group(bowl(), [Bowl().state_dict()], settings).excess_loss_KCD
    restricted = sample_group(problem, [Two().state_dict()], settings).excess_loss_KCD
    frozen = sample_group(free, [Two().state_dict()], settings).excess_loss_KCD

    np.testing.assert_array_equal(restricted, expected)
    np.testing.assert_array_equal(frozen, expected)


def test_as_many_checkpoints_are_held_together_as_fit_and_of_a_large_model_one():
    data = (torch.zeros(4, 3),)
    sizes = {
        width: Problem(nn.Linear(width, width, device="meta"), data, lambda model, batch: None)
        for width in (10, 1000, 10**4)
    }
    assert llc.together(sizes[10], chains=4) > 10**5
    assert llc.together(sizes[1000], chains=4) * 4 * 4 * 4 * 1_001_000 <= llc.GROUP_BYTES
    assert llc.together(sizes[10**4], chains=4) == 1


def test_pairing_the_losses_cuts_the_spread_over_seeds() -> None:
    problem, settings = regression(n=4000), config(chains=48, localization=1e3, draws=60, burn_in=20)
    traces = sample_group(problem, weights(7), settings)
    paired = traces.excess_loss_KCD[0, :, settings.burn_in :].mean(axis=1)

    losses = problem.loss(Regression(seed=7), problem.data).detach().numpy()
    stream = BatchStream(settings.seed, range(48), len(losses), 16, torch.device("cpu"))
    batches = np.stack([stream.next().numpy() for _ in range(80)])[20:]
    unpaired = paired + losses[batches].mean(axis=(0, 2)) - losses.mean()

    # a ratio of two deviations over 48 chains has a relative standard error below 0.15; the truth is about 8
    assert unpaired.std() / paired.std() > 4


@pytest.mark.parametrize("engine", ENGINES)
def test_equal_checkpoints_have_equal_traces_to_the_last_bit(engine: str) -> None:
    excess = sample_group(regression(), weights(3, 5, 3), config(engine=engine)).excess_loss_KCD
    np.testing.assert_array_equal(excess[0], excess[2])
    assert not np.array_equal(excess[0], excess[1])


@pytest.mark.parametrize("engine", ENGINES)
def test_a_checkpoint_does_not_depend_on_its_group(engine: str) -> None:
    settings = config(engine=engine, dtype="float64")
    together = sample_group(regression(), weights(3, 5, 8), settings).excess_loss_KCD
    alone = sample_group(regression(), weights(5), settings).excess_loss_KCD
    # float64 rounding, grown over 25 steps of a stable chain
    np.testing.assert_allclose(alone[0], together[1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
def test_chain_c_does_not_depend_on_the_number_of_chains(engine: str) -> None:
    few = sample_group(regression(), weights(3), config(engine=engine, dtype="float64", chains=2)).excess_loss_KCD
    many = sample_group(regression(), weights(3), config(engine=engine, dtype="float64", chains=5)).excess_loss_KCD
    # as above
    np.testing.assert_allclose(few, many[:, :2], rtol=0, atol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("batch_size", [16, None])
def test_chains_differ(engine: str, batch_size: int | None) -> None:
    excess = sample_group(regression(), weights(3), config(engine=engine, batch_size=batch_size)).excess_loss_KCD
    assert len(np.unique(excess[0, :, -1])) == 3


@pytest.mark.parametrize("engine", ENGINES)
def test_the_same_seed_gives_the_same_bits_and_another_seed_others(engine: str) -> None:
    first, again, other = (
        sample_group(regression(), weights(3, 5), config(engine=engine, seed=seed)).excess_loss_KCD
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("engine", ENGINES)
def test_global_random_state_is_neither_used_nor_moved(engine: str) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = sample_group(regression(), weights(3), config(engine=engine)).excess_loss_KCD
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(6)
    np.testing.assert_array_equal(first, sample_group(regression(), weights(3), config(engine=engine)).excess_loss_KCD)


def test_both_engines_agree_within_sampling_error() -> None:
    settings = {"chains": 12, "draws": 120, "burn_in": 60}
    one, other = (
        estimate_llc(regression(), {1: weights(7)[0]}, config(engine=engine, **settings)) for engine in ENGINES
    )
    # three standard errors of the difference of two independent estimates
    error = np.hypot(one.llc_std_error[0], other.llc_std_error[0])
    assert one.llc[0] == pytest.approx(other.llc[0], abs=3 * error)


def test_both_engines_walk_through_the_same_batches() -> None:
    # drift 0.05 per step of the mean gradient, noise 1e-6: gradient descent, which differs by its batches alone
    descent = {"step_size": 1e-12, "n_beta": 1e11, "localization": 0.0, "dtype": "float64"}
    one, other = (
        sample_group(regression(), weights(3, 5), config(engine=engine, **descent)).excess_loss_KCD
        for engine in ENGINES
    )
    assert np.abs(one).max() > 0.1
    # 25 steps of noise 1e-6 on 56 parameters, times gradients of order 1
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-4)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_diverged_chain_gives_no_estimate(engine: str) -> None:
    trajectory = estimate_llc(bowl(), {1: Bowl().state_dict()}, SamplerConfig(
        step_size=1e3, n_beta=1e6, localization=1.0, chains=2, draws=40, burn_in=20, engine=engine,
    ))  # fmt: skip
    assert np.isnan(trajectory.llc[0])
    assert trajectory.verdicts[0].kind is VerdictKind.DIVERGED


@pytest.mark.parametrize("engine", ENGINES)
def test_the_first_draw_is_the_checkpoint_and_steps_between_draws_thin_the_same_chain(engine: str) -> None:
    every = sample_group(regression(), weights(3), config(engine=engine, draws=15, burn_in=0)).excess_loss_KCD
    third = sample_group(
        regression(), weights(3), config(engine=engine, draws=5, burn_in=0, steps_between_draws=3)
    ).excess_loss_KCD
    # float32 rounding of losses of order 1
    np.testing.assert_allclose(every[..., 0], 0, atol=1e-5)
    np.testing.assert_array_equal(third, every[..., 2::3])


@pytest.mark.parametrize("engine", ENGINES)
def test_distance_is_that_of_the_localised_walk_where_there_is_no_loss(engine: str) -> None:
    settings = config(engine=engine, n_beta=0.0, localization=10.0, step_size=0.02, draws=160, burn_in=40, chains=8)
    distance = sample_group(regression(), weights(3), settings).distance_KC
    # E|w - w*|^2 = P / (gamma (1 - epsilon gamma / 4)), P = 56. The relaxation time is 2 / (epsilon gamma) = 10
    # steps, so at least 8 of the 16 looks at each of 8 chains are independent: a relative standard error of
    # sqrt(2 / (56 * 64)) of the square, half of that of the root
    expected = np.sqrt(56 / (10 * 0.95))
    assert np.sqrt((distance**2).mean()) == pytest.approx(expected, rel=3 * 0.5 * np.sqrt(2 / (56 * 64)))


def test_own_outputs_as_reference_never_lose_at_the_checkpoint() -> None:
    problem = regression(divergence=squared_error)
    traces = sample_group(problem, weights(3, 5), config(reference="self"))
    assert (traces.excess_loss_KCD[..., 1:] > 0).all()
    # the loss that is reported is the problem's own
    own = [problem.loss(Regression(seed=seed), problem.data).mean().item() for seed in (3, 5)]
    np.testing.assert_allclose(traces.loss_K, own, rtol=1e-6)


def test_own_outputs_as_reference_agree_between_engines() -> None:
    descent = {"step_size": 1e-12, "n_beta": 1e11, "localization": 0.0, "dtype": "float64", "reference": "self"}
    moved = regression(divergence=lambda outputs, reference: squared_error(outputs, reference + 1))
    one, other = (
        sample_group(moved, weights(3, 5), config(engine=engine, **descent)).excess_loss_KCD for engine in ENGINES
    )
    assert np.abs(one).max() > 0.1
    # as for the labels, above
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-4)


def test_a_missing_divergence_is_named() -> None:
    with pytest.raises(ProblemError, match=r"divergence=estimators\.divergences\.kl"):
        sample_group(regression(), weights(3), config(reference="self"))


def test_a_scalar_loss_is_refused_with_both_shapes() -> None:
    problem = Problem(model=Bowl(), data=(torch.zeros(4, 1),), loss=lambda model, batch: model(batch[0]).mean())
    with pytest.raises(ProblemError, match=r"returned torch.float32 \(\) for a batch of 4, expected \(4,\)"):
        sample_group(problem, [Bowl().state_dict()], config())


def test_a_loss_that_raises_is_named() -> None:
    problem = Problem(model=Bowl(), data=(torch.zeros(4, 1),), loss=lambda model, batch: batch[3], name="bowl")
    with pytest.raises(ProblemError, match="loss of problem 'bowl' raised IndexError"):
        sample_group(problem, [Bowl().state_dict()], config())


def test_a_loss_without_gradient_is_refused() -> None:
    problem = Problem(model=Bowl(), data=(torch.zeros(4, 1),), loss=lambda model, batch: model(batch[0]).detach())
    with pytest.raises(ProblemError, match="has no gradient"):
        sample_group(problem, [Bowl().state_dict()], config())


def test_weights_that_do_not_fit_are_named_with_both_shapes() -> None:
    wide = Regression(width=9).state_dict()
    with pytest.raises(CheckpointMismatch, match=r"'inner' is \(9, 5\) .* but \(8, 5\)"):
        sample_group(regression(), [wide], config())


def test_weights_with_a_nan_are_refused() -> None:
    state = weights(3)[0]
    state["inner"][0, 0] = torch.nan
    with pytest.raises(NonFiniteWeights, match="'inner'"):
        sample_group(regression(), [state], config())


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(JobError, match=r"sampler\.device is 'abacus'"):
        sample_group(regression(), weights(3), config(device="abacus"))


def test_progress_counts_checkpoints_to_the_end() -> None:
    seen: list[tuple[int, int]] = []
    estimate_llc(
        regression(),
        dict(enumerate(weights(*range(3)), start=1)),
        config(),
        progress=lambda done, total, label: seen.append((done, total)),
    )
    assert seen[-1] == (3, 3)
    assert seen == sorted(seen)
