"""One Swin block: window attention and an MLP, each with a residual connection.

A block acts on every box of tokens separately (`window_boxes`), so it is computed a few boxes at a
time, small enough to stay in the cache; scores of attention never outlive their chunk. With
``recompute``, the backward pass keeps only the block's input, the attended values and their
log-sum-exp, and computes everything else again, chunk by chunk. Both ways give the same numbers.

Parameter names are MONAI's (`SwinTransformerBlock`), so weights move between both unchanged.
Axes: B batch, X Y Z grid, W boxes, n tokens of a box, H heads, C channels.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from mg3d.model.box_chunks import Chunk, Run, box_order, cut_chunks
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
    split_heads,
    split_heads_backward,
)
from mg3d.model.window_attention import AttentionKernel, box_biases, kernel_for
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
        bytes_per_token = x_BXYZC.element_size() * self.mlp.linear1.out_features  # the widest
        max_tokens = _chunk_bytes(x_BXYZC.device.type) // bytes_per_token
        plan = _Plan(
            groups=groups,
            chunks=cut_chunks(groups, len(x_BXYZC), max_tokens),
            num_heads=self.num_heads,
            differentiable=torch.is_grad_enabled(),
            recompute=self.recompute,
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
    chunks: tuple[Chunk, ...]
    num_heads: int
    differentiable: bool
    """Whether a backward pass may follow."""
    recompute: bool
    product_dtype: torch.dtype
    kernel: AttentionKernel

    def weights(self, parameters: Sequence[Tensor | None]) -> BlockWeights:
        """The parameters as the chunks read them."""
        return BlockWeights(*cast(Any, parameters)).for_products_in(self.product_dtype)

    def biases(self, table: Tensor) -> list[Tensor]:
        """What the boxes of each group add to their scores, in float32 at least."""
        table = table.to(torch.promote_types(table.dtype, torch.float32))
        return box_biases(table, self.groups)


class _Inputs(NamedTuple):
    """What all chunks read."""

    plan: _Plan
    weights: BlockWeights
    biases: Sequence[Tensor]
    """Of each group, see `box_biases`."""

    def heads(self, run: Run, entered: Entered) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of a run."""
        return split_heads(
            entered.qkv[run.tokens],
            self.weights,
            run.num_boxes,
            self.plan.num_heads,
            padded=self.plan.groups[run.group].is_padded,
        )


class _Sums(NamedTuple):
    """What all chunks add to."""

    weights: WeightGradients
    biases: Sequence[Tensor]


class _Computed(NamedTuple):
    """A chunk on its way through a block."""

    tokens: Tensor
    entered: Entered
    mixed: Tensor
    """(T, C) attended values, before their projection."""
    kept: tuple[Tensor, ...]
    """Of attention, run by run, see `AttentionKernel`."""
    left: Left


class _BoxwiseBlock(torch.autograd.Function):
    """A Swin block, a few boxes at a time; the biases of boxes are left to autograd."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, plan: _Plan, *parameters: Tensor | None) -> Tensor:
        weights = plan.weights(parameters)
        order, tokens = box_order(plan.groups, len(x)), _rows(x)
        result = torch.empty_like(tokens)
        kept: list[Tensor] = []
        ctx.plan, ctx.computed = plan, []
        with torch.autocast(x.device.type, enabled=False), through_onednn():
            inputs = _Inputs(plan, weights, plan.biases(weights.bias_table))
            for chunk in plan.chunks:
                index = order[chunk.tokens]
                computed = _compute(chunk, tokens.index_select(0, index), inputs)
                result.index_copy_(0, index, result_of(computed.left, weights))
                if plan.differentiable and plan.recompute:
                    kept += [computed.mixed, *computed.kept]
                elif plan.differentiable:
                    ctx.computed.append(computed)
        ctx.save_for_backward(x, *parameters, *kept)
        return result.view_as(x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, *saved = ctx.saved_tensors
        plan: _Plan = ctx.plan
        count = len(BlockWeights._fields)
        grads = WeightGradients(BlockWeights(*saved[:count]), ctx.needs_input_grad[2:])
        weights = plan.weights(saved[:count])
        order, tokens, grad_result = box_order(plan.groups, len(x)), _rows(x), _rows(grad)
        grad_tokens = torch.empty_like(tokens)
        all_computed, kept = iter(ctx.computed), iter(saved[count:])
        with torch.autocast(x.device.type, enabled=False), through_onednn():
            with torch.enable_grad():
                table = weights.bias_table.detach().requires_grad_()
                graphs = plan.biases(table)
            inputs = _Inputs(plan, weights, [graph.detach() for graph in graphs])
            sums = _Sums(grads, [torch.zeros_like(bias) for bias in inputs.biases])
            for chunk in plan.chunks:
                index = order[chunk.tokens]
                computed = next(all_computed, None) or _compute(
                    chunk, tokens.index_select(0, index), inputs, kept
                )
                grad_chunk = _backward(
                    chunk, computed, grad_result.index_select(0, index), inputs, sums
                )
                grad_tokens.index_copy_(0, index, grad_chunk)
            if grads.wants("bias_table"):
                grads.add("bias_table", *torch.autograd.grad(graphs, table, sums.biases))
        of_x = grad_tokens.view_as(x) if ctx.needs_input_grad[0] else None
        return of_x, None, *grads.in_order()


def _compute(
    chunk: Chunk, tokens_TC: Tensor, inputs: _Inputs, known: Iterator[Tensor] | None = None
) -> _Computed:
    """Compute a chunk, from the results of attention where they are known."""
    entered = enter(tokens_TC, inputs.weights)
    if known is not None:
        mixed, *kept = itertools.islice(known, 1 + len(chunk.runs))
    else:
        mixed, kept = torch.empty_like(entered.normed.value), []
        for run in chunk.runs:
            q, k, v = inputs.heads(run, entered)
            attended, kept_of_run = inputs.plan.kernel.attend(q, k, v, inputs.biases[run.group])
            _by_head(mixed[run.tokens], q).copy_(attended)
            kept.append(kept_of_run)
    left = leave(tokens_TC, mixed, inputs.weights)
    return _Computed(tokens_TC, entered, mixed, tuple(kept), left)


def _backward(
    chunk: Chunk, computed: _Computed, grad_TC: Tensor, inputs: _Inputs, sums: _Sums
) -> Tensor:
    """Gradient of the chunk's tokens; adds to ``sums``."""
    tokens, entered, mixed, kept, left = computed
    weights = inputs.weights
    grad_tokens, grad_mixed = leave_backward(grad_TC, left, mixed, weights, sums.weights)
    grad_qkv = torch.empty_like(entered.qkv)
    for run, kept_of_run in zip(chunk.runs, kept, strict=True):
        q, k, v = inputs.heads(run, entered)
        grad = _by_head(grad_mixed[run.tokens], q).contiguous()
        grads = inputs.plan.kernel.backward(grad, q, k, v, inputs.biases[run.group], kept_of_run)
        sums.biases[run.group].add_(grads.bias)
        split_heads_backward(grads[:3], grad_qkv[run.tokens], sums.weights)
    return enter_backward(grad_qkv, entered, tokens, weights, sums.weights).add_(grad_tokens)


def _by_head(mixed_TC: Tensor, like_WHnd: Tensor) -> Tensor:
    W, H, n, d = like_WHnd.shape
    return mixed_TC.view(W, n, H, d).transpose(1, 2)


def _rows(x_BXYZC: Tensor) -> Tensor:
    return x_BXYZC.detach().reshape(-1, x_BXYZC.shape[-1])


def _chunk_bytes(device_type: str) -> int:
    threads = torch.get_num_threads() if device_type == "cpu" else 1
    return CHUNK_BYTES.get(device_type, CHUNK_BYTES["cuda"]) * threads


def _product_dtype(x: Tensor) -> torch.dtype:
    """Precision of the matrix products: what autocast asks for, which leaves float64 alone."""
    device = x.device.type
    if torch.is_autocast_enabled(device) and x.dtype != torch.float64:
        return torch.get_autocast_dtype(device)
    return x.dtype
