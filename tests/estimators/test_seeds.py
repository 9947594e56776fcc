"""Batches and noise: fixed by (seed, chain), and spread as they should be."""

from __future__ import annotations

import pytest
import torch

from estimators.seeds import BatchStream, NoiseStream

CPU = torch.device("cpu")


def test_every_example_is_used_once_before_any_is_used_twice() -> None:
    stream = BatchStream(0, [0, 1], n_samples=50, batch_size=7, device=CPU)
    drawn = torch.cat([stream.next() for _ in range(100)], dim=1)
    assert drawn.shape == (2, 700)
    for epoch in range(14):
        for chain in range(2):
            assert drawn[chain, 50 * epoch : 50 * (epoch + 1)].sort().values.tolist() == list(range(50))


def test_batches_of_a_chain_are_its_own_and_do_not_depend_on_the_others() -> None:
    together = BatchStream(3, [0, 1, 2], 40, 8, CPU)
    alone = BatchStream(3, [2], 40, 8, CPU)
    first = together.next()
    assert torch.equal(first[2], alone.next()[0])
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize("parameters", [1, 18, 300_000])
def test_noise_of_a_chain_is_its_own_and_does_not_depend_on_the_others(parameters: int) -> None:
    together = NoiseStream(3, [0, 1], parameters, torch.float32, CPU)
    alone = NoiseStream(3, [1], parameters, torch.float32, CPU)
    for _ in range(3):
        both = together.next()
        assert torch.equal(both[1], alone.next()[0])
        assert not torch.equal(both[0], both[1])


def test_noise_is_standard_normal_and_unrelated_between_steps_and_chains() -> None:
    stream = NoiseStream(0, range(4), 500, torch.float64, CPU)
    noise = torch.stack([stream.next().clone() for _ in range(600)])
    # five standard errors of a mean, a variance and a correlation of 600 * 4 * 500 numbers
    assert abs(noise.mean()) < 5 / noise.numel() ** 0.5
    assert abs(noise.var() - 1) < 5 * (2 / noise.numel()) ** 0.5
    assert abs((noise[1:] * noise[:-1]).mean()) < 5 / noise.numel() ** 0.5
    assert abs((noise[:, 1:] * noise[:, :-1]).mean()) < 5 / (0.75 * noise.numel()) ** 0.5


def test_neighbouring_seeds_share_no_chain() -> None:
    # devinterp 1.x once gave chain c + 1 of seed s the stream of chain c of seed s + 1
    streams = [NoiseStream(seed, [chain], 20, torch.float32, CPU).next() for seed in range(5) for chain in range(5)]
    assert len({tuple(noise[0].tolist()) for noise in streams}) == 25
