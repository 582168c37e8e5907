"""Attention and its hand-written backward against autograd through the plain formula."""

import math

import pytest
import torch
from torch import Tensor

from mg3d.model.window_attention import (
    AttentionKernel,
    ShippedAttention,
    SlicedAttention,
    box_biases,
    kernel_for,
)
from mg3d.model.window_boxes import box_groups, num_relative_positions


def draw(*shape: int, scale: float = 1.0) -> Tensor:
    return (scale * torch.randn(*shape, dtype=torch.float64)).requires_grad_()


def plain_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """`bias` in powers of two, as `attend` takes it."""
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + bias * math.log(2)
    return torch.softmax(scores, dim=-1) @ v


SLICED, WHOLE, SHIPPED = SlicedAttention(1), SlicedAttention(2**30), ShippedAttention(2**30)
KERNELS = [SLICED, WHOLE, SHIPPED, ShippedAttention(1)]
NAMES = ["a box at a time", "all boxes at once", "shipped", "shipped, a box at a time"]


def test_the_cpu_takes_the_sliced_kernel_and_others_the_shipped_one() -> None:
    assert isinstance(kernel_for(torch.device("cpu")), SlicedAttention)
    assert isinstance(kernel_for(torch.device("cuda")), ShippedAttention)


@pytest.mark.parametrize("kernel", KERNELS, ids=NAMES)
def test_forward_and_backward_equal_autograd(kernel: AttentionKernel) -> None:
    torch.manual_seed(1)
    tensors = draw(3, 2, 5, 4), draw(3, 2, 6, 4), draw(3, 2, 6, 4), draw(2, 5, 6)
    expected = plain_attention(*tensors)
    grad = torch.randn_like(expected)
    expected_grads = torch.autograd.grad(expected, tensors, grad)
    with torch.no_grad():
        attended, kept = kernel.attend(*tensors)
        grads = kernel.backward(grad, *tensors, kept)
    torch.testing.assert_close(attended, expected.detach(), rtol=0, atol=1e-14)  # measured 4e-16
    for actual, wanted in zip(grads, expected_grads, strict=True):
        torch.testing.assert_close(actual, wanted, rtol=0, atol=1e-14)  # measured 9e-16


@pytest.mark.parametrize("kernel", KERNELS, ids=NAMES)
@pytest.mark.parametrize("scale", [30.0, 1e4])
def test_large_scores_stay_finite(scale: float, kernel: AttentionKernel) -> None:
    # scores up to 1e9: exp2 overflows beyond 1024 without the row maximum
    torch.manual_seed(2)
    q, k, v, bias = (
        draw(1, 1, 4, 8, scale=scale),
        draw(1, 1, 4, 8, scale=scale),
        draw(1, 1, 4, 8),
        draw(1, 4, 4),
    )
    with torch.no_grad():
        attended, kept = kernel.attend(q, k, v, bias)
        grads = kernel.backward(torch.ones_like(attended), q, k, v, bias, kept)
        torch.testing.assert_close(attended, plain_attention(q, k, v, bias))
    assert all(grad.isfinite().all() for grad in grads)


@pytest.mark.parametrize("kernel", [SLICED, WHOLE], ids=NAMES[:2])
@pytest.mark.parametrize("level", [-60.0, 60.0, -1e4, 1e4])
def test_float32_scores_far_from_zero_keep_their_precision(
    level: float, kernel: AttentionKernel
) -> None:
    # -60 and 60 powers of two are within the bound that needs no row maximum, the others beyond it
    torch.manual_seed(5)
    q, k, v, grad = (0.5 * torch.randn(4, 2, 40, 8) for _ in range(4))
    bias = level + torch.randn(2, 40, 40)
    exact = [value.double().requires_grad_() for value in (q, k, v, bias)]
    expected = plain_attention(*exact)
    wanted = [expected, *torch.autograd.grad(expected, exact, grad.double(), retain_graph=True)]
    attended, kept = kernel.attend(q, k, v, bias)
    actual = [attended, *kernel.backward(grad, q, k, v, bias, kept)]
    # a score of 60 is stored to 2e-6, one of 1e4 to 5e-4: that is the error of its weight
    limit = 1e-5 if abs(level) < 100 else 2e-3  # measured 2e-6 and 4e-4
    for one, other in zip(actual, wanted, strict=True):
        assert (one - other).abs().max() < limit * other.abs().max()


def test_in_bfloat16_both_kernels_are_as_close_as_bfloat16_allows() -> None:
    torch.manual_seed(4)
    q, k, v, grad = (torch.randn(6, 2, 50, 8).bfloat16() for _ in range(4))
    bias = torch.randn(2, 50, 50)
    exact = [value.double() for value in (q, k, v, bias, grad)]
    attended, kept = WHOLE.attend(*exact[:4])
    wanted = [attended, *WHOLE.backward(exact[4], *exact[:4], kept)]
    for kernel in (SLICED, SHIPPED):
        attended, kept = kernel.attend(q, k, v, bias)
        actual = [attended, *kernel.backward(grad, q, k, v, bias, kept)]
        for one, other in zip(actual, wanted, strict=True):
            # 8 bits: 0.004 a rounding; measured 0.012
            assert (one - other).abs().max() < 0.03 * other.abs().max()


def test_padded_keys_fold_into_one() -> None:
    """A box with its padding as separate keys equals the box with one key for all of it."""
    torch.manual_seed(3)
    window = (3, 3, 3)
    table = draw(num_relative_positions(window), 2)
    groups = box_groups((5, 4, 3), window, False, "correct", torch.device("cpu"))
    for group in groups:
        n = group.num_tokens
        p = group.bias_rows.shape[1] - n
        q, k, v = draw(1, 2, n, 4), draw(1, 2, n, 4), draw(1, 2, n, 4)
        pad_k, pad_v = draw(1, 2, 1, 4), draw(1, 2, 1, 4)
        full_bias = table[group.bias_rows].permute(2, 0, 1) / math.log(2)
        expected = plain_attention(
            q,
            torch.cat([k, pad_k.expand(-1, -1, p, -1)], dim=2),
            torch.cat([v, pad_v.expand(-1, -1, p, -1)], dim=2),
            full_bias,
        )
        (bias,) = box_biases(table, [group])
        assert bias.shape == (2, n, n + (p > 0))
        keys, values = ((torch.cat([a, b], dim=2) if p else a) for a, b in ((k, pad_k), (v, pad_v)))
        with torch.no_grad():
            attended, _ = WHOLE.attend(q, keys, values, bias)
        torch.testing.assert_close(
            attended, expected.detach(), rtol=0, atol=1e-14
        )  # measured 9e-16
    assert sum(group.is_padded for group in groups) == 3  # 5 = 3 + 2, 4 = 3 + 1, 3 = 3


def test_bias_gradient_reaches_each_relative_position_as_often_as_it_occurs() -> None:
    window = (2, 1, 3)
    table = torch.zeros(num_relative_positions(window), 1, requires_grad=True)
    (group,) = box_groups(window, window, False, "correct", torch.device("cpu"))
    box_biases(table, [group])[0].sum().mul(math.log(2)).backward()
    pairs_x, pairs_z = torch.tensor([1.0, 2, 1]), torch.tensor([1.0, 2, 3, 2, 1])
    torch.testing.assert_close(table.grad.view(3, 5), pairs_x[:, None] * pairs_z)
