"""The layers of a Swin block that act on single tokens, and their gradients, written out.

Two halves with attention between them: `enter` leads from tokens to queries, keys and values, which
`split_heads` lays out for attention, `leave` from attended values to the block's last product. Each
has a backward that reads what its forward kept and adds the weights' gradients to
`WeightGradients`. Written out because a block is computed in many chunks: autograd within each
would cost more than some of the layers, and would cast the weights of a lower precision again for
every chunk.

Precision: ``weights`` of the linear layers have the precision of the products, everything else has
that of the stream of tokens. Axes: W boxes, n tokens of a box, T = W n, H heads, C channels.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mg3d.model.products import input_gradient, linear, weight_gradient

EPSILON = 1e-5  # added to variances, PyTorch's default


class BlockWeights(NamedTuple):
    """The parameters of one block."""

    norm1_weight: Tensor
    norm1_bias: Tensor
    bias_table: Tensor
    qkv_weight: Tensor
    qkv_bias: Tensor | None
    proj_weight: Tensor
    proj_bias: Tensor
    norm2_weight: Tensor
    norm2_bias: Tensor
    linear1_weight: Tensor
    linear1_bias: Tensor
    linear2_weight: Tensor
    linear2_bias: Tensor

    def for_products_in(self, dtype: torch.dtype) -> "BlockWeights":
        """The same with the linear layers in another precision, cast once for all chunks."""
        kept = ("norm1_weight", "norm1_bias", "bias_table", "norm2_weight", "norm2_bias")
        return BlockWeights(
            **{
                name: value if value is None or name in kept else value.to(dtype)
                for name, value in self._asdict().items()
            }
        )


class WeightGradients:
    """Sums over chunks, one for each parameter that asks for its gradient.

    The first share becomes the sum. Filling sums with zeros and reading them again would cost a
    third of the encoder's time where there are few tokens a weight.
    """

    def __init__(self, weights: BlockWeights, needed: Sequence[bool]) -> None:
        named = zip(weights._asdict().items(), needed, strict=True)
        self._dtypes = {name: value.dtype for (name, value), need in named if need}
        self._sums: dict[str, Tensor] = {}

    def wants(self, name: str) -> bool:
        """Whether anybody asked for this one."""
        return name in self._dtypes

    def add(self, name: str, part: Tensor) -> None:
        """Add a chunk's share, a tensor that nobody else holds."""
        if name in self._sums:
            self._sums[name] += part
        elif self.wants(name):
            self._sums[name] = part.to(self._dtypes[name])

    def add_linear(self, layer: str, grad_TO: Tensor, x_TI: Tensor) -> None:
        """Add the shares of a linear layer's weight and bias."""
        weight, bias = f"{layer}_weight", f"{layer}_bias"
        total = self._sums.get(weight)
        if total is not None and total.dtype == x_TI.dtype:
            torch.addmm(total, grad_TO.t(), x_TI, out=total)
        elif self.wants(weight):
            self.add(weight, weight_gradient(grad_TO, x_TI))
        if self.wants(bias):
            self.add(bias, grad_TO.sum(dim=0))

    def in_order(self) -> tuple[Tensor | None, ...]:
        """The sums in the order of `BlockWeights`."""
        return tuple(self._sums.get(name) for name in BlockWeights._fields)


class Normed(NamedTuple):
    """Tokens after a LayerNorm, and what its gradient needs."""

    value: Tensor
    """In the precision of the products."""
    mean: Tensor
    rstd: Tensor


class Entered(NamedTuple):
    """Result of `enter`."""

    normed: Normed
    qkv: Tensor
    """(T, 3 C): queries, keys and values, each head by head."""


class Left(NamedTuple):
    """What `leave` computes and its gradient needs."""

    middle: Tensor
    """The stream between attention and MLP."""
    normed: Normed
    hidden: Tensor
    """Of the MLP, before its activation."""
    active: Tensor


def enter(tokens_TC: Tensor, weights: BlockWeights) -> Entered:
    """Queries, keys and values of the normalised tokens."""
    normed = _normalise(tokens_TC, weights.norm1_weight, weights.norm1_bias, weights.qkv_weight)
    return Entered(normed, linear(normed.value, weights.qkv_weight, weights.qkv_bias))


def enter_backward(
    grad_qkv_TO: Tensor,
    entered: Entered,
    tokens_TC: Tensor,
    weights: BlockWeights,
    sums: WeightGradients,
) -> Tensor:
    """Gradient of the tokens, (T, C), from that of ``qkv``; adds the weights' to ``sums``."""
    sums.add_linear("qkv", grad_qkv_TO, entered.normed.value)
    grad_normed = input_gradient(grad_qkv_TO, weights.qkv_weight)
    return _normalise_backward("norm1", grad_normed, tokens_TC, entered.normed, weights, sums)


def split_heads(
    qkv_TO: Tensor, weights: BlockWeights, num_boxes: int, num_heads: int, *, padded: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries (W, H, n, d), keys and values (W, H, m, d) of boxes of one shape.

    A padded box has a key more than it has tokens, for all of its padding, see `box_biases`.
    """
    by_head = qkv_TO.view(num_boxes, -1, 3, num_heads, qkv_TO.shape[1] // (3 * num_heads))
    q, k, v = by_head.permute(2, 0, 3, 1, 4)
    if padded:
        # a padded token is zero after the normalisation: its key and value are the biases
        empty = qkv_TO.new_zeros(qkv_TO.shape[1]) if weights.qkv_bias is None else weights.qkv_bias
        _, pad_k, pad_v = empty.view(3, 1, num_heads, 1, -1).expand(-1, num_boxes, -1, -1, -1)
        return q.contiguous(), torch.cat([k, pad_k], 2), torch.cat([v, pad_v], 2)
    return q.contiguous(), k.contiguous(), v.contiguous()


def split_heads_backward(
    grads: tuple[Tensor, Tensor, Tensor], out_TO: Tensor, sums: WeightGradients
) -> None:
    """Write the gradient of ``qkv_TO`` of `split_heads`; that of padding goes to ``sums``."""
    W, H, n, d = grads[0].shape
    by_head = out_TO.view(W, n, 3, H, d)
    for part, grad_WHmd in enumerate(grads):
        by_head[:, :, part] = grad_WHmd[:, :, :n].transpose(1, 2)
    if grads[1].shape[2] > n and sums.wants("qkv_bias"):
        of_padding = [grad[:, :, n:].sum(dim=(0, 2)).flatten() for grad in grads]
        sums.add("qkv_bias", torch.cat(of_padding))  # none of the queries


def leave(tokens_TC: Tensor, mixed_TC: Tensor, weights: BlockWeights) -> Left:
    """What follows attention, up to the last product: projection, residual, MLP."""
    middle = _add(tokens_TC, linear(mixed_TC, weights.proj_weight, weights.proj_bias))
    normed = _normalise(middle, weights.norm2_weight, weights.norm2_bias, weights.linear1_weight)
    hidden = linear(normed.value, weights.linear1_weight, weights.linear1_bias)
    return Left(middle, normed, hidden, F.gelu(hidden))


def result_of(left: Left, weights: BlockWeights) -> Tensor:
    """The block's result, which the backward pass does not need."""
    return _add(left.middle, linear(left.active, weights.linear2_weight, weights.linear2_bias))


def leave_backward(
    grad_TC: Tensor, left: Left, mixed_TC: Tensor, weights: BlockWeights, sums: WeightGradients
) -> tuple[Tensor, Tensor]:
    """Gradients of the tokens (as the residual sees them) and of the attended values."""
    grad = grad_TC.to(left.active.dtype)
    sums.add_linear("linear2", grad, left.active)
    grad_active = input_gradient(grad, weights.linear2_weight)
    grad_hidden = torch.ops.aten.gelu_backward(grad_active, left.hidden)
    sums.add_linear("linear1", grad_hidden, left.normed.value)
    grad_normed = input_gradient(grad_hidden, weights.linear1_weight)
    grad_middle = _normalise_backward("norm2", grad_normed, left.middle, left.normed, weights, sums)
    grad_middle += grad_TC
    grad_projected = grad_middle.to(mixed_TC.dtype)
    sums.add_linear("proj", grad_projected, mixed_TC)
    return grad_middle, input_gradient(grad_projected, weights.proj_weight)


def _add(stream: Tensor, branch: Tensor) -> Tensor:
    """Their sum, in the branch's memory where the precisions agree; mixed addition is slow."""
    return branch.to(stream.dtype).add_(stream)


def _normalise(tokens_TC: Tensor, weight: Tensor, bias: Tensor, next_weight: Tensor) -> Normed:
    value, mean, rstd = torch.native_layer_norm(
        tokens_TC, tokens_TC.shape[1:], weight, bias, EPSILON
    )
    return Normed(value.to(next_weight.dtype), mean, rstd)


def _normalise_backward(
    layer: str,
    grad_TC: Tensor,
    tokens_TC: Tensor,
    normed: Normed,
    weights: BlockWeights,
    sums: WeightGradients,
) -> Tensor:
    names = f"{layer}_weight", f"{layer}_bias"
    grad_tokens: Tensor
    grad_tokens, *of_weights = torch.ops.aten.native_layer_norm_backward(
        grad_TC.to(tokens_TC.dtype),
        tokens_TC,
        tokens_TC.shape[1:],
        normed.mean,
        normed.rstd,
        *(getattr(weights, name) for name in names),
        [True, *map(sums.wants, names)],
    )
    for name, part in zip(names, of_weights, strict=True):
        sums.add(name, part)
    return grad_tokens
