"""One Swin block: window attention and an MLP, each with a residual connection.

A block acts on every box of tokens separately (`window_boxes`), so it is computed a few boxes at a
time, small enough to stay in the cache; scores of attention never outlive their chunk. With
``recompute``, the backward pass keeps only the block's input, the attended values and their
log-sum-exp, and computes everything else again, chunk by chunk. Both ways give the same numbers.

Parameter names are MONAI's (`SwinTransformerBlock`), so weights move between both unchanged.
Axes: B batch, X Y Z grid, W boxes, n tokens of a box, H heads, C channels.
"""

import math
from collections.abc import Iterator, Sequence
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

CHUNK_BYTES = {"cpu": 2**22, "cuda": 2**29}
"""Size of the largest intermediate of one chunk: what a core's cache holds (per thread), or enough
work to fill a GPU. On one core, times were flat within 10 % from half a megabyte to 16."""


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
        recompute: bool,
    ) -> None:
        super().__init__()
        self.recompute = recompute
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
            differentiable=torch.is_grad_enabled(),
            recompute=self.recompute,
            chunk_bytes=_chunk_bytes(x_BXYZC.device.type),
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
    differentiable: bool
    """Whether a backward pass may follow."""
    recompute: bool
    chunk_bytes: int
    """Size of the largest intermediate of a chunk."""

    def chunks(self, group: BoxGroup, tokens: Tensor) -> Iterator[Tensor]:
        """Indices (w, n) into ``tokens`` (B * X * Y * Z, C) of a few boxes at a time."""
        num_tokens, channels = tokens.shape
        starts = torch.arange(0, num_tokens, self.tokens_per_volume, device=tokens.device)
        index = (starts[:, None, None] + group.token_index).flatten(0, 1)
        n = index.shape[1]
        # scores take num_heads numbers a pair of tokens, the MLP about 4 channels a token
        box_bytes = tokens.element_size() * n * max(self.num_heads * n, 4 * channels)
        return iter(torch.split(index, max(1, self.chunk_bytes // box_bytes)))


class _Chunk(NamedTuple):
    """A few boxes on their way through a block; with gradients on, two graphs joined by attention.

    The first leads from ``tokens`` to q, k and v, the second from ``tokens`` and ``mixed`` (a leaf)
    to ``result``.
    """

    tokens: Tensor
    q: Tensor
    k: Tensor
    v: Tensor
    mixed: Tensor
    """(w, n, C) attended values, before their projection."""
    log_total: Tensor
    """(w, H, n, 1), see `attend`."""
    result: Tensor


class _BoxwiseBlock(torch.autograd.Function):
    """A Swin block, a few boxes at a time.

    What acts on single tokens is differentiated by autograd within each chunk. Attention has its
    own backward: it starts from the saved result, and sums the gradient of the bias on the way.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, plan: _Plan, *parameters: Tensor | None) -> Tensor:
        keep_chunks = plan.differentiable and not plan.recompute
        weights = _detached(parameters, ctx.needs_input_grad[2:])
        tokens = x.detach().reshape(-1, x.shape[-1])
        result = torch.empty_like(tokens)
        kept: list[Tensor] = []
        ctx.plan, ctx.autocast = plan, _autocast_state(x.device.type)
        ctx.chunks, ctx.weights = [], weights if keep_chunks else None
        with torch.set_grad_enabled(keep_chunks), torch.autocast(**ctx.autocast):
            for group in plan.groups:
                bias = _bias(weights, group, plan)
                for index in plan.chunks(group, tokens):
                    chunk = _run(_take(tokens, index), weights, bias, group, plan)
                    _put(result, index, chunk.result)
                    if keep_chunks:
                        ctx.chunks.append(chunk)
                    elif plan.differentiable:
                        kept += [chunk.mixed, chunk.log_total]
        ctx.save_for_backward(x, *parameters, *kept)
        return result.view_as(x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, *saved = ctx.saved_tensors
        count = len(BlockWeights._fields)
        weights = ctx.weights or _detached(saved[:count], ctx.needs_input_grad[2:])
        for value in weights:
            if value is not None:
                value.grad = None  # of an earlier walk through the same graph
        tokens, grad_result = (value.detach().reshape(-1, value.shape[-1]) for value in (x, grad))
        grad_tokens = torch.empty_like(tokens)
        chunks, kept = iter(ctx.chunks), iter(saved[count:])
        with torch.enable_grad(), torch.autocast(**ctx.autocast):
            for group in ctx.plan.groups:
                bias = _bias(weights, group, ctx.plan)
                grad_bias = torch.zeros_like(bias)
                for index in ctx.plan.chunks(group, tokens):
                    chunk = next(chunks, None) or _run(
                        _take(tokens, index),
                        weights,
                        bias,
                        group,
                        ctx.plan,
                        (next(kept), next(kept)),
                    )
                    _backward(chunk, _take(grad_result, index), bias, grad_bias)
                    _put(grad_tokens, index, cast(Tensor, chunk.tokens.grad))
                    chunk.tokens.grad = None
                if bias.requires_grad:
                    torch.autograd.backward(bias, grad_bias)
        return (
            grad_tokens.view_as(x) if ctx.needs_input_grad[0] else None,
            None,
            *(None if value is None else value.grad for value in weights),
        )


def _detached(parameters: Sequence[Tensor | None], needed: Sequence[bool]) -> BlockWeights:
    """Leaves that collect gradients over chunks, apart from the graph that is being walked."""
    leaves = (
        None if value is None else value.detach().requires_grad_(need)
        for value, need in zip(parameters, needed, strict=True)
    )
    return BlockWeights(*cast(Any, leaves))


def _run(
    tokens_wnC: Tensor,
    weights: BlockWeights,
    bias: Tensor,
    group: BoxGroup,
    plan: _Plan,
    attention: tuple[Tensor, Tensor] | None = None,
) -> _Chunk:
    """Compute a chunk, from the known result of attention where there is one."""
    tokens = tokens_wnC.requires_grad_(torch.is_grad_enabled())
    q, k, v = _project(tokens, weights, plan.num_heads, padded=group.is_padded)
    if attention is None:
        with torch.no_grad():
            attended, log_total = attend(q, k, v, bias)
        attention = (_merge_heads(attended), log_total)
    mixed = attention[0].detach().requires_grad_(torch.is_grad_enabled())
    return _Chunk(tokens, q, k, v, mixed, attention[1], _finish(tokens, mixed, weights))


def _backward(chunk: _Chunk, grad: Tensor, bias: Tensor, grad_bias: Tensor) -> None:
    """Fill ``chunk.tokens.grad``; add to the weights' ``grad`` and to ``grad_bias``."""
    # the graphs are retained for a second walk; those that are not kept end with their chunk
    torch.autograd.backward(chunk.result, grad, retain_graph=True)
    mixed, heads = chunk.mixed, bias.shape[0]
    with torch.no_grad():
        *grads, grad_chunk_bias = attend_backward(
            _split_heads(cast(Tensor, mixed.grad), heads),
            *(chunk.q, chunk.k, chunk.v, bias),
            _split_heads(mixed, heads),
            chunk.log_total,
        )
        grad_bias += grad_chunk_bias
    mixed.grad = None
    torch.autograd.backward((chunk.q, chunk.k, chunk.v), grads, retain_graph=True)


def _chunk_bytes(device_type: str) -> int:
    threads = torch.get_num_threads() if device_type == "cpu" else 1
    return CHUNK_BYTES.get(device_type, CHUNK_BYTES["cuda"]) * threads


def _bias(weights: BlockWeights, group: BoxGroup, plan: _Plan) -> Tensor:
    return box_bias(weights.bias_table, group, plan.window)


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
