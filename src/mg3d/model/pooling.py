"""From many tokens to one vector: attention pools, and a read-out that keeps position.

Mean pooling of image tokens kept contrastive losses at ln(batch) in trials; what made them take
off was a read-out that knows where a token lies. So both volume poolers hold one set of weights a
position, and a model is tied to its token grid.
Axes: B batch, N tokens, D features, Q queries, h heads, d features a head,
K = h Q, P channels a token.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from mg3d.errors import ConfigError
from mg3d.model.fusion import split_heads
from mg3d.model.linear import Linear


@dataclass(frozen=True, kw_only=True)
class PoolingConfig:
    """How a volume and a report become one vector each."""

    kind: Literal["attention", "positional"] = "attention"
    """Of volumes. "attention": learned queries and 3D positions; "positional": a few channels of
    each token, side by side, through one linear layer."""
    report_kind: Literal["attention", "mean"] = "attention"
    """Of reports. "attention": learned queries over the clauses; "mean": their normalised mean,
    under which a prompt, being one clause, is read like any clause of a report."""
    num_queries: int = 4
    """Learned queries of an attention pool, >= 1."""
    heads: int = 8
    """Attention heads, a divisor of `dim`."""
    token_channels: int = 16
    """Channels kept of each token by the positional read-out, >= 1."""

    def __post_init__(self) -> None:
        if min(self.num_queries, self.token_channels) < 1:
            raise ConfigError("pooling.num_queries and pooling.token_channels must be at least 1.")


class AttentionPool(nn.Module):
    """Learned queries attend to the tokens; what they find is mixed into one vector."""

    def __init__(self, dim: int, *, num_queries: int, heads: int) -> None:
        super().__init__()
        if dim % heads:
            raise ConfigError(
                f"pooling.heads {heads} does not divide dim {dim}; change one of them."
            )
        self.heads = heads
        self.query_tokens = nn.Parameter(torch.randn(num_queries, dim))
        self.norm = nn.LayerNorm(dim)
        self.key = Linear(dim, dim, bias=False)  # a key bias cancels in the softmax
        self.value = Linear(dim, dim)
        self.out = Linear(num_queries * dim, dim)

    def forward(self, tokens_BND: Tensor, mask_BN: Tensor) -> Tensor:
        """Pool the valid tokens.

        Args:
            tokens_BND: (B, N, D).
            mask_BN: (B, N) bool, False on padding.

        Returns:
            (B, D); a constant for a row without any token.
        """
        pooled_BD: Tensor = self.out(self.read(tokens_BND, mask_BN))
        return pooled_BD

    def read(self, tokens_BND: Tensor, mask_BN: Tensor) -> Tensor:
        """What goes into the last linear layer `out`, (B, Q D)."""
        # A few queries against many tokens: the matrices of key and value act on what the queries
        # ask and find, 2 Q rows of a volume, and not on its N tokens.
        width = tokens_BND.shape[-1] // self.heads
        normed_BND = self.norm(tokens_BND)
        queries_hQd = self.query_tokens.view(-1, self.heads, width).transpose(0, 1)
        key_hdD = self.key.weight.view(self.heads, width, -1)
        value_hdD = self.value.weight.view(self.heads, width, -1)
        asked_KD = (queries_hQd @ key_hdD).flatten(0, 1) / math.sqrt(width)
        present_B = mask_BN.any(dim=1)
        absent_BN = ~mask_BN & present_B[:, None]  # a softmax over nothing would be NaN
        scores_BKN = (asked_KD @ normed_BND.transpose(1, 2)).masked_fill(
            absent_BN[:, None], -torch.inf
        )
        seen_BhQD = (scores_BKN.softmax(dim=-1) @ normed_BND).unflatten(1, (self.heads, -1))
        found_BhQd = seen_BhQD @ value_hdD.transpose(1, 2)
        found_BQD = found_BhQd.transpose(1, 2).flatten(2) + self.value.bias
        read: Tensor = found_BQD.flatten(1) * present_B[:, None]
        return read

    def leave_one_out(self, tokens_BND: Tensor) -> Tensor:
        """Pool (B, N, D) N times, each time without one of the tokens, (B, N, D)."""
        normed_BND = self.norm(tokens_BND)
        keys_BhNd = split_heads(self.key(normed_BND), self.heads)
        values_BhNd = split_heads(self.value(normed_BND), self.heads)
        queries_1hQd = split_heads(self.query_tokens[None], self.heads)
        scores_BhQN = queries_1hQd @ keys_BhNd.transpose(2, 3) / math.sqrt(keys_BhNd.shape[-1])
        share_BhQN = scores_BhQN.softmax(dim=-1)
        found_BhQd = share_BhQN @ values_BhNd
        parts_BhQNd = share_BhQN[..., None] * values_BhNd[:, :, None]
        remaining_BhQN = (1 - share_BhQN).clamp(min=torch.finfo(share_BhQN.dtype).eps)
        without_BhQNd = (found_BhQd[:, :, :, None] - parts_BhQNd) / remaining_BhQN[..., None]
        pooled_BND: Tensor = self.out(without_BhQNd.permute(0, 3, 2, 1, 4).flatten(2))
        return pooled_BND


class MeanPool(nn.Module):
    """The mean of the normalised clauses of a report, through one linear layer."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.out = Linear(dim, dim)

    def forward(self, tokens_BND: Tensor, mask_BN: Tensor) -> Tensor:
        """Pool the valid tokens of (B, N, D), mask (B, N) bool, to (B, D)."""
        pooled_BD: Tensor = self.out(self.read(tokens_BND, mask_BN))
        return pooled_BD

    def read(self, tokens_BND: Tensor, mask_BN: Tensor) -> Tensor:
        """What goes into the last linear layer `out`, (B, D); 0 for a row without any token."""
        share_BN = mask_BN / mask_BN.sum(dim=1, keepdim=True).clamp(min=1)
        normed_BND: Tensor = self.norm(tokens_BND)
        return torch.einsum("bn,bnd->bd", share_BN.to(normed_BND.dtype), normed_BND)


class VolumeAttentionPool(nn.Module):
    """Attention pool of image tokens with a learned vector for each place in the grid."""

    def __init__(self, dim: int, *, num_tokens: int, num_queries: int, heads: int) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.randn(num_tokens, dim) * 0.02)  # as in ViT
        self.pool = AttentionPool(dim, num_queries=num_queries, heads=heads)

    def forward(self, tokens_BND: Tensor) -> Tensor:
        """Pool (B, N, D) to (B, D)."""
        pooled_BD: Tensor = self.out(self.read(tokens_BND))
        return pooled_BD

    @property
    def out(self) -> Linear:
        """The last linear layer."""
        return self.pool.out

    def read(self, tokens_BND: Tensor) -> Tensor:
        """What goes into the last linear layer `out`, (B, Q D)."""
        everywhere_BN = torch.ones(tokens_BND.shape[:2], dtype=torch.bool, device=tokens_BND.device)
        return self.pool.read(tokens_BND + self.positions, everywhere_BN)

    def leave_one_out(self, tokens_BND: Tensor) -> Tensor:
        """Pool (B, N, D) N times, each time without one of the tokens, (B, N, D)."""
        return self.pool.leave_one_out(tokens_BND + self.positions)


class PositionalReadout(nn.Module):
    """A few channels of every token, laid side by side over the grid, through one linear layer."""

    def __init__(self, dim: int, *, num_tokens: int, token_channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.reduce = Linear(dim, token_channels)
        self.out = Linear(num_tokens * token_channels, dim)

    def forward(self, tokens_BND: Tensor) -> Tensor:
        """Read (B, N, D) out to (B, D)."""
        pooled_BD: Tensor = self.out(self.read(tokens_BND))
        return pooled_BD

    def read(self, tokens_BND: Tensor) -> Tensor:
        """What goes into the last linear layer `out`, (B, N P)."""
        channels_BNP: Tensor = self.reduce(self.norm(tokens_BND))
        return channels_BNP.flatten(1)

    def leave_one_out(self, tokens_BND: Tensor) -> Tensor:
        """Read (B, N, D) out N times, one token replaced by the volume's mean token, (B, N, D)."""
        channels_BNP = self.reduce(self.norm(tokens_BND))
        weight_DNP = self.out.weight.view(-1, *channels_BNP.shape[1:])
        surplus_BNP = channels_BNP - channels_BNP.mean(dim=1, keepdim=True)
        lost_BND = torch.einsum("bnp,dnp->bnd", surplus_BNP, weight_DNP)
        pooled_BD: Tensor = self.out(channels_BNP.flatten(1))
        return pooled_BD[:, None] - lost_BND


VolumePool = VolumeAttentionPool | PositionalReadout
ReportPool = AttentionPool | MeanPool


def build_volume_pool(dim: int, num_tokens: int, config: PoolingConfig) -> VolumePool:
    """The volume pooler that ``config.kind`` names, for a grid of ``num_tokens`` tokens."""
    if config.kind == "positional":
        return PositionalReadout(dim, num_tokens=num_tokens, token_channels=config.token_channels)
    return VolumeAttentionPool(
        dim, num_tokens=num_tokens, num_queries=config.num_queries, heads=config.heads
    )


def build_report_pool(dim: int, config: PoolingConfig) -> ReportPool:
    """The pool over the clauses of a report that ``config.report_kind`` names."""
    if config.report_kind == "mean":
        return MeanPool(dim)
    return AttentionPool(dim, num_queries=config.num_queries, heads=config.heads)
