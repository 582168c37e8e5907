"""Attention within boxes of tokens with a learned relative-position bias, and its exact gradient.

Plain functions on tensors, no modules. Scores are kept in powers of two: torch's vectorised exp2
takes 0.15 ns an element where exp takes 0.80 (Zen 5, one core), and 2^(s log2 e) is e^s.

Axes: W boxes, H heads, n queries, m keys (n plus one where a box is padded), d features a head.
"""

import math

import torch
from torch import Tensor

from mg3d.model.window_boxes import BoxGroup, Triple, zero_relative_position

LOG2_E = math.log2(math.e)


def box_bias(table: Tensor, group: BoxGroup, window: Triple) -> Tensor:
    """The bias that every box of a group adds to its scores, in powers of two.

    All padded keys of a box are the same vector, so they act as one key whose weight is the sum of
    theirs: its bias is the log-sum-exp of their biases. That is exact, and much smaller.

    Args:
        table: Bias table, (relative positions, H).
        group: The boxes.
        window: Nominal window that the table was made for.

    Returns:
        (H, n, m); m = n + 1 where the boxes are padded, the last key standing for all padding.
    """
    keys = torch.cat([group.position, group.pad_position])
    rows = group.position[:, None] - keys[None, :] + zero_relative_position(window)
    num_heads = table.shape[1]
    # gather, with heads in front: 0.4 ms with its backward, where table[rows] takes 1.6 (window 7)
    bias = table.t().gather(1, rows.reshape(1, -1).expand(num_heads, -1))
    bias = bias.view(num_heads, *rows.shape)
    real, padded = bias[:, :, : len(group.position)], bias[:, :, len(group.position) :]
    if padded.shape[2]:
        real = torch.cat([real, padded.logsumexp(dim=2, keepdim=True)], dim=2)
    return real * LOG2_E


def attend(
    q_WHnd: Tensor, k_WHmd: Tensor, v_WHmd: Tensor, bias_Hnm: Tensor
) -> tuple[Tensor, Tensor]:
    """Softmax attention.

    Args:
        q_WHnd: Queries, not scaled.
        k_WHmd: Keys.
        v_WHmd: Values.
        bias_Hnm: Added to the scores, in powers of two (`box_bias`).

    Returns:
        The attended values (W, H, n, d), and the base-2 log-sum-exp of the scores (W, H, n, 1) from
        which `attend_backward` restores the probabilities.
    """
    scores = _scores(q_WHnd, k_WHmd, bias_Hnm)
    highest = scores.amax(dim=-1, keepdim=True)  # without it, scores above 128 overflow
    weights = scores.sub_(highest).exp2_()
    total = weights.sum(dim=-1, keepdim=True)
    attended = torch.matmul(weights.to(v_WHmd.dtype), v_WHmd)
    return attended.div_(total.to(attended.dtype)), total.log2_().add_(highest)


def attend_backward(
    grad_WHnd: Tensor,
    q_WHnd: Tensor,
    k_WHmd: Tensor,
    v_WHmd: Tensor,
    bias_Hnm: Tensor,
    attended_WHnd: Tensor,
    log_total_WHn1: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of `attend`.

    Args:
        grad_WHnd: Gradient of the attended values.
        q_WHnd: As given to `attend`.
        k_WHmd: As given to `attend`.
        v_WHmd: As given to `attend`.
        bias_Hnm: As given to `attend`.
        attended_WHnd: As returned by `attend`.
        log_total_WHn1: As returned by `attend`.

    Returns:
        Gradients of q, k, v and the bias, of their shapes.
    """
    scale = q_WHnd.shape[-1] ** -0.5
    weights = _scores(q_WHnd, k_WHmd, bias_Hnm).sub_(log_total_WHn1).exp2_()
    grad_v = torch.matmul(weights.to(grad_WHnd.dtype).transpose(-1, -2), grad_WHnd)
    grad_weights = torch.matmul(grad_WHnd, v_WHmd.transpose(-1, -2)).to(weights.dtype)
    mean = (grad_WHnd * attended_WHnd).sum(dim=-1, keepdim=True, dtype=weights.dtype)
    grad_scores = grad_weights.sub_(mean).mul_(weights)
    grad_bias = grad_scores.sum(dim=0).mul_(1 / LOG2_E)
    grad_scores = grad_scores.to(q_WHnd.dtype)
    grad_q = torch.matmul(grad_scores, k_WHmd).mul_(scale)
    grad_k = torch.matmul(grad_scores.transpose(-1, -2), q_WHnd).mul_(scale)
    return grad_q, grad_k, grad_v, grad_bias


def _scores(q_WHnd: Tensor, k_WHmd: Tensor, bias_Hnm: Tensor) -> Tensor:
    """Scaled scores plus bias in powers of two, in the precision of the bias: (W, H, n, m)."""
    queries = q_WHnd * (LOG2_E * q_WHnd.shape[-1] ** -0.5)
    return torch.matmul(queries, k_WHmd.transpose(-1, -2)).to(bias_Hnm.dtype).add_(bias_Hnm)
