"""The written-out gradients of a block's token layers equal autograd's through plain layers."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mg3d.model.token_layers import (
    BlockWeights,
    WeightGradients,
    enter,
    enter_backward,
    leave,
    leave_backward,
    result_of,
    split_heads,
    split_heads_backward,
)

C, H, W, N, HIDDEN = 6, 2, 3, 5, 9


def draw_weights(*, qkv_bias: bool = True) -> BlockWeights:
    torch.manual_seed(0)
    sizes = {
        "norm1_weight": (C,), "norm1_bias": (C,), "bias_table": (4, H),
        "qkv_weight": (3 * C, C), "qkv_bias": (3 * C,),
        "proj_weight": (C, C), "proj_bias": (C,),
        "norm2_weight": (C,), "norm2_bias": (C,),
        "linear1_weight": (HIDDEN, C), "linear1_bias": (HIDDEN,),
        "linear2_weight": (C, HIDDEN), "linear2_bias": (C,),
    }  # fmt: skip
    values = {
        name: torch.randn(size, dtype=torch.float64).requires_grad_()
        for name, size in sizes.items()
    }
    return BlockWeights(**values | ({} if qkv_bias else {"qkv_bias": None}))


def sums_for(weights: BlockWeights) -> WeightGradients:
    return WeightGradients(weights, [value is not None for value in weights])


def compare(
    sums: WeightGradients, weights: BlockWeights, outputs: list[Tensor], grads: list[Tensor]
) -> None:
    """Against autograd through ``outputs``; parameters that they do not read have no sums."""
    for name, actual, weight in zip(BlockWeights._fields, sums.in_order(), weights, strict=True):
        if weight is None:
            assert actual is None
            continue
        (wanted,) = torch.autograd.grad(
            outputs, weight, grads, retain_graph=True, allow_unused=True
        )
        if wanted is None:
            assert actual is None, name
            continue
        torch.testing.assert_close(actual, wanted, rtol=0, atol=1e-12, msg=name)  # measured 2e-14


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("qkv_bias", [False, True])
def test_entering(padded: bool, qkv_bias: bool) -> None:
    weights = draw_weights(qkv_bias=qkv_bias)
    tokens = torch.randn(W * N, C, dtype=torch.float64, requires_grad=True)
    normed = F.layer_norm(tokens, (C,), weights.norm1_weight, weights.norm1_bias)
    qkv = F.linear(normed, weights.qkv_weight, weights.qkv_bias).view(W, N, 3, H, C // H)
    if padded:  # what a zero token behind the normalisation would give
        empty = torch.zeros(3 * C) if weights.qkv_bias is None else weights.qkv_bias
        qkv = torch.cat([qkv, empty.double().view(1, 1, 3, H, C // H).expand(W, -1, -1, -1, -1)], 1)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    expected = [q[:, :, :N], k, v]
    with torch.no_grad():
        entered = enter(tokens, weights)
        heads = split_heads(entered.qkv, weights, W, H, padded=padded)
        grads = [torch.randn_like(value) for value in expected]
        sums = sums_for(weights)
        grad_qkv = torch.full_like(entered.qkv, math.nan)  # all of it is to be written
        split_heads_backward((grads[0], grads[1], grads[2]), grad_qkv, sums)
        grad_tokens = enter_backward(grad_qkv, entered, tokens, weights, sums)
    for actual, wanted in zip(heads, expected, strict=True):
        torch.testing.assert_close(actual, wanted.detach(), rtol=0, atol=1e-13)  # measured 4e-15
    (wanted,) = torch.autograd.grad(expected, tokens, grads, retain_graph=True)
    torch.testing.assert_close(grad_tokens, wanted, rtol=0, atol=1e-12)  # measured 8e-15
    compare(sums, weights, expected, grads)


def test_leaving() -> None:
    weights = draw_weights()
    tokens, mixed = (
        torch.randn(W * N, C, dtype=torch.float64, requires_grad=True) for _ in range(2)
    )
    middle = tokens + F.linear(mixed, weights.proj_weight, weights.proj_bias)
    normed = F.layer_norm(middle, (C,), weights.norm2_weight, weights.norm2_bias)
    hidden = F.gelu(F.linear(normed, weights.linear1_weight, weights.linear1_bias))
    expected = middle + F.linear(hidden, weights.linear2_weight, weights.linear2_bias)
    grad = torch.randn_like(expected)
    sums = sums_for(weights)
    with torch.no_grad():
        left = leave(tokens, mixed, weights)
        grad_tokens, grad_mixed = leave_backward(grad, left, mixed, weights, sums)
    torch.testing.assert_close(
        result_of(left, weights), expected.detach(), rtol=0, atol=1e-13
    )  # 4e-15
    wanted = torch.autograd.grad(expected, (tokens, mixed), grad, retain_graph=True)
    for actual, other in zip((grad_tokens, grad_mixed), wanted, strict=True):
        torch.testing.assert_close(actual, other, rtol=0, atol=1e-12)  # measured 1e-14
    compare(sums, weights, [expected], [grad])


def test_only_what_was_asked_for_is_summed() -> None:
    weights = draw_weights()
    needed = [name == "proj_weight" for name in BlockWeights._fields]
    sums = WeightGradients(weights, needed)
    for name in BlockWeights._fields:
        sums.add(name, torch.ones(()))
    asked = [grad is not None for grad in sums.in_order()]
    assert asked == needed
    assert not sums.wants("qkv_bias")


def test_only_linear_layers_change_their_precision() -> None:
    cast = draw_weights(qkv_bias=False).for_products_in(torch.bfloat16)
    assert cast.qkv_bias is None
    for name, value in cast._asdict().items():
        if value is not None:
            kept = name.startswith("norm") or name == "bias_table"
            assert value.dtype == (torch.float64 if kept else torch.bfloat16), name
