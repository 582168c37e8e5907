"""What the parts of the model hand to each other. Axes: B batch, N image tokens, L report
tokens, S clauses, D features, C channels.

Plain dataclasses, no behaviour. Every clause tensor is padded to the batch's largest S; rows of
padding hold zeros and `clause_mask` says which are real.
"""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class FeatureInfo:
    """One stage of an image encoder: its channels, and its stride in voxels along (x, y, z)."""

    channels: int
    stride: tuple[int, int, int]


@dataclass(kw_only=True)
class ImageFeatures:
    """An encoded volume."""

    tokens: Tensor
    """(B, N, C) last stage, flattened x-major (z fastest); (B, N, D) after the projection."""
    grid: tuple[int, int, int]
    """Tokens along (x, y, z); their product is N."""
    stages: tuple[Tensor, ...] = ()
    """Feature maps (B, C_i, X_i, Y_i, Z_i), finest first; empty unless asked for."""
    pooled: Tensor | None = None
    """(B, D) volume vector, c in the method; the model fills it in when it first needs it."""


@dataclass(kw_only=True)
class TextFeatures:
    """An encoded report."""

    tokens: Tensor
    """(B, L, D) projected tokens, W in the method."""
    token_mask: Tensor
    """(B, L) bool."""
    clause_ids: Tensor
    """(B, L) int64, as in StudyBatch."""
    clauses: Tensor
    """(B, S, D) mean of the tokens of each clause, Z in the method; zeros on padding. S >= 1."""
    clause_mask: Tensor
    """(B, S) bool; a row without any True is a study without a report."""
    pooled: Tensor | None = None
    """(B, D) report vector, a in the method; the model fills it in when it first needs it."""


@dataclass(kw_only=True)
class FusedFeatures:
    """Image tokens and clauses after each has looked at the other; None where nobody reads it."""

    image_tokens: Tensor | None
    """(B, N, D)."""
    clauses: Tensor | None
    """(B, S, D), zeros on padding."""
    pooled_image: Tensor | None = None
    """(B, D) fused volume vector, c' in the method; filled in when first needed."""
