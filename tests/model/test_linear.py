"""Linear is nn.Linear: values, all gradients, and everywhere it may not be faster."""

import pytest
import torch
from torch import Tensor, nn

from mg3d.model import linear as module
from mg3d.model.linear import Linear, linear, use_in_

LARGE = (3, 200, 96)


def values_and_gradients(layer: nn.Module, x: Tensor, read_out: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    layer.zero_grad()
    y = layer(x)
    (y * read_out).sum().backward()
    gradients = [p.grad for p in layer.parameters()]
    assert x.grad is not None
    assert all(gradient is not None for gradient in gradients)
    return [y.detach(), x.grad, *(g.clone() for g in gradients if g is not None)]


# Measured at most 4e-7 of the largest entry.
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [LARGE, (600, 96), (1, 96), (0, 96), (2, 0, 96)])
def test_it_is_the_same_function(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    plain = nn.Linear(96, 80, bias=bias)
    ours = Linear(96, 80, bias=bias)
    ours.load_state_dict(plain.state_dict())
    x, read_out = torch.randn(shape), torch.randn(*shape[:-1], 80)
    for found, expected in zip(
        values_and_gradients(ours, x, read_out), values_and_gradients(plain, x, read_out),
        strict=True,
    ):  # fmt: skip
        assert found.shape == expected.shape
        error = (found - expected).abs().max() if expected.numel() else torch.zeros(())
        assert error <= 2e-6 * max(1.0, float(expected.abs().max()) if expected.numel() else 0)


def test_transposed_weights_and_strided_rows() -> None:
    torch.manual_seed(0)
    weight = torch.randn(96, 80, requires_grad=True)
    x = torch.randn(200, 3, 96).transpose(0, 1).requires_grad_()
    expected = torch.autograd.grad((x @ weight).square().sum(), [x, weight])
    found = torch.autograd.grad(linear(x, weight.t()).square().sum(), [x, weight])
    for one, other in zip(found, expected, strict=True):
        assert (one - other).abs().max() <= 2e-6 * other.abs().max()  # measured 3e-7


def test_only_what_was_asked_for_gets_a_gradient() -> None:
    layer = Linear(96, 80).requires_grad_(False)
    x = torch.randn(LARGE, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad is not None
    assert layer.weight.grad is None
    with torch.no_grad():
        assert layer(x).grad_fn is None


def test_the_fast_way_is_taken_where_it_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    if module.products.ONEDNN_LINEAR is None:
        pytest.skip("this build of torch has no oneDNN")
    called = []
    true = module.products.linear

    def counted(*arguments: Tensor) -> Tensor:
        called.append(1)
        return true(*arguments)

    monkeypatch.setattr(module.products, "linear", counted)
    layer, x = Linear(96, 80), torch.randn(LARGE)
    layer(x)
    assert called == [1]
    layer(x[:1, :1])  # too small
    layer.double()(x.double())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer.float()(x).dtype == torch.bfloat16
    assert called == [1]


def test_foreign_modules_keep_their_weights() -> None:
    foreign = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 2), nn.ReLU()))
    names = list(foreign.state_dict())
    use_in_(foreign)
    assert type(foreign[0]) is Linear
    assert type(foreign[1][0]) is Linear
    assert list(foreign.state_dict()) == names
