"""Linear layers by oneDNN: the same numbers, only where they are large, and nothing stays behind."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from estimators import products
from estimators.products import WORTH_A_CALL, wide_products


@pytest.fixture
def handed_over(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of inputs that oneDNN was given; on every processor, as if MKL left it half unused."""
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this torch has no oneDNN")
    seen: list[tuple[int, ...]] = []
    product = products._product

    def spy(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        seen.append(tuple(x.shape))
        return product(x, weight, bias)

    monkeypatch.setattr(products, "unused_width", lambda: True)
    monkeypatch.setattr(products, "_product", spy)
    return seen


def layers(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, 256), nn.Tanh(), nn.Linear(256, 32, bias=False))


def gradients(model: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    loss = model(x).square().sum()
    return (loss.detach(), *torch.autograd.grad(loss, [x, *model.parameters()]))


@pytest.mark.parametrize("shape", [(300, 128), (20, 15, 128)])
def test_losses_and_gradients_are_those_of_torch_to_rounding(
    shape: tuple[int, ...], handed_over: list[tuple[int, ...]]
) -> None:
    torch.manual_seed(0)
    model, x = layers(128), torch.randn(shape).requires_grad_()
    plain = gradients(model, x)
    with wide_products(model, x):
        wide = gradients(model, x)
    assert shape in handed_over
    for ours, usual in zip(wide, plain, strict=True):
        assert ours.shape == usual.shape
        # sums of some hundred products in another order, in float32
        torch.testing.assert_close(ours, usual, rtol=1e-4, atol=1e-4 * float(usual.abs().max()))


def test_small_layers_other_precisions_and_autocast_stay_with_torch(handed_over: list[tuple[int, ...]]) -> None:
    rows = WORTH_A_CALL // (2 * 128 * 256)
    model = layers(128)
    with wide_products(model, torch.zeros(1)):
        model(torch.zeros(rows - 1, 128))
        assert handed_over == []
        with torch.autocast("cpu", dtype=torch.bfloat16):
            model(torch.zeros(2 * rows, 128))
        assert handed_over == []
    with wide_products(model.double(), torch.zeros(1).double()):
        model(torch.zeros(2 * rows, 128).double())
    assert handed_over == []


def test_the_model_is_as_before_even_after_an_error(handed_over: list[tuple[int, ...]]) -> None:
    model = layers(128)
    with pytest.raises(RuntimeError), wide_products(model, torch.zeros(1)):
        model(torch.zeros(4, 3))
    assert all("forward" not in layer.__dict__ for layer in model.modules())


@pytest.mark.slow  # transformers takes seconds to import
def test_a_convolution_of_transformers_is_a_linear_layer_too(handed_over: list[tuple[int, ...]]) -> None:
    pytorch_utils = pytest.importorskip("transformers.pytorch_utils")
    torch.manual_seed(0)
    model, x = pytorch_utils.Conv1D(256, 128), torch.randn(4, 100, 128).requires_grad_()
    plain = gradients(model, x)
    with wide_products(model, x):
        wide = gradients(model, x)
    assert (4, 100, 128) in handed_over
    for ours, usual in zip(wide, plain, strict=True):
        torch.testing.assert_close(ours, usual, rtol=1e-4, atol=1e-4 * float(usual.abs().max()))
