"""One Swin block: window attention and an MLP, each with a residual connection.

A block acts on every box of tokens separately (`window_boxes`), so it is computed a few boxes at a
time, small enough to stay in the cache. For the backward pass only the block's input, the attended
values and their log-sum-exp are kept; everything else is computed again, box by box. That bounds
the memory and is faster than reading large intermediates back.

Parameter names are MONAI's (`SwinTransformerBlock`), so weights move between both unchanged.
Axes: B batch, X Y Z grid, W boxes, n tokens of a box, H heads, C channels.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mg3d.model.window_attention import attend, attend_backward, box_bias
from mg3d.model.window_boxes import (
    BoxGroup,
    RelativePositions,
    Triple,
    box_groups,
    num_relative_positions,
)

CHUNK_BYTES = {"cpu": 2**20, "cuda": 2**29}
"""Size of the largest intermediate of one chunk: what a core's cache holds (per thread), or enough
work to fill a GPU."""


class BlockWeights(NamedTuple):
    """The parameters of one block, in the order in which `_BoxwiseBlock` takes them."""

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


class WindowAttention(nn.Module):
    """Holds the parameters of window attention under MONAI's names; `SwinBlock` computes."""

    def __init__(self, channels: int, num_heads: int, window: Triple, qkv_bias: bool) -> None:
        super().__init__()
        self.relative_position_bias_table = nn.Parameter(
            torch.empty(num_relative_positions(window), num_heads)
        )
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.qkv = nn.Linear(channels, 3 * channels, bias=qkv_bias)
        self.proj = nn.Linear(channels, channels)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        # MONAI stores this constant with the weights; here it follows from the configuration.
        state_dict.pop(f"{prefix}relative_position_index", None)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class Mlp(nn.Module):
    """Holds the parameters of the MLP under MONAI's names; `SwinBlock` computes."""

    def __init__(self, channels: int, hidden_channels: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(channels, hidden_channels)
        self.linear2 = nn.Linear(hidden_channels, channels)


class SwinBlock(nn.Module):
    """Window attention and MLP on a map of tokens."""

    def __init__(
        self,
        channels: int,
        num_heads: int,
        window: Triple,
        *,
        shifted: bool,
        mlp_ratio: float,
        qkv_bias: bool,
        relative_positions: RelativePositions,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.window = window
        self.shifted = shifted
        self.relative_positions: RelativePositions = relative_positions
        self.norm1 = nn.LayerNorm(channels)
        self.attn = WindowAttention(channels, num_heads, window, qkv_bias)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Mlp(channels, int(channels * mlp_ratio))

    def forward(self, x_BXYZC: Tensor) -> Tensor:
        """Map tokens (B, X, Y, Z, C) to tokens of the same shape."""
        grid = cast(Triple, tuple(x_BXYZC.shape[1:4]))
        groups = box_groups(
            grid, self.window, self.shifted, self.relative_positions, x_BXYZC.device
        )
        plan = _Plan(
            groups=groups,
            window=self.window,
            num_heads=self.num_heads,
            tokens_per_volume=math.prod(grid),
            keep=torch.is_grad_enabled(),
        )
        result: Tensor = _BoxwiseBlock.apply(x_BXYZC, plan, *self._weights())  # type: ignore[no-untyped-call]
        return result

    def _weights(self) -> BlockWeights:
        return BlockWeights(
            self.norm1.weight,
            self.norm1.bias,
            self.attn.relative_position_bias_table,
            self.attn.qkv.weight,
            self.attn.qkv.bias,
            self.attn.proj.weight,
            self.attn.proj.bias,
            self.norm2.weight,
            self.norm2.bias,
            self.mlp.linear1.weight,
            self.mlp.linear1.bias,
            self.mlp.linear2.weight,
            self.mlp.linear2.bias,
        )


class _Plan(NamedTuple):
    """What a block computes apart from tensors that carry gradients."""

    groups: tuple[BoxGroup, ...]
    window: Triple
    num_heads: int
    tokens_per_volume: int
    keep: bool
    """Whether a backward pass may follow."""

    def chunks(self, group: BoxGroup, tokens: Tensor) -> Iterator[Tensor]:
        """Indices (w, n) into ``tokens`` (B * X * Y * Z, C) of a few boxes at a time."""
        num_tokens, channels = tokens.shape
        starts = torch.arange(0, num_tokens, self.tokens_per_volume, device=tokens.device)
        index = (starts[:, None, None] + group.token_index).flatten(0, 1)
        n = index.shape[1]
        # scores take num_heads numbers a pair of tokens, the MLP about 4 channels a token
        box_bytes = tokens.element_size() * n * max(self.num_heads * n, 4 * channels)
        threads = torch.get_num_threads() if tokens.device.type == "cpu" else 1
        budget = CHUNK_BYTES.get(tokens.device.type, CHUNK_BYTES["cuda"]) * threads
        return iter(torch.split(index, max(1, budget // box_bytes)))


class _BoxwiseBlock(torch.autograd.Function):
    """A Swin block, a few boxes at a time, forgetting and recomputing what lies in between.

    The parts that act on single tokens are differentiated by autograd on each chunk; attention has
    its own backward, because it can start from the saved result and because the gradient of the
    bias is summed over boxes on the way.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, plan: _Plan, *parameters: Tensor | None) -> Tensor:
        weights = BlockWeights(*cast(Any, parameters))
        tokens = x.reshape(-1, x.shape[-1])
        result = torch.empty_like(tokens)
        kept: list[Tensor] = []
        for group in plan.groups:
            bias = box_bias(weights.bias_table, group, plan.window)
            mixed_chunks, log_totals = [], []
            for index in plan.chunks(group, tokens):
                chunk = _take(tokens, index)
                q, k, v = _project(chunk, weights, plan.num_heads, padded=group.is_padded)
                attended, log_total = attend(q, k, v, bias)
                mixed = _merge_heads(attended)
                _put(result, index, _finish(chunk, mixed, weights))
                if plan.keep:
                    mixed_chunks.append(mixed)
                    log_totals.append(log_total)
            if plan.keep:
                kept += [torch.cat(mixed_chunks), torch.cat(log_totals)]
        ctx.plan = plan
        ctx.autocast = _autocast_state(x.device.type)
        ctx.save_for_backward(x, *parameters, *kept)
        return result.view_as(x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, *saved = ctx.saved_tensors
        count = len(BlockWeights._fields)
        parameters, kept = saved[:count], saved[count:]
        leaves = (
            None if value is None else value.detach().requires_grad_(needed)
            for value, needed in zip(parameters, ctx.needs_input_grad[2:], strict=True)
        )
        weights = BlockWeights(*cast(Any, leaves))
        tokens, grad_result = (value.detach().reshape(-1, value.shape[-1]) for value in (x, grad))
        grad_tokens = torch.empty_like(tokens)
        with torch.enable_grad(), torch.autocast(**ctx.autocast):
            for group, mixed, log_total in zip(ctx.plan.groups, kept[::2], kept[1::2], strict=True):
                boxes = _KeptBoxes(group, mixed, log_total)
                _backward_through(boxes, ctx.plan, weights, tokens, grad_result, grad_tokens)
        return (
            grad_tokens.view_as(x) if ctx.needs_input_grad[0] else None,
            None,
            *(None if value is None else value.grad for value in weights),
        )


class _KeptBoxes(NamedTuple):
    """A group of boxes with what its forward pass kept."""

    group: BoxGroup
    mixed: Tensor
    """(W, n, C) attended values, before their projection."""
    log_total: Tensor
    """(W, H, n, 1), see `attend`."""


def _backward_through(
    boxes: _KeptBoxes,
    plan: _Plan,
    weights: BlockWeights,
    tokens: Tensor,
    grad_result: Tensor,
    grad_tokens: Tensor,
) -> None:
    """Fill the rows of ``grad_tokens`` that belong to a group; add to the weights' ``grad``."""
    group, heads = boxes.group, plan.num_heads
    bias = box_bias(weights.bias_table, group, plan.window)
    grad_bias = torch.zeros_like(bias)
    first = 0
    for index in plan.chunks(group, tokens):
        part = slice(first, first + len(index))
        first = part.stop
        chunk = _take(tokens, index).requires_grad_()
        mixed = boxes.mixed[part].detach().requires_grad_()
        q, k, v = _project(chunk, weights, heads, padded=group.is_padded)
        torch.autograd.backward(_finish(chunk, mixed, weights), _take(grad_result, index))
        with torch.no_grad():
            *grad_qkv, grad_chunk_bias = attend_backward(
                _split_heads(cast(Tensor, mixed.grad), heads),
                *(q, k, v, bias),
                _split_heads(mixed, heads),
                boxes.log_total[part],
            )
            grad_bias += grad_chunk_bias
        torch.autograd.backward((q, k, v), grad_qkv)
        _put(grad_tokens, index, cast(Tensor, chunk.grad))
    if bias.requires_grad:
        torch.autograd.backward(bias, grad_bias)


def _project(
    tokens_WnC: Tensor, weights: BlockWeights, num_heads: int, *, padded: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalised queries, keys and values by head, (W, H, n or n + 1, d); see `box_bias`."""
    W, n, C = tokens_WnC.shape
    normed = F.layer_norm(tokens_WnC, (C,), weights.norm1_weight, weights.norm1_bias)
    qkv = F.linear(normed, weights.qkv_weight, weights.qkv_bias)
    q, k, v = qkv.view(W, n, 3, num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
    if padded:
        empty = tokens_WnC.new_zeros(3 * C) if weights.qkv_bias is None else weights.qkv_bias
        _, pad_k, pad_v = empty.to(qkv.dtype).view(3, num_heads, 1, -1).unbind(0)
        k = torch.cat([k, pad_k.expand(W, -1, -1, -1)], dim=2)
        v = torch.cat([v, pad_v.expand(W, -1, -1, -1)], dim=2)
    return q, k, v


def _finish(tokens_WnC: Tensor, mixed_WnC: Tensor, weights: BlockWeights) -> Tensor:
    """What follows attention: projection, residual, MLP, residual."""
    C = tokens_WnC.shape[-1]
    tokens = tokens_WnC + F.linear(mixed_WnC, weights.proj_weight, weights.proj_bias)
    normed = F.layer_norm(tokens, (C,), weights.norm2_weight, weights.norm2_bias)
    hidden = F.gelu(F.linear(normed, weights.linear1_weight, weights.linear1_bias))
    return tokens + F.linear(hidden, weights.linear2_weight, weights.linear2_bias)


def _split_heads(mixed_WnC: Tensor, num_heads: int) -> Tensor:
    W, n, _ = mixed_WnC.shape
    return mixed_WnC.view(W, n, num_heads, -1).transpose(1, 2)


def _merge_heads(attended_WHnd: Tensor) -> Tensor:
    return attended_WHnd.transpose(1, 2).flatten(2)


def _take(tokens: Tensor, index: Tensor) -> Tensor:
    return tokens.index_select(0, index.flatten()).view(*index.shape, -1)


def _put(tokens: Tensor, index: Tensor, chunk: Tensor) -> None:
    tokens.index_copy_(0, index.flatten(), chunk.flatten(0, 1).to(tokens.dtype))


def _autocast_state(device_type: str) -> dict[str, Any]:
    """Arguments of ``torch.autocast`` that restore what is in force now.

    Without a cache: it would share the casted weights, and their graph, between chunks.
    """
    return {
        "device_type": device_type,
        "enabled": torch.is_autocast_enabled(device_type),
        "dtype": torch.get_autocast_dtype(device_type),
        "cache_enabled": False,
    }
