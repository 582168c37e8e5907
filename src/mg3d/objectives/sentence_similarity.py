"""sentence_similarity: two patients' clauses look as alike as they read (paper: SSM).

    P = cos(e_s, e_t),  Q = cos(m_s, m_t)        for clauses s, t of different patients
    L = sum_{Q >= above} |P - Q| + sum_{Q <= below} |P|,  divided by the number of these pairs

e is the visual feature of a clause, m its frozen, centred text-only feature; pairs in between are
ignored. Clauses of studies with the same report may attract but never repel each other.
Source: MG-3D, arXiv:2412.05876, sentence-based similarity matching.

Axes: B local batch, S clauses a report, C real clauses of this rank, A those of all ranks,
E and H features. The largest tensors are (C, A): with 64 reports of 20 clauses a rank on 8 ranks,
1,280 x 10,240, 52 MB each in float32.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from mg3d.batch import StudyBatch
from mg3d.distributed import all_gather_rows, sum_over_ranks
from mg3d.errors import ConfigError
from mg3d.objectives.base import ObjectiveOutput, StepContext, Views
from mg3d.objectives.contrast import related
from mg3d.objectives.precision import at_least_float32, full_precision

_PATIENT = 1  # column of StudyBatch.identities()


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
        identities_C3 = batch.identities()[mask_BS.nonzero()[:, 0]]
        identities_A3 = all_gather_rows(identities_C3)
        visual_CA = _gathered_cosines(views.clause_visual[mask_BS])
        reference_CA = _gathered_cosines(views.clause_reference[mask_BS].detach())

        other_CA = identities_C3[:, None, _PATIENT] != identities_A3[None, :, _PATIENT]
        positive_CA = other_CA & (reference_CA >= above)
        negative_CA = ~related(identities_C3, identities_A3) & (reference_CA <= below)
        target_CA = torch.where(positive_CA, reference_CA, 0.0)
        error_CA = torch.where(positive_CA | negative_CA, (visual_CA - target_CA).abs(), 0.0)

        counts = torch.stack([positive_CA.sum(), negative_CA.sum(), other_CA.sum()])
        num_positive, num_negative, num_other = sum_over_ranks(counts)
        return ObjectiveOutput(
            loss=error_CA.sum() / (num_positive + num_negative).clamp(min=1),
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


def _gathered_cosines(features_CE: Tensor) -> Tensor:
    """(C, A) cosines of this rank's clauses with those of all ranks."""
    features_CE = F.normalize(at_least_float32(features_CE), dim=1)
    features_AE = all_gather_rows(features_CE)
    with full_precision(features_CE.device):
        return features_CE @ features_AE.T
