"""global_alignment: a study as seen after fusion against the same study before it (paper: CML).

    u = L2(Linear(LN([a'; c']))),  v = L2(Linear(LN([a; c])))
    L = symmetric InfoNCE of (u_i, v_i) at a fixed temperature        (formula: `contrast`)

a, c are the pooled report and volume, a', c' the same after fusion. Both sides hold both
modalities, so the report alone can solve it: the logged ``top1`` is to be read beside the same
with one modality blanked.
Source: MG-3D, arXiv:2412.05876, cross-modal global alignment.
"""

from dataclasses import dataclass

from mg3d.batch import StudyBatch
from mg3d.objectives.base import ObjectiveOutput, StepContext, Views
from mg3d.objectives.contrast import (
    info_nce_share,
    inverse_temperature,
    pair_cosines,
    top1_share,
)


@dataclass(frozen=True, kw_only=True)
class GlobalAlignmentConfig:
    """Contrast of the fused pair with the plain pair (CML in the paper)."""

    weight: float = 0.1
    """Factor on this loss in the total; 0 switches the objective off."""
    temperature: float = 0.1
    """Divides the cosines, above 0; the paper's 0.1."""


class GlobalAlignment:
    """Symmetric InfoNCE between the fused and the plain embedding of a study."""

    name = "global_alignment"
    needs = frozenset({"fused_pair", "plain_pair"})
    couples_rows = True

    def __init__(self, settings: GlobalAlignmentConfig) -> None:
        self.settings = settings
        self.scale = inverse_temperature(self.name, settings.temperature)

    def forward(self, views: Views, batch: StudyBatch, step: StepContext) -> ObjectiveOutput:
        """This rank's share of the loss, and of ``top1`` over both directions."""
        assert views.fused_pair is not None
        assert views.plain_pair is not None
        pairs = pair_cosines(
            views.fused_pair, views.plain_pair, views.has_report, batch.identities()
        )
        loss = info_nce_share(pairs, self.scale)
        return ObjectiveOutput(loss=loss, metrics={"top1": top1_share(pairs)})
