"""Products by oneDNN and by the fallback are products, whatever the strides."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mg3d.model import products
from mg3d.model.products import (
    input_gradient,
    linear,
    multiplies_exactly,
    through_onednn,
    weight_gradient,
)

SHAPES = [(1, 1, 1), (7, 3, 5), (686, 48, 144), (343, 192, 48), (64, 12, 48), (2, 384, 1536)]


@pytest.fixture(params=["onednn", "fallback"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "fallback":
        monkeypatch.setattr(products, "ONEDNN_LINEAR", None)
        monkeypatch.setattr(products, "_is_exact", lambda: False)
    elif products.ONEDNN_LINEAR is None:
        pytest.skip("this build of PyTorch has no oneDNN")
    return str(request.param)


def error(actual: Tensor, expected: Tensor) -> float:
    """Largest difference, relative to the largest value."""
    assert actual.shape == expected.shape
    return ((actual - expected).abs().max() / expected.abs().max()).item()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
def test_products_and_their_gradients(
    kernel: str, dtype: torch.dtype, shape: tuple[int, int, int]
) -> None:
    torch.manual_seed(0)
    T, I, O = shape  # noqa: E741
    x, weight, bias, grad = (
        torch.randn(*size).to(dtype) for size in ((T, I), (O, I), (O,), (T, O))
    )
    exact_x, exact_weight, exact_grad = x.double(), weight.double(), grad.double()
    # measured 6e-7, 1e-15 and 0.004
    limit = {torch.float32: 3e-6, torch.float64: 1e-14, torch.bfloat16: 0.01}[dtype]
    expected = exact_x @ exact_weight.t()
    assert error(linear(x, weight), expected) < limit
    assert error(linear(x, weight, bias), expected + bias.double()) < limit
    assert error(input_gradient(grad, weight), exact_grad @ exact_weight) < limit
    assert error(weight_gradient(grad, x), exact_grad.t() @ exact_x) < limit


def test_a_part_of_a_larger_tensor(kernel: str) -> None:
    torch.manual_seed(0)
    whole = torch.randn(40, 30)
    part = whole[5:35:2, 3:21]
    weight = torch.randn(6, 50)[:, 11:29]
    assert error(linear(part, weight), part.double() @ weight.double().t()) < 1e-6  # measured 2e-7


def test_oneDNN_is_used_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: N802
    calls = []

    def record(x: Tensor, weight: Tensor, bias: Tensor | None, *_: object) -> Tensor:
        calls.append(x.dtype)
        return torch.nn.functional.linear(x, weight, bias)

    monkeypatch.setattr(products, "ONEDNN_LINEAR", record)
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        linear(torch.ones(2, 3, dtype=dtype), torch.ones(4, 3, dtype=dtype))
    assert calls == [torch.float32]


@pytest.mark.parametrize(
    "shape", [(3, 5, 16, 7), (6, 343, 16, 343), (6, 343, 343, 16), (1, 2, 1, 1)]
)
def test_batched_products_are_float32_products_through_either_library(
    kernel: str, shape: tuple[int, int, int, int]
) -> None:
    torch.manual_seed(2)
    batch, rows, inner, columns = shape
    left, right = torch.randn(batch, rows, inner), torch.randn(batch, inner, columns)
    exact = left.double() @ right.double()
    with through_onednn():
        for x in (left, left.mT.contiguous().mT):
            for y in (right, right.mT.contiguous().mT):
                assert error(x @ y, exact) < 1e-6  # measured 3e-7; bfloat16 would give 4e-3


def test_the_setting_of_precision_is_left_as_it_was() -> None:
    switch = torch.backends.mkldnn.matmul
    before = switch.fp32_precision
    with through_onednn():
        with through_onednn():
            pass
        assert switch.fp32_precision == ("bf16" if products._is_exact() else before)
    assert switch.fp32_precision == before
    with pytest.raises(ValueError, match="within"), through_onednn():
        raise ValueError("within")
    assert switch.fp32_precision == before


def test_without_the_setting_products_stay_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_switch", lambda: None)
    left, right = torch.randn(2, 30, 16), torch.randn(2, 16, 30)
    with through_onednn():
        within = left @ right
    assert torch.equal(within, left @ right)


def test_the_setting_is_not_touched_where_products_would_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(products, "multiplies_exactly", lambda _: False)
    monkeypatch.setattr(products, "_is_exact", products._is_exact.__wrapped__)  # not remembered
    switch = torch.backends.mkldnn.matmul
    before = switch.fp32_precision
    with through_onednn():
        assert switch.fp32_precision == before


def test_autocast_changes_neither_the_choice_nor_gradients_of_weights() -> None:
    grad, x = torch.randn(50, 6), torch.randn(50, 7)
    alone = products._is_exact.__wrapped__(), weight_gradient(grad, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        within = products._is_exact.__wrapped__(), weight_gradient(grad, x)
    assert within[0] == alone[0]
    assert torch.equal(within[1], alone[1])


@pytest.mark.parametrize("side", [0, 1])
def test_products_that_round_their_factors_are_recognised(side: int) -> None:
    def rounding(bits: int) -> Callable[[Tensor, Tensor], Tensor]:
        def product(*factors: Tensor) -> Tensor:
            mantissa, exponent = factors[side].double().frexp()
            rounded = (mantissa * 2**bits).round().ldexp(exponent - bits).float()
            return torch.matmul(*(rounded if i == side else factors[i] for i in (0, 1)))

        return product

    assert multiplies_exactly(torch.matmul)
    assert multiplies_exactly(rounding(24))
    assert not multiplies_exactly(rounding(11))  # TF32
    assert not multiplies_exactly(rounding(8))  # bfloat16
