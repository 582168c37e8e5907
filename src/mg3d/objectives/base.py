"""What an objective is, what it is given and what it returns.

Objectives hold no parameters: heads, poolers and temperatures live in the model, and `Views`
carries their outputs. The one invariant: an objective returns THIS RANK'S SHARE of the loss of
the global batch, so the sum over ranks is the loss, whatever the number of processes.
Axes: B local batch, M masked tokens, S clauses, D features, E embedding, X Y Z voxels.
"""

from dataclasses import dataclass, field
from typing import Protocol, Self

import torch
from torch import Tensor

from mg3d.batch import StudyBatch
from mg3d.distributed import sum_over_ranks


@dataclass(kw_only=True)
class Counts:
    """What the means of the masked terms are divided by; () int64 each.

    Known before anything is encoded with a gradient, so that a part of the batch can be trained on
    its own and still weigh what it weighs in the whole.
    """

    masked_tokens: Tensor
    clauses: Tensor
    hidden_voxels: Tensor

    def __add__(self, other: Self) -> "Counts":
        return Counts(
            masked_tokens=self.masked_tokens + other.masked_tokens,
            clauses=self.clauses + other.clauses,
            hidden_voxels=self.hidden_voxels + other.hidden_voxels,
        )

    def over_ranks(self) -> "Counts":
        """The sums over all processes, in one message."""
        own = torch.stack([self.masked_tokens, self.clauses, self.hidden_voxels])
        masked_tokens, clauses, hidden_voxels = sum_over_ranks(own)
        return Counts(masked_tokens=masked_tokens, clauses=clauses, hidden_voxels=hidden_voxels)


@dataclass(kw_only=True)
class Views:
    """What the model saw of one batch; only the fields that some objective needs are filled.

    Field names are the vocabulary of `Objective.needs`.
    """

    has_report: Tensor
    """(B,) bool: the study has at least one clause."""
    clause_mask: Tensor
    """(B, S) bool."""

    # plain_alignment, clip, siglip
    image_embedding: Tensor | None = None
    """(B, E) L2-normalised, from the image alone."""
    text_embedding: Tensor | None = None
    """(B, E) L2-normalised, from the report alone."""
    logit_scale: Tensor | None = None
    """(1,) positive factor on cosines (1 / temperature), learned."""
    logit_bias: Tensor | None = None
    """(1,) added to the logits, learned (siglip only)."""

    # global_alignment
    fused_pair: Tensor | None = None
    """(B, E) L2-normalised embedding of [a'; c'] (u in the method)."""
    plain_pair: Tensor | None = None
    """(B, E) L2-normalised embedding of [a; c] (v in the method)."""

    # aggregation_contrast
    aggregated: Tensor | None = None
    """(B, E) L2-normalised embedding of the re-aggregated clauses (y in the method)."""
    aggregation_anchor: Tensor | None = None
    """(B, E) L2-normalised embedding it is contrasted with (a, or c' for the gate)."""

    # sentence_similarity
    clause_visual: Tensor | None = None
    """(B, S, E) visual feature of each clause (e in the method)."""
    clause_reference: Tensor | None = None
    """(B, S, H) frozen, centred text-only feature of each clause (m in the method), no gradient."""
    similarity_cutoffs: tuple[float, float] | None = None
    """(dissimilar_below, similar_above) cosines of clause_reference."""

    # masked_report
    token_logits: Tensor | None = None
    """(M, vocabulary) for the masked tokens only, in row-major order of the batch."""
    token_targets: Tensor | None = None
    """(M,) int64 original ids."""
    clause_reconstruction: Tensor | None = None
    """(B, S, D) r in the method."""
    clause_target: Tensor | None = None
    """(B, S, D) t in the method, no gradient."""

    # masked_volume
    reconstruction: Tensor | None = None
    """(B, 1, X, Y, Z)."""
    voxel_mask: Tensor | None = None
    """(B, 1, X, Y, Z) bool, True where the voxel was hidden."""

    # masked_report, masked_volume
    counts: Counts | None = None
    """Of the global batch, over all processes."""

    def count(self) -> Counts:
        """What these rows add to `Counts`."""
        nothing = torch.zeros((), dtype=torch.int64, device=self.clause_mask.device)
        targets, voxels = self.token_targets, self.voxel_mask
        return Counts(
            masked_tokens=nothing if targets is None else nothing + len(targets),
            clauses=self.clause_mask.sum(),
            hidden_voxels=nothing if voxels is None else voxels.sum(),
        )


@dataclass(frozen=True)
class StepContext:
    """Where in the run a step is; random draws of objectives derive from it."""

    seed: int
    epoch: int
    step: int


@dataclass(kw_only=True)
class ObjectiveOutput:
    """This rank's share of a loss and of its metrics: summing over ranks gives the global value."""

    loss: Tensor
    """Scalar, attached to the graph even when it is 0."""
    metrics: dict[str, Tensor] = field(default_factory=dict)
    """Detached scalars, each a share of a global value (e.g. "top1": right here / all counted)."""


class Objective(Protocol):
    """One term of the training loss."""

    name: str
    needs: frozenset[str]
    couples_rows: bool
    """Whether rows of the global batch are compared with each other. Such a term needs the features
    of all of them at once; any other is a sum over rows, divided by `Counts`."""

    def forward(self, views: Views, batch: StudyBatch, step: StepContext) -> ObjectiveOutput:
        """The share of this rank; see the module docstring."""
        ...
