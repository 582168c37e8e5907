"""masked_report: hidden words of the report, read back with the volume's help (paper: MLM + SAL).

    L = mean over masked tokens of CE(logits, token)
      + 0.1 * mean over clauses of (1 - cos(r_s, t_s))

r_s is the head's guess of clause s from the masked report and the clean volume, t_s the clause's
clean feature, without gradient. Each mean is a sum over the global batch by a count over it.
Source: MG-3D, arXiv:2412.05876, complementary-modality-guided local reconstruction. The fixed
target in the full feature space is ours: two trained sides may agree on a constant.
"""

from dataclasses import dataclass

from torch.nn import functional as F

from mg3d.batch import StudyBatch
from mg3d.errors import ConfigError
from mg3d.objectives.base import ObjectiveOutput, StepContext, Views
from mg3d.objectives.precision import at_least_float32


@dataclass(frozen=True, kw_only=True)
class MaskedReportConfig:
    """Reconstruction of masked report words and clauses (sentence-MLM and SAL in the paper)."""

    weight: float = 1.0
    """Factor on this loss in the total; 0 switches the objective off."""
    mask_ratio: float = 0.15
    """Share of a report's words that are hidden, in (0, 1]; at least one word of every report."""
    clause_weight: float = 0.1
    """Factor on the clause term within this loss, at least 0."""


class MaskedReport:
    """Cross-entropy of masked tokens plus cosine distance of reconstructed clauses."""

    name = "masked_report"
    needs = frozenset(
        {"token_logits", "token_targets", "clause_reconstruction", "clause_target", "counts"}
    )
    couples_rows = False

    def __init__(self, settings: MaskedReportConfig) -> None:
        if not 0 <= settings.clause_weight < float("inf"):
            raise ConfigError(
                f"objectives.masked_report.clause_weight is {settings.clause_weight}; give 0 "
                "(no clause term) or more."
            )
        self.settings = settings

    def forward(self, views: Views, batch: StudyBatch, step: StepContext) -> ObjectiveOutput:
        """This rank's share of the loss, and of its metrics.

        Metrics: ``accuracy`` of the masked tokens, ``token_loss`` and ``clause_loss`` (the two
        terms, unweighted).
        """
        assert views.token_logits is not None
        assert views.token_targets is not None
        assert views.clause_reconstruction is not None
        assert views.clause_target is not None
        assert views.counts is not None
        logits_MV, targets_M = at_least_float32(views.token_logits), views.token_targets
        guess_CD = at_least_float32(views.clause_reconstruction[views.clause_mask])
        target_CD = at_least_float32(views.clause_target[views.clause_mask].detach())
        num_tokens = views.counts.masked_tokens.clamp(min=1)
        num_clauses = views.counts.clauses.clamp(min=1)

        token_loss = F.cross_entropy(logits_MV, targets_M, reduction="sum") / num_tokens
        distance_C = 1 - F.cosine_similarity(guess_CD, target_CD, dim=1)
        clause_loss = distance_C.sum() / num_clauses
        num_right = (logits_MV.detach().argmax(dim=1) == targets_M).sum()
        return ObjectiveOutput(
            loss=token_loss + self.settings.clause_weight * clause_loss,
            metrics={
                "accuracy": num_right / num_tokens,
                "token_loss": token_loss.detach(),
                "clause_loss": clause_loss.detach(),
            },
        )
