"""Small models with what real ones have: dropout, batch norm, ties, buffers, attention, control flow, objects."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention

from estimators import Problem, SamplerConfig

ENGINES = ("batched", "looped", "sequential")
CLASSES = 7


def config(engine: str = "auto", **changes: object) -> SamplerConfig:
    # drift 0.05 per step of the mean gradient, noise 1e-6: gradient descent, the same on both engines
    settings = {"step_size": 1e-12, "n_beta": 1e11, "localization": 0.0, "dtype": "float64"}
    settings |= {"chains": 2, "draws": 8, "burn_in": 0, "batch_size": 16, "engine": engine}
    return SamplerConfig(**(settings | changes))


def tokens_problem(model: nn.Module) -> Problem:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(CLASSES, (60, 5), generator=generator)
    return Problem(model=model, data=(ids, ids[:, 0]), loss=label_loss)


def label_loss(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    return cross_entropy(model(batch[0]), batch[1], reduction="none")


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(CLASSES, 6)
        self.head = nn.Linear(6, CLASSES)

    def mix(self, x: Tensor) -> Tensor:
        return x.mean(dim=1)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.mix(self.embed(ids)))


class WithDropout(Base):
    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.9)

    def mix(self, x: Tensor) -> Tensor:
        return self.dropout(x).mean(dim=1)


class WithBatchNorm(Base):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(6)

    def mix(self, x: Tensor) -> Tensor:
        return self.norm(x.mean(dim=1))


class WithTies(Base):
    def __init__(self) -> None:
        super().__init__()
        self.head.weight = self.embed.weight


class WithIntegerBuffer(Base):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("order", torch.arange(4, -1, -1))
        self.register_buffer("scale", torch.linspace(0, 1, 5)[:, None], persistent=False)

    def mix(self, x: Tensor) -> Tensor:
        return (x[:, self.order] * self.scale).sum(dim=1)


class WithComplexBuffer(Base):
    """A fixed rotation in the complex plane, and an integer that counts."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("rotation", torch.polar(torch.ones(3), torch.tensor([0.3, 1.0, 2.0])))
        self.register_buffer("steps_seen", torch.tensor(5))

    def mix(self, x: Tensor) -> Tensor:
        rotated = torch.view_as_complex(x.mean(dim=1).unflatten(-1, (3, 2)).contiguous()) * self.rotation
        return torch.view_as_real(rotated).flatten(-2).to(x.dtype) * (self.steps_seen > 3)


class WithFrozenPart(Base):
    def __init__(self) -> None:
        super().__init__()
        self.embed.weight.requires_grad_(False)


class WithAttention(Base):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(6, 18)

    def mix(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, 3)).permute(2, 0, 3, 1, 4)
        return scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)[:, -1]


class WithLayers(Base):
    """What torch itself offers: a transformer layer with its own dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(6, 2, 8, dropout=0.5, batch_first=True)

    def mix(self, x: Tensor) -> Tensor:
        return self.layer(x).mean(dim=1)


class WithControlFlow(Base):
    def mix(self, x: Tensor) -> Tensor:
        return x.mean(dim=1) if x.sum() > 0 else x.sum(dim=1)


@dataclass
class Output:
    """What libraries return: the logits and more."""

    logits: Tensor
    loss: Tensor | None = None


class WithOutputObject(Base):
    def forward(self, ids: Tensor) -> Output:
        return Output(super().forward(ids))


def states(kind: type[Base], count: int = 2) -> list[dict[str, Tensor]]:
    result = []
    for seed in range(count):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            result.append(kind().state_dict())
    return result
