"""Disentangled aggregation: what the volume shows of each clause, and of all of them together.

Each clause gets a visual feature x_s; their mean, through tanh(Linear), is a second description y
of the study, to be told apart from other patients'. Axes: B batch, N image tokens, S clauses,
D features. Source: MG-3D, arXiv:2412.05876; the cross-attention variant is ours.
"""

import math

import torch
from torch import Tensor, nn

from mg3d.errors import ConfigError
from mg3d.model.fusion import attend, products
from mg3d.model.linear import Linear


class GateAggregation(nn.Module):
    """The authors' form: ``x_s <- sigmoid(<q(y), k(x_s)> / sqrt(D)) v(x_s)``, y from x, twice.

    The text value itself passes, scaled by a number from the image: mostly text is aggregated.
    """

    NUM_ROUNDS = 2

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.queries = nn.ModuleList(Linear(dim, dim) for _ in range(self.NUM_ROUNDS))
        self.keys = nn.ModuleList(Linear(dim, dim) for _ in range(self.NUM_ROUNDS))
        self.values = nn.ModuleList(Linear(dim, dim) for _ in range(self.NUM_ROUNDS))
        self.summary = Linear(dim, dim)

    def forward(
        self, clauses_BSD: Tensor, clause_mask_BS: Tensor, volume_BD: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Aggregate.

        Args:
            clauses_BSD: Clause features, (B, S, D).
            clause_mask_BS: (B, S) bool.
            volume_BD: The volume vector c, (B, D).

        Returns:
            x (B, S, D), zeros on padding, and y (B, D).
        """
        x_BSD, y_BD = clauses_BSD, volume_BD
        for query, key, value in zip(self.queries, self.keys, self.values, strict=True):
            scores_BS = products(key, x_BSD, query, y_BD[:, None]).squeeze(-1)
            gate_BS = torch.sigmoid(scores_BS / math.sqrt(x_BSD.shape[-1]))
            x_BSD = gate_BS[:, :, None] * value(x_BSD) * clause_mask_BS[:, :, None]
            y_BD = torch.tanh(self.summary(masked_mean(x_BSD, clause_mask_BS)))
        return x_BSD, y_BD


class AttentionAggregation(nn.Module):
    """``x_s = sum_n softmax_n(<q(Z_s), k(V_n)>) v(V_n)``: values from the image only.

    There is no residual, so nothing of the clause but its question reaches x_s.
    """

    def __init__(self, dim: int, *, heads: int, summary: bool) -> None:
        """Build; without ``summary`` there is no y, for models that only compare clauses."""
        super().__init__()
        if dim % heads:
            raise ConfigError(
                f"fusion.heads {heads} does not divide dim {dim}; change one of them."
            )
        self.heads = heads
        self.query = Linear(dim, dim)
        self.key = Linear(dim, dim, bias=False)  # a key bias cancels in the softmax
        self.value = Linear(dim, dim)
        self.summary = Linear(dim, dim) if summary else None

    def forward(
        self, clauses_BSD: Tensor, clause_mask_BS: Tensor, tokens_BND: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Aggregate.

        Args:
            clauses_BSD: Clause features Z, (B, S, D).
            clause_mask_BS: (B, S) bool.
            tokens_BND: Image tokens V, (B, N, D).

        Returns:
            x (B, S, D), zeros on padding, and y (B, D) or None without summary.
        """
        everywhere_BN = torch.ones(tokens_BND.shape[:2], dtype=torch.bool, device=tokens_BND.device)
        found_BSD = attend(
            self.query(clauses_BSD),
            self.key(tokens_BND),
            self.value(tokens_BND),
            everywhere_BN,
            heads=self.heads,
        )
        x_BSD = found_BSD * clause_mask_BS[:, :, None]
        if self.summary is None:
            return x_BSD, None
        return x_BSD, torch.tanh(self.summary(masked_mean(x_BSD, clause_mask_BS)))


def masked_mean(vectors_BSD: Tensor, mask_BS: Tensor) -> Tensor:
    """Mean over the valid clauses, (B, D); zeros where there is none."""
    total_BD = (vectors_BSD * mask_BS[:, :, None]).sum(dim=1)
    return total_BD / mask_BS.sum(dim=1).clamp(min=1)[:, None]
