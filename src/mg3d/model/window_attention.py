"""Attention within boxes of tokens with a learned relative-position bias, and its exact gradient.

Two kernels of the same function, `kernel_for` chooses: `SlicedAttention` for the CPU is written out
here and goes through a few boxes at a time, so that their scores stay in the cache;
`ShippedAttention` for GPUs is PyTorch's own, and runs on a CPU too, where the tests compare both.

Scores are in powers of two: torch's vectorised exp2 takes 0.15 ns an element where exp takes 0.80
(Zen 5, one core), and 2^(s log2 e) is e^s.

Axes: W boxes, H heads, n queries, m keys (n plus one where a box is padded), d features a head.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from mg3d.model.window_boxes import BoxGroup

LOG2_E = math.log2(math.e)
SLICE_BYTES = 3 * 2**20
"""Scores of attention that a CPU core works on at a time. From 1.5 to 9 MB times differed by less
than the noise (1 MB of L2 cache a core, 32 MB of L3)."""
SHIPPED_SLICE_BYTES = 2**29
"""The same for PyTorch's kernel, which holds the bias of every box and its gradient in memory."""
_FEW_BOXES = 8
"""Up to which adding boxes one by one is faster than their sum, which fills its result before."""
_HEADROOM = 64
"""Powers of two that are left for sums of weights and for values when no maximum is taken off."""


def box_biases(table: Tensor, groups: Sequence[BoxGroup]) -> list[Tensor]:
    """The bias that every box of a group adds to its scores, in powers of two.

    All padded keys of a box are the same vector, so they act as one key whose weight is the sum of
    theirs: its bias is the log-sum-exp of their biases. That is exact, and much smaller.

    Args:
        table: Bias table, (relative positions, H).
        groups: The boxes.

    Returns:
        (H, n, m) of each group; m = n + 1 where the boxes are padded, the last key standing for all
        padding.
    """
    # looked up at once, since a grid may have many small groups, and from a table by heads: 0.36 ms
    # with its backward, where table[rows] takes 1.5 (window 7)
    by_head = (table * LOG2_E).t().contiguous()
    found = by_head.index_select(1, torch.cat([group.bias_rows.flatten() for group in groups]))
    biases = []
    sizes = [group.bias_rows.numel() for group in groups]
    for group, bias in zip(groups, torch.split(found, sizes, dim=1), strict=True):
        num_tokens, num_keys = group.bias_rows.shape
        real = bias.view(-1, num_tokens, num_keys)
        if group.is_padded:
            real, padded = torch.split(real, [num_tokens, num_keys - num_tokens], dim=2)
            total = (padded / LOG2_E).logsumexp(dim=2, keepdim=True) * LOG2_E
            real = torch.cat([real, total], dim=2)
        biases.append(real)
    return biases


class Gradients(NamedTuple):
    """Gradients of attention's inputs, of their shapes."""

    q: Tensor
    k: Tensor
    v: Tensor
    bias: Tensor


class AttentionKernel(Protocol):
    """Softmax attention of queries (not scaled) with a bias in powers of two (`box_biases`)."""

    def attend(
        self, q_WHnd: Tensor, k_WHmd: Tensor, v_WHmd: Tensor, bias_Hnm: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The attended values (W, H, n, d), and what `backward` wants to have kept of them."""

    def backward(
        self,
        grad_WHnd: Tensor,
        q_WHnd: Tensor,
        k_WHmd: Tensor,
        v_WHmd: Tensor,
        bias_Hnm: Tensor,
        kept: Tensor,
    ) -> Gradients:
        """Gradients from that of the attended values, the inputs and what `attend` kept."""


def kernel_for(device: torch.device) -> AttentionKernel:
    """The fastest kernel on a device."""
    if device.type == "cpu":
        return SlicedAttention(SLICE_BYTES * torch.get_num_threads())
    return ShippedAttention(SHIPPED_SLICE_BYTES)


class SlicedAttention:
    """Attention written out, a few boxes at a time, in the precision of the bias.

    It keeps the base-2 log-sum-exp of the scores, (W, H, n, 1), from which the backward pass
    restores the probabilities. Of a lower precision, the inputs are converted instead of the
    scores: products this narrow gain less from bfloat16 than it costs to convert what they give.

    Args:
        slice_bytes: Size of the scores that are there at a time, at least those of one box.
    """

    def __init__(self, slice_bytes: int) -> None:
        self._slice_bytes = slice_bytes

    def attend(
        self, q_WHnd: Tensor, k_WHmd: Tensor, v_WHmd: Tensor, bias_Hnm: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `AttentionKernel`."""
        q, k, v = (x.to(bias_Hnm.dtype) for x in (q_WHnd, k_WHmd, v_WHmd))
        attended, log_total = torch.empty_like(q), q.new_empty(*q.shape[:3], 1)
        has_room = _largest_score(q, k, bias_Hnm) < _room(q.dtype)
        whole = _scaled(q), k, v, attended, log_total
        for (scores,), part in self._slices(bias_Hnm, 1, *whole):
            queries, keys, values, to_attended, to_log_total = part
            _score(queries, keys, bias_Hnm, out=scores)
            highest = None if has_room else scores.amax(dim=-1, keepdim=True)
            weights = (scores if highest is None else scores.sub_(highest)).exp2_()
            total = weights.sum(dim=-1, keepdim=True)
            torch.bmm(weights, values, out=to_attended)
            to_attended.div_(total)
            torch.add(total.log2_(), 0 if highest is None else highest, out=to_log_total)
        return attended.to(q_WHnd.dtype), log_total

    def backward(
        self,
        grad_WHnd: Tensor,
        q_WHnd: Tensor,
        k_WHmd: Tensor,
        v_WHmd: Tensor,
        bias_Hnm: Tensor,
        kept: Tensor,
    ) -> Gradients:
        """See `AttentionKernel`."""
        inputs = grad_WHnd, q_WHnd, k_WHmd, v_WHmd
        grad, q, k, v = (x.to(bias_Hnm.dtype) for x in inputs)
        grad_q, grad_bias = torch.empty_like(q), torch.zeros_like(bias_Hnm)
        # turned: a product with the weights as its second factor need not turn them
        grad_k, grad_v = (x.new_empty(x.mT.shape) for x in (k, v))
        whole = grad, q, _scaled(q), k, v, kept, grad_q, grad_k, grad_v
        for (weights, grad_scores), part in self._slices(bias_Hnm, 2, *whole):
            grad_attended, unscaled, queries, keys, values, log_total, to_q, to_k, to_v = part
            _score(queries, keys, bias_Hnm, out=weights)
            weights.sub_(log_total).exp2_()
            torch.bmm(grad_attended.mT, weights, out=to_v)
            torch.bmm(grad_attended, values.mT, out=grad_scores)  # of the weights, at first
            _softmax_backward_(grad_scores, weights)
            _add_boxes_(grad_bias, grad_scores)
            torch.bmm(grad_scores, keys, out=to_q)
            torch.bmm(unscaled.mT, grad_scores, out=to_k)
        scale = 1 / math.sqrt(q.shape[-1])
        dtype = q_WHnd.dtype
        return Gradients(
            q=grad_q.mul_(scale).to(dtype),
            k=grad_k.mul_(scale).mT.to(dtype),
            v=grad_v.mT.to(dtype),
            bias=grad_bias.mul_(1 / LOG2_E),
        )

    def _slices(
        self, bias_Hnm: Tensor, num_spaces: int, *tensors_WHxx: Tensor
    ) -> Iterator[tuple[list[Tensor], tuple[Tensor, ...]]]:
        """Spaces for scores, and the tensors' parts, a few boxes at a time: (w H, ...) each."""
        W, H = tensors_WHxx[0].shape[:2]
        rows = H * min(W, max(1, self._slice_bytes // bias_Hnm.nbytes))
        spaces = [bias_Hnm.new_empty(rows, *bias_Hnm.shape[1:]) for _ in range(num_spaces)]
        parts = (torch.split(tensor.flatten(0, 1), rows) for tensor in tensors_WHxx)
        for part in zip(*parts, strict=True):
            yield [space[: len(part[0])] for space in spaces], part


class ShippedAttention:
    """`scaled_dot_product_attention`, many boxes at a time; its backward runs its forward again.

    Args:
        slice_bytes: Size of the scores of the boxes that are given to it at a time.
    """

    def __init__(self, slice_bytes: int) -> None:
        self._slice_bytes = slice_bytes

    def attend(
        self, q_WHnd: Tensor, k_WHmd: Tensor, v_WHmd: Tensor, bias_Hnm: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `AttentionKernel`; nothing is kept."""
        attended = [
            _shipped(q_WHnd[part], k_WHmd[part], v_WHmd[part], bias_Hnm)
            for part in _boxes(q_WHnd, bias_Hnm, self._slice_bytes)
        ]
        return torch.cat(attended), q_WHnd.new_empty(0)

    def backward(
        self,
        grad_WHnd: Tensor,
        q_WHnd: Tensor,
        k_WHmd: Tensor,
        v_WHmd: Tensor,
        bias_Hnm: Tensor,
        kept: Tensor,
    ) -> Gradients:
        """See `AttentionKernel`."""
        parts = []
        for part in _boxes(q_WHnd, bias_Hnm, self._slice_bytes):
            inputs = (q_WHnd[part], k_WHmd[part], v_WHmd[part], bias_Hnm)
            with torch.enable_grad():
                leaves = tuple(value.detach().requires_grad_() for value in inputs)
                attended = _shipped(*leaves)
            parts.append(torch.autograd.grad(attended, leaves, grad_WHnd[part]))
        q, k, v, bias = zip(*parts, strict=True)
        return Gradients(torch.cat(q), torch.cat(k), torch.cat(v), torch.stack(bias).sum(dim=0))


def _boxes(q_WHnd: Tensor, bias_Hnm: Tensor, slice_bytes: int) -> Iterator[slice]:
    num_boxes = len(q_WHnd)
    step = max(1, slice_bytes // (bias_Hnm.numel() * bias_Hnm.element_size()))
    return (slice(start, start + step) for start in range(0, num_boxes, step))


def _shipped(q_WHnd: Tensor, k_WHmd: Tensor, v_WHmd: Tensor, bias_Hnm: Tensor) -> Tensor:
    bias = (bias_Hnm / LOG2_E).to(q_WHnd.dtype)
    return F.scaled_dot_product_attention(
        q_WHnd, k_WHmd, v_WHmd, attn_mask=bias.expand(len(q_WHnd), -1, -1, -1)
    )


def _scaled(q_WHnd: Tensor) -> Tensor:
    """Queries whose products with keys are scores in powers of two."""
    return q_WHnd * (LOG2_E / math.sqrt(q_WHnd.shape[-1]))


def _score(queries_Gnd: Tensor, k_Gmd: Tensor, bias_Hnm: Tensor, out: Tensor) -> None:
    """Scores plus bias, into ``out`` (G, n, m); G = w H."""
    torch.bmm(queries_Gnd, k_Gmd.mT, out=out)
    out.view(-1, *bias_Hnm.shape).add_(bias_Hnm)


def _softmax_backward_(grad_Gnm: Tensor, weights_Gnm: Tensor) -> None:
    """Turn the gradient of the weights into that of the scores: one pass instead of three."""
    softmax_backward = torch.ops.aten._softmax_backward_data.out
    softmax_backward(grad_Gnm, weights_Gnm, -1, weights_Gnm.dtype, grad_input=grad_Gnm)


def _add_boxes_(total_Hnm: Tensor, parts_Gnm: Tensor) -> None:
    """Add what belongs to the same head and pair of tokens in each of some boxes."""
    boxes = parts_Gnm.view(-1, *total_Hnm.shape)
    if len(boxes) > _FEW_BOXES:
        total_Hnm += boxes.sum(dim=0)
        return
    for box_Hnm in boxes:
        total_Hnm += box_Hnm


def _largest_score(q_WHnd: Tensor, k_WHmd: Tensor, bias_Hnm: Tensor) -> float:
    """A bound of the scores' magnitude, in powers of two (Cauchy and Schwarz)."""
    query, key = (torch.linalg.vector_norm(x, dim=-1).max().item() for x in (q_WHnd, k_WHmd))
    low, high = torch.aminmax(bias_Hnm)
    scale = LOG2_E / math.sqrt(q_WHnd.shape[-1])
    return float(scale * query * key + max(high.item(), -low.item()))


def _room(dtype: torch.dtype) -> float:
    """Up to which score of either sign the weights and their sums neither overflow nor vanish."""
    return math.log2(torch.finfo(dtype).max) - _HEADROOM
