"""plain_alignment: the image alone and the report alone meet in one space (zero-shot, retrieval).

    L = symmetric InfoNCE of (p_i, t_i), scale learned        (formula: `contrast`)

p is the image-only and t the report-only embedding, both L2-normalised.
Source: CLIP, arXiv:2103.00020. Not part of the MG-3D paper, whose fused pairs cannot be compared
one modality at a time.
"""

from dataclasses import dataclass

from mg3d.batch import StudyBatch
from mg3d.objectives.base import ObjectiveOutput, StepContext, Views
from mg3d.objectives.contrast import info_nce_share, pair_cosines, top1_share
from mg3d.objectives.precision import at_least_float32


@dataclass(frozen=True, kw_only=True)
class PlainAlignmentConfig:
    """Report <-> volume contrast of the two modalities on their own."""

    weight: float = 1.0
    """Factor on this loss in the total; 0 switches the objective off."""


class PlainAlignment:
    """Symmetric InfoNCE with the model's learned temperature."""

    name = "plain_alignment"
    needs = frozenset({"image_embedding", "text_embedding", "logit_scale"})
    couples_rows = True

    def __init__(self, settings: PlainAlignmentConfig) -> None:
        self.settings = settings

    def forward(self, views: Views, batch: StudyBatch, step: StepContext) -> ObjectiveOutput:
        """This rank's share of the loss, and of ``top1`` over both directions."""
        assert views.image_embedding is not None
        assert views.text_embedding is not None
        assert views.logit_scale is not None
        pairs = pair_cosines(
            views.image_embedding, views.text_embedding, views.has_report, batch.identities()
        )
        loss = info_nce_share(pairs, at_least_float32(views.logit_scale))
        return ObjectiveOutput(loss=loss, metrics={"top1": top1_share(pairs)})
