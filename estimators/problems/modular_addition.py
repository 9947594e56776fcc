"""Addition modulo a prime, learned from part of the table: memorised first, understood much later (grokking).

The generalising circuit adds angles at a few frequencies (Nanda et al. 2023, arXiv 2301.05217), so the
embedding's Fourier power becomes sparse: its Gini coefficient dates the circuit, the accuracies date the behaviour.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gelu

from estimators.divergences import kl
from estimators.measures.sparsity import gini
from estimators.problem import Batch, Problem, problem_tensors
from estimators.problems.recording import RunFolder, log_spaced_steps
from estimators.progress import Progress, silent
from slt.errors import ProblemError
from slt.events import CircuitEvent, crossing, onset_events, spikes

NAME = "modular_addition"
CURVE_POINTS = 400
"""Log-spaced steps at which the curves are recorded."""
CURVE_LEAST = 50
"""Points below which a curve's bursts are not looked for: a run that is cut that short has no story."""
MEMORISED = 0.98


class AdditionNetwork(nn.Module):
    """Two tokens, one embedding, one hidden layer, logits for the sum."""

    def __init__(self, p: int, embedding: int, hidden: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(p, embedding)
        self.hidden = nn.Linear(2 * embedding, hidden)
        self.output = nn.Linear(hidden, p)

    def forward(self, pairs: Tensor) -> Tensor:
        """(batch, 2) tokens -> (batch, p) logits."""
        logits: Tensor = self.output(gelu(self.hidden(self.embedding(pairs).flatten(1))))
        return logits


def build(
    p: int = 53, train_fraction: float = 0.4, embedding: int = 48, hidden: int = 96, data_seed: int = 0
) -> Problem:
    """The network; its data are the pairs that it is trained on, the loss is their cross-entropy in nats.

    Args:
        p: modulus.
        train_fraction: share of the p^2 pairs to train on; the others are the test pairs.
        embedding: length of a token's vector.
        hidden: number of hidden units.
        data_seed: fixes which pairs are trained on.

    Raises:
        ProblemError: no pair to train on, or none to test.
    """
    n_train = round(train_fraction * p * p)
    if not 0 < n_train < p * p:
        raise ProblemError(f"{NAME} with p={p} and train_fraction={train_fraction} has {n_train} of {p * p} pairs to "
                           f"train on; both train and test pairs are needed")  # fmt: skip
    order = torch.randperm(p * p, generator=torch.Generator().manual_seed(data_seed))
    pairs = torch.cartesian_prod(torch.arange(p), torch.arange(p))[order]
    sums = pairs.sum(1) % p
    train_pairs, test_pairs = (pairs[:n_train], sums[:n_train]), (pairs[n_train:], sums[n_train:])
    return Problem(
        model=AdditionNetwork(p, embedding, hidden),
        data=train_pairs,
        loss=_loss,
        divergence=kl,
        measures={
            "fourier_gini": _fourier_gini,
            "train_accuracy": lambda problem, model: {"train_accuracy": accuracy(model, train_pairs)},
            "test_accuracy": lambda problem, model: {"test_accuracy": accuracy(model, test_pairs)},
            "test_loss": lambda problem, model: {"test_loss": float(_loss(model, test_pairs).mean())},
        },
        data_sets={"test": test_pairs},
        name=NAME,
    )


def train(
    problem: Problem,
    folder: RunFolder,
    *,
    seed: int = 0,
    progress: Progress = silent,
    learning_rate: float = 5e-3,
    betas: tuple[float, float] = (0.9, 0.98),
    weight_decay: float = 0.3,
    steps: int = 10_000,
    checkpoints: int = 100,
) -> list[CircuitEvent]:
    """Full-batch AdamW; its events are memorisation, generalisation, the circuit's onset and spikes of the loss.

    Args:
        problem: what `build` gave; its model is trained in place.
        folder: where checkpoints and curves (loss, accuracies, test loss, Fourier Gini) go.
        seed: fixes the initial weights.
        progress: told (steps done, steps, label).
        learning_rate, betas, weight_decay: of AdamW.
        steps: length of the run.
        checkpoints: how many, log-spaced, with step 0 and the last.
    """
    model, data = problem.model, problem_tensors(problem)
    _initialise(model, seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=betas, weight_decay=weight_decay)
    saved, seen = set(log_spaced_steps(steps, checkpoints)), set(log_spaced_steps(steps, CURVE_POINTS))
    for step in range(steps + 1):
        loss = _loss(model, data).mean()
        if step in seen:
            folder.record(step, loss=loss.item(), **_curves(problem))
        if step in saved:
            folder.save_checkpoint(step, model.state_dict())
            progress(step, steps, "training modular_addition")
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
    return _events(folder)


def accuracy(model: nn.Module, examples: Batch) -> float:
    """Share of examples whose largest logit is the label's, from 0 to 1."""
    with torch.no_grad():
        return float((model(examples[0]).argmax(1) == examples[1]).float().mean())


def fourier_power(embedding_PE: Tensor) -> Tensor:
    """Power of an embedding at the frequencies 1 to p/2 of the token axis, summed over its dimensions.

    The constant is left out: it tells no two tokens apart.
    """
    spectrum: Tensor = torch.fft.rfft(embedding_PE.detach().double(), dim=0)
    return spectrum.abs().square().sum(1)[1:]


def _fourier_gini(problem: Problem, model: nn.Module) -> Mapping[str, float]:
    assert isinstance(model, AdditionNetwork)
    return {"fourier_gini": gini(fourier_power(model.embedding.weight))}


def _loss(model: nn.Module, batch: Batch) -> Tensor:
    losses: Tensor = cross_entropy(model(batch[0]), batch[1], reduction="none")
    return losses


def _initialise(model: nn.Module, seed: int) -> None:
    """Torch's default initial weights, from a seed of their own and with the global generator left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in model.modules():
            if isinstance(module, nn.Embedding | nn.Linear):
                module.reset_parameters()


def _curves(problem: Problem) -> dict[str, float]:
    with torch.no_grad():
        found = [measure(problem, problem.model) for measure in problem.measures.values()]
    return {name: value for measured in found for name, value in measured.items()}


def _events(folder: RunFolder) -> list[CircuitEvent]:
    steps, concentration = folder.curve("fourier_gini")
    lowest, highest = concentration.min(), concentration.max()
    crossings = [
        crossing(*folder.curve("train_accuracy"), MEMORISED, "memorised", group="behaviour"),
        crossing(*folder.curve("test_accuracy"), 0.5, "test accuracy one half", group="behaviour"),
        # The Gini rises slowly and evenly, without a kink: a tenth of the rise dates when it can first be seen, ...
        crossing(steps, concentration, 0.9 * lowest + 0.1 * highest, "Fourier Gini up by a tenth", group="circuit"),
    ]
    return [
        *(event for event in crossings if event is not None),
        # ... and the detector's onset, which is comparable with those of the LLC, when it rises in earnest.
        *(onset_events(steps, concentration, "Fourier Gini burst", "circuit") if len(steps) >= CURVE_LEAST else ()),
        *spikes(*folder.curve("loss"), "loss spike", group="optimisation"),
    ]
