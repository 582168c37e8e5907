"""siglip: every pair of an image and a report is judged alone, by a sigmoid.

    L = - 1 / n * sum_i sum_{j in C(i)} log sigmoid( z_ij * (scale * <p_i, t_j> + bias) )

z_ij is 1 for the own pair and -1 otherwise; i, n and C(i) as in `contrast`; scale and bias learned.
Source: X. Zhai et al., arXiv:2303.15343.
"""

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from mg3d.batch import StudyBatch
from mg3d.objectives.base import ObjectiveOutput, StepContext, Views
from mg3d.objectives.contrast import pair_cosines, top1_share
from mg3d.objectives.precision import at_least_float32


@dataclass(frozen=True, kw_only=True)
class SiglipConfig:
    """The baseline siglip: pairwise sigmoid loss in the plain space."""

    weight: float = 0.0
    """Factor on this loss in the total; 0 switches the objective off."""


class Siglip:
    """Sigmoid loss over all pairs of the global batch."""

    name = "siglip"
    needs = frozenset({"image_embedding", "text_embedding", "logit_scale", "logit_bias"})
    couples_rows = True

    def __init__(self, settings: SiglipConfig) -> None:
        self.settings = settings

    def forward(self, views: Views, batch: StudyBatch, step: StepContext) -> ObjectiveOutput:
        """This rank's share of the loss, and of ``top1`` over both directions."""
        assert views.image_embedding is not None
        assert views.text_embedding is not None
        assert views.logit_scale is not None
        assert views.logit_bias is not None
        pairs = pair_cosines(
            views.image_embedding, views.text_embedding, views.has_report, batch.identities()
        )
        scale, bias = at_least_float32(views.logit_scale), at_least_float32(views.logit_bias)
        logits_KG = scale * pairs.left_to_right + bias
        log_likelihood_KG = F.logsigmoid(torch.where(pairs.is_own, logits_KG, -logits_KG))
        counted_KG = pairs.is_own | pairs.is_negative
        total = -torch.where(counted_KG, log_likelihood_KG, 0.0).sum()
        return ObjectiveOutput(
            loss=total / max(pairs.num_studies, 1), metrics={"top1": top1_share(pairs)}
        )
