"""aggregation_contrast: what each clause finds in the volume, put together, names the individual.

    y = tanh(Linear(mean_s x_s)),  x_s = what clause s reads from the image tokens
    L = symmetric InfoNCE of (y_i, anchor_i) at a fixed temperature        (formula: `contrast`)

The anchor is the plain report vector a for cross-attention fusion, and the fused volume vector c'
for gate fusion (the paper's form). The model builds both; see `Views`.
Source: MG-3D, arXiv:2412.05876, disentangled aggregation (DCL).
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
class AggregationContrastConfig:
    """Contrast of the re-aggregated clauses with the study they belong to (DCL in the paper)."""

    weight: float = 0.1
    """Factor on this loss in the total; 0 switches the objective off."""
    temperature: float = 0.1
    """Divides the cosines, above 0; the paper's 0.1."""


class AggregationContrast:
    """Symmetric InfoNCE between the aggregated clauses and their anchor."""

    name = "aggregation_contrast"
    needs = frozenset({"aggregated", "aggregation_anchor"})
    couples_rows = True

    def __init__(self, settings: AggregationContrastConfig) -> None:
        self.settings = settings
        self.scale = inverse_temperature(self.name, settings.temperature)

    def forward(self, views: Views, batch: StudyBatch, step: StepContext) -> ObjectiveOutput:
        """This rank's share of the loss, and of ``top1`` over both directions."""
        assert views.aggregated is not None
        assert views.aggregation_anchor is not None
        pairs = pair_cosines(
            views.aggregated, views.aggregation_anchor, views.has_report, batch.identities()
        )
        loss = info_nce_share(pairs, self.scale)
        return ObjectiveOutput(loss=loss, metrics={"top1": top1_share(pairs)})
