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
from torch import Tensor, nn

from mg3d.model.products import through_onednn
from mg3d.model.token_layers import (
    BlockWeights,
    Entered,
    Left,
    WeightGradients,
    enter,
    enter_backward,
    leave,
    leave_backward,
    result_of,
)
from mg3d.model.window_attention import AttentionKernel, box_bias, kernel_for
from mg3d.model.window_boxes import (
    BoxGroup,
    RelativePositions,
    Triple,
    box_groups,
    num_relative_positions,
)

CHUNK_BYTES = {"cpu": 2**22, "cuda": 2**29}
"""Size of the largest intermediate of one chunk: what a core's cache holds (per thread), or enough
work to fill a GPU. On one core, times were flat within 10 % from 2 megabytes to 16."""


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
            tokens_per_volume=math.prod(grid),
            differentiable=torch.is_grad_enabled(),
            recompute=self.recompute,
            chunk_bytes=_chunk_bytes(x_BXYZC.device.type),
            product_dtype=_product_dtype(x_BXYZC),
            kernel=kernel_for(x_BXYZC.device),
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
    tokens_per_volume: int
    differentiable: bool
    """Whether a backward pass may follow."""
    recompute: bool
    chunk_bytes: int
    """Size of the largest intermediate of a chunk."""
    product_dtype: torch.dtype
    kernel: AttentionKernel

    def weights(self, parameters: Sequence[Tensor | None]) -> BlockWeights:
        """The parameters as the chunks read them."""
        return BlockWeights(*cast(Any, parameters)).for_products_in(self.product_dtype)

    def bias(self, table: Tensor, group: BoxGroup) -> Tensor:
        """What a group's boxes add to their scores, in float32 at least."""
        return box_bias(
            table.to(torch.promote_types(table.dtype, torch.float32)), group, self.window
        )

    def chunks(self, group: BoxGroup, tokens: Tensor) -> Iterator[Tensor]:
        """Indices (w, n) into ``tokens`` (B * X * Y * Z, C) of a few boxes at a time."""
        num_tokens, channels = tokens.shape
        starts = torch.arange(0, num_tokens, self.tokens_per_volume, device=tokens.device)
        index = (starts[:, None, None] + group.token_index).flatten(0, 1)
        n = index.shape[1]
        box_bytes = tokens.element_size() * n * 4 * channels  # of the MLP, the widest
        return iter(torch.split(index, max(1, self.chunk_bytes // box_bytes)))


class _Chunk(NamedTuple):
    """A few boxes on their way through a block."""

    tokens: Tensor
    entered: Entered
    mixed: Tensor
    """(T, C) attended values, before their projection."""
    kept: Tensor
    """Of attention, see `AttentionKernel`."""
    left: Left


class _BoxwiseBlock(torch.autograd.Function):
    """A Swin block, a few boxes at a time; the bias of a box is left to autograd."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, plan: _Plan, *parameters: Tensor | None) -> Tensor:
        weights = plan.weights(parameters)
        tokens = x.detach().reshape(-1, x.shape[-1])
        result = torch.empty_like(tokens)
        kept: list[Tensor] = []
        ctx.plan, ctx.chunks = plan, []
        with torch.autocast(x.device.type, enabled=False), through_onednn():
            for group in plan.groups:
                bias = plan.bias(weights.bias_table, group)
                for index in plan.chunks(group, tokens):
                    chunk = _run(_take(tokens, index), index, weights, bias, group, plan.kernel)
                    _put(result, index, result_of(chunk.left, weights))
                    if plan.differentiable and plan.recompute:
                        kept += [chunk.mixed, chunk.kept]
                    elif plan.differentiable:
                        ctx.chunks.append(chunk)
        ctx.save_for_backward(x, *parameters, *kept)
        return result.view_as(x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, *saved = ctx.saved_tensors
        plan: _Plan = ctx.plan
        count = len(BlockWeights._fields)
        sums = WeightGradients(BlockWeights(*saved[:count]), ctx.needs_input_grad[2:])
        weights = plan.weights(saved[:count])
        tokens, grad_result = (value.detach().reshape(-1, value.shape[-1]) for value in (x, grad))
        grad_tokens = torch.empty_like(tokens)
        chunks, kept = iter(ctx.chunks), iter(saved[count:])
        with torch.autocast(x.device.type, enabled=False), through_onednn():
            for group in plan.groups:
                with torch.enable_grad():
                    table = weights.bias_table.detach().requires_grad_()
                    bias_graph = plan.bias(table, group)
                bias = bias_graph.detach()
                grad_bias = torch.zeros_like(bias)
                for index in plan.chunks(group, tokens):
                    chunk = next(chunks, None) or _run(
                        _take(tokens, index),
                        index,
                        weights,
                        bias,
                        group,
                        plan.kernel,
                        (next(kept), next(kept)),
                    )
                    grad_chunk = _backward(
                        chunk,
                        _take(grad_result, index),
                        weights,
                        bias,
                        grad_bias,
                        sums,
                        plan.kernel,
                    )
                    _put(grad_tokens, index, grad_chunk)
                if sums.wants("bias_table"):
                    sums.add("bias_table", *torch.autograd.grad(bias_graph, table, grad_bias))
        return (
            grad_tokens.view_as(x) if ctx.needs_input_grad[0] else None,
            None,
            *sums.in_order(),
        )


def _run(
    tokens_TC: Tensor,
    index_wn: Tensor,
    weights: BlockWeights,
    bias: Tensor,
    group: BoxGroup,
    kernel: AttentionKernel,
    attention: tuple[Tensor, Tensor] | None = None,
) -> _Chunk:
    """Compute a chunk, from the known result of attention where there is one."""
    heads = bias.shape[0]
    entered = enter(tokens_TC, weights, len(index_wn), heads, padded=group.is_padded)
    if attention is None:
        attended, kept = kernel.attend(entered.q, entered.k, entered.v, bias)
        attention = attended.transpose(1, 2).reshape(tokens_TC.shape), kept
    return _Chunk(tokens_TC, entered, *attention, leave(tokens_TC, attention[0], weights))


def _backward(
    chunk: _Chunk,
    grad_TC: Tensor,
    weights: BlockWeights,
    bias: Tensor,
    grad_bias: Tensor,
    sums: WeightGradients,
    kernel: AttentionKernel,
) -> Tensor:
    """Gradient of the chunk's tokens; adds to ``grad_bias`` and to the weights' ``sums``."""
    entered = chunk.entered
    grad_tokens, grad_mixed = leave_backward(grad_TC, chunk.left, chunk.mixed, weights, sums)
    grads = kernel.backward(
        _split_heads(grad_mixed, entered.q),
        *(entered.q, entered.k, entered.v, bias),
        chunk.kept,
    )
    grad_bias += grads.bias
    return enter_backward(grads[:3], entered, chunk.tokens, weights, sums).add_(grad_tokens)


def _chunk_bytes(device_type: str) -> int:
    threads = torch.get_num_threads() if device_type == "cpu" else 1
    return CHUNK_BYTES.get(device_type, CHUNK_BYTES["cuda"]) * threads


def _split_heads(mixed_TC: Tensor, like_WHnd: Tensor) -> Tensor:
    W, H, n, d = like_WHnd.shape
    return mixed_TC.view(W, n, H, d).transpose(1, 2).contiguous()


def _take(tokens: Tensor, index: Tensor) -> Tensor:
    return tokens.index_select(0, index.flatten())


def _put(tokens: Tensor, index: Tensor, chunk: Tensor) -> None:
    tokens.index_copy_(0, index.flatten(), chunk)


def _product_dtype(x: Tensor) -> torch.dtype:
    """Precision of the matrix products: what autocast asks for, which leaves float64 alone."""
    device = x.device.type
    if torch.is_autocast_enabled(device) and x.dtype != torch.float64:
        return torch.get_autocast_dtype(device)
    return x.dtype
