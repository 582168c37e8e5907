"""masked_volume: hidden blocks of the volume, filled in with the report's help (paper: MIM).

    L = sum over hidden voxels of (reconstruction - image)^2 / number of hidden voxels

Both run over the global batch. Studies without a report take part: their volume is filled in from
what is left of it.
Source: MG-3D, arXiv:2412.05876, complementary-modality-guided local reconstruction.
"""

from dataclasses import dataclass

import torch

from mg3d.batch import StudyBatch
from mg3d.hu_window import WIDTH_HU
from mg3d.objectives.base import ObjectiveOutput, StepContext, Views
from mg3d.objectives.precision import at_least_float32


@dataclass(frozen=True, kw_only=True)
class MaskedVolumeConfig:
    """Reconstruction of masked blocks of the volume (MIM in the paper)."""

    weight: float = 1.0
    """Factor on this loss in the total; 0 switches the objective off."""
    mask_ratio: float = 0.5
    """Share of a volume's blocks that are hidden, in (0, 1]."""
    block: tuple[int, int, int] = (16, 16, 16)
    """Size of a hidden block along (x, y, z) in voxels of the model grid; must divide the grid."""


class MaskedVolume:
    """Mean squared error over hidden voxels."""

    name = "masked_volume"
    needs = frozenset({"reconstruction", "voxel_mask", "counts"})
    couples_rows = False

    def __init__(self, settings: MaskedVolumeConfig) -> None:
        self.settings = settings

    def forward(self, views: Views, batch: StudyBatch, step: StepContext) -> ObjectiveOutput:
        """This rank's share of the loss, and of ``error_hu`` (mean absolute error in HU)."""
        assert views.reconstruction is not None
        assert views.voxel_mask is not None
        assert views.counts is not None
        num_hidden = views.counts.hidden_voxels.clamp(min=1)
        error = at_least_float32(views.reconstruction) - batch.image
        error = torch.where(views.voxel_mask, error, 0.0)
        return ObjectiveOutput(
            loss=error.square().sum() / num_hidden,
            metrics={"error_hu": WIDTH_HU * error.detach().abs().sum() / num_hidden},
        )
