"""sentence_similarity: two patients' clauses look as alike as they read (paper: SSM).

    P = cos(e_s, e_t),  Q = cos(m_s, m_t)        for clauses s, t of different patients
    L = sum_{Q >= above} |P - Q| + sum_{Q <= below} |P|,  divided by the number of these pairs

e is the visual feature of a clause, m its frozen, centred text-only feature; pairs in between are
ignored. Clauses of studies with the same report may attract but never repel each other.
Source: MG-3D, arXiv:2412.05876, sentence-based similarity matching.

Axes: B local batch, S clauses a report, C real clauses of this rank, E and H features. Time grows
with the square of the number of clauses, memory does not (`clause_pairs`).
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from mg3d.batch import StudyBatch
from mg3d.distributed import all_gather_rows, sum_over_ranks
from mg3d.errors import ConfigError
from mg3d.objectives.base import ObjectiveOutput, StepContext, Views
from mg3d.objectives.clause_pairs import ClausePairs, PairErrors
from mg3d.objectives.precision import at_least_float32, full_precision


@dataclass(frozen=True, kw_only=True)
class SentenceSimilarityConfig:
    """Similarity of visual clause features across patients (SSM in the paper)."""

    weight: float = 0.1
    """Factor on this loss in the total; 0 switches the objective off."""
    similar_above: float | None = None
    """Cosine in [-1, 1] from which two clauses count as the same finding; the training corpus
    decides when not given."""
    dissimilar_below: float | None = None
    """Cosine in [-1, 1] up to which two clauses count as unrelated; the training corpus decides
    when not given."""


class SentenceSimilarity:
    """Mean absolute error of visual against textual similarity over the decided pairs."""

    name = "sentence_similarity"
    needs = frozenset({"clause_visual", "clause_reference", "similarity_cutoffs"})
    couples_rows = True

    def __init__(self, settings: SentenceSimilarityConfig) -> None:
        self.settings = settings

    def forward(self, views: Views, batch: StudyBatch, step: StepContext) -> ObjectiveOutput:
        """This rank's share of the loss, and of the shares of pairs that were kept.

        Metrics: ``positive_pairs`` and ``negative_pairs``, of all pairs of clauses of different
        patients in the global batch.

        Raises:
            ConfigError: If the cut-offs are missing or in the wrong order.
        """
        assert views.clause_visual is not None
        assert views.clause_reference is not None
        below, above = self._cutoffs(views.similarity_cutoffs)
        mask_BS = views.clause_mask
        pairs = ClausePairs.of(mask_BS, batch.identities())
        visual_CE = _units(views.clause_visual[mask_BS])
        reference_CH = _units(views.clause_reference[mask_BS].detach())
        with full_precision(visual_CE.device):
            error, decided = PairErrors.apply(  # type: ignore[no-untyped-call]
                *(visual_CE, all_gather_rows(visual_CE)),
                *(reference_CH, all_gather_rows(reference_CH)),
                *(pairs, (below, above), torch.is_grad_enabled()),
            )
        counts = torch.cat([decided, pairs.num_pairs[None]])
        num_positive, num_negative, num_other = sum_over_ranks(counts)
        return ObjectiveOutput(
            loss=error / (num_positive + num_negative).clamp(min=1),
            metrics={
                "positive_pairs": counts[0] / num_other.clamp(min=1),
                "negative_pairs": counts[1] / num_other.clamp(min=1),
            },
        )

    def _cutoffs(self, of_corpus: tuple[float, float] | None) -> tuple[float, float]:
        """(dissimilar_below, similar_above): the given ones, else the corpus's."""
        below, above = of_corpus if of_corpus is not None else (None, None)
        if self.settings.dissimilar_below is not None:
            below = self.settings.dissimilar_below
        if self.settings.similar_above is not None:
            above = self.settings.similar_above
        if below is None or above is None or not below < above:
            raise ConfigError(
                f"sentence_similarity: dissimilar_below is {below} and similar_above is {above}; "
                "both are needed and the first must be the smaller one. Give both, or neither so "
                "that the training corpus decides."
            )
        return below, above


def _units(features_CE: Tensor) -> Tensor:
    return F.normalize(at_least_float32(features_CE), dim=1)
