"""Fusion: image tokens and report features look at each other.

A stack updates two sides in step, each layer reading what the layer before left on both. Both
kinds of block read one side and its partner and return that side, so a stack is two lists of
blocks, and the side that nobody reads at the end simply has one block fewer.
Axes: B batch, n and m tokens of the two sides, D features.
Source: MG-3D, arXiv:2412.05876; the closed form of the gate was derived from the public code.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mg3d.errors import ConfigError
from mg3d.model.linear import Linear, linear


@dataclass(frozen=True, kw_only=True)
class FusionConfig:
    """How the two modalities are mixed."""

    kind: Literal["gate", "cross_attention"] = "cross_attention"
    """Either residual softmax attention and MLP (cross_attention), or the authors' module, which
    scales each token by one number from the other modality (gate)."""
    layers: int = 2
    """Layers a stack, >= 1."""
    heads: int = 8
    """Attention heads, a divisor of `dim`; the gate has one."""
    mlp_ratio: float = 4.0
    """Hidden width of the MLP in units of `dim` (cross_attention only)."""
    mean_over_padding: bool = False
    """Let the gate of image tokens average over the padding of the report too, as the authors do;
    the result then depends on the padded length."""

    def __post_init__(self) -> None:
        if self.layers < 1:
            raise ConfigError(f"fusion.layers is {self.layers}; at least 1 is needed.")


class GateBlock(nn.Module):
    """``x_i <- mean_j sigmoid(<q(x_i), k(y_j)> / sqrt(D)) * v(x_i)``: no residual, no norm.

    Only a number between 0 and 1 crosses from one modality to the other.
    """

    def __init__(self, dim: int, *, mean_over_padding: bool = False) -> None:
        super().__init__()
        self.mean_over_padding = mean_over_padding
        self.query = Linear(dim, dim)
        self.key = Linear(dim, dim)
        self.value = Linear(dim, dim)

    def forward(self, x_BnD: Tensor, y_BmD: Tensor, y_mask_Bm: Tensor) -> Tensor:
        """Scale ``x`` by how much of ``y`` agrees with it; without any ``y`` the scale is 1.

        Args:
            x_BnD: The side to update, (B, n, D).
            y_BmD: Its partner, (B, m, D).
            y_mask_Bm: (B, m) bool, False on padding.

        Returns:
            (B, n, D).
        """
        scores_Bnm = products(self.query, x_BnD, self.key, y_BmD)
        opening_Bnm = torch.sigmoid(scores_Bnm / math.sqrt(x_BnD.shape[-1]))
        present_B = y_mask_Bm.any(dim=1)
        if not self.mean_over_padding:
            opening_Bnm = opening_Bnm * y_mask_Bm[:, None, :]
            count_B = y_mask_Bm.sum(dim=1).clamp(min=1)
        else:
            count_B = torch.full_like(present_B, y_mask_Bm.shape[1], dtype=torch.int64)
        gate_Bn = opening_Bnm.sum(dim=2) / count_B[:, None]
        gate_Bn = torch.where(present_B[:, None], gate_Bn, 1.0)
        value_BnD: Tensor = self.value(x_BnD)
        return gate_Bn[:, :, None] * value_BnD


class CrossAttentionBlock(nn.Module):
    """Pre-norm residual multi-head attention of one side to the other, then a pre-norm MLP."""

    def __init__(self, dim: int, *, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.heads = heads
        hidden = round(dim * mlp_ratio)
        self.norm_query = nn.LayerNorm(dim)
        self.norm_context = nn.LayerNorm(dim)
        self.query = Linear(dim, dim)
        self.key = Linear(dim, dim, bias=False)  # a key bias cancels in the softmax
        self.value = Linear(dim, dim)
        self.out = Linear(dim, dim)
        self.norm_mlp = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(Linear(dim, hidden), nn.GELU(), Linear(hidden, dim))

    def forward(self, x_BnD: Tensor, y_BmD: Tensor, y_mask_Bm: Tensor) -> Tensor:
        """Add to ``x`` what it finds in ``y``; without any ``y`` only the MLP acts.

        Args:
            x_BnD: The side to update, (B, n, D).
            y_BmD: Its partner, (B, m, D).
            y_mask_Bm: (B, m) bool, False on padding.

        Returns:
            (B, n, D).
        """
        context_BmD = self.norm_context(y_BmD)
        found_BnD = attend(
            self.query(self.norm_query(x_BnD)),
            self.key(context_BmD),
            self.value(context_BmD),
            y_mask_Bm,
            heads=self.heads,
        )
        present_B11 = y_mask_Bm.any(dim=1)[:, None, None]
        x_BnD = x_BnD + self.out(found_BnD) * present_B11
        mixed_BnD: Tensor = x_BnD + self.mlp(self.norm_mlp(x_BnD))
        return mixed_BnD


class FusionStack(nn.Module):
    """Layers of one direction of use: a first side that is read, a second that may be.

    The last layer builds the second side only if ``both_sides``, so that no parameter is dead.
    """

    def __init__(
        self, dim: int, config: FusionConfig, *, both_sides: bool, mean_over_padding: bool = False
    ) -> None:
        """Build the blocks.

        Args:
            dim: Features D of both sides.
            config: Kind and sizes.
            both_sides: Whether somebody reads the second side.
            mean_over_padding: Let gates of the second side count padding of the first.
        """
        super().__init__()
        if config.kind == "cross_attention" and dim % config.heads:
            raise ConfigError(
                f"fusion.heads {config.heads} does not divide dim {dim}; change one of them."
            )

        def block(*, over_padding: bool) -> nn.Module:
            if config.kind == "gate":
                return GateBlock(dim, mean_over_padding=over_padding)
            return CrossAttentionBlock(dim, heads=config.heads, mlp_ratio=config.mlp_ratio)

        num_second = config.layers if both_sides else config.layers - 1
        self.both_sides = both_sides
        self.first_blocks = nn.ModuleList(block(over_padding=False) for _ in range(config.layers))
        self.second_blocks = nn.ModuleList(
            block(over_padding=mean_over_padding) for _ in range(num_second)
        )

    def forward(
        self, first_BnD: Tensor, second_BmD: Tensor, first_mask_Bn: Tensor, second_mask_Bm: Tensor
    ) -> Tensor:
        """The first side after all layers, (B, n, D)."""
        first_BnD, second_BmD = self._before_last(
            first_BnD, second_BmD, first_mask_Bn, second_mask_Bm
        )
        fused_BnD: Tensor = self.first_blocks[-1](first_BnD, second_BmD, second_mask_Bm)
        return fused_BnD

    def fuse_both(
        self, first_BnD: Tensor, second_BmD: Tensor, first_mask_Bn: Tensor, second_mask_Bm: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Both sides after all layers, (B, n, D) and (B, m, D); padding of the second is zero."""
        assert self.both_sides, "this stack was built to read its first side only"
        first_BnD, second_BmD = self._before_last(
            first_BnD, second_BmD, first_mask_Bn, second_mask_Bm
        )
        fused_BnD: Tensor = self.first_blocks[-1](first_BnD, second_BmD, second_mask_Bm)
        fused_BmD: Tensor = self.second_blocks[-1](second_BmD, first_BnD, first_mask_Bn)
        return fused_BnD, fused_BmD * second_mask_Bm[:, :, None]

    def _before_last(
        self, first_BnD: Tensor, second_BmD: Tensor, first_mask_Bn: Tensor, second_mask_Bm: Tensor
    ) -> tuple[Tensor, Tensor]:
        num_full = len(self.first_blocks) - 1
        for first_block, second_block in zip(
            self.first_blocks[:num_full], self.second_blocks[:num_full], strict=True
        ):
            first_BnD, second_BmD = (
                first_block(first_BnD, second_BmD, second_mask_Bm),
                second_block(second_BmD, first_BnD, first_mask_Bn),
            )
        return first_BnD, second_BmD


def products(query: nn.Module, x_BnD: Tensor, key: nn.Module, y_BmD: Tensor) -> Tensor:
    """``<q(x_i), k(y_j)>``, (B, n, m); the shorter side carries both matrices.

    The product is bilinear, so the matrix of the longer side can act on the shorter one instead:
    2 min(n, m) rows are multiplied by a matrix, not n + m.
    """
    assert isinstance(query, Linear)  # nn.ModuleList forgets what it holds
    if x_BnD.shape[1] < y_BmD.shape[1]:
        return products(key, y_BmD, query, x_BnD).transpose(1, 2)
    key_BmD: Tensor = key(y_BmD)
    scores_Bnm = x_BnD @ linear(key_BmD, query.weight.t()).transpose(1, 2)
    return scores_Bnm + (key_BmD @ query.bias)[:, None, :]


def attend(
    query_BnD: Tensor, key_BmD: Tensor, value_BmD: Tensor, mask_Bm: Tensor, *, heads: int
) -> Tensor:
    """Multi-head softmax attention over the valid keys; a row without any gives zeros.

    Args:
        query_BnD: (B, n, D), projected.
        key_BmD: (B, m, D), projected.
        value_BmD: (B, m, D), projected.
        mask_Bm: (B, m) bool, False where a key does not exist.
        heads: Number of heads, a divisor of D.

    Returns:
        (B, n, D), the heads side by side.
    """
    present_B = mask_Bm.any(dim=1)
    # A softmax over nothing is NaN: rows without keys look at all of them and are cleared below.
    allowed_Bm = mask_Bm | ~present_B[:, None]
    found_Bhnd = F.scaled_dot_product_attention(
        split_heads(query_BnD, heads),
        split_heads(key_BmD, heads),
        split_heads(value_BmD, heads),
        attn_mask=allowed_Bm[:, None, None, :],
    )
    return found_Bhnd.transpose(1, 2).flatten(2) * present_B[:, None, None]


def split_heads(tokens_BND: Tensor, heads: int) -> Tensor:
    """(B, N, D) -> (B, heads, N, D / heads)."""
    return tokens_BND.view(*tokens_BND.shape[:2], heads, -1).transpose(1, 2)
