"""Shortcut check: how often each contrastive term is right with one modality blanked.

Rows are encoded a micro-batch at a time, as in `mg3d.training.accumulate`, so where a step fits
the memory, its check does.
"""

from typing import Any, get_args

import torch
from lightning_fabric import Fabric
from torch import Tensor

from mg3d.batch import StudyBatch
from mg3d.objectives.base import StepContext
from mg3d.training.accumulate import join_rows, split_rows, without_voxels
from mg3d.training.task import Modality, TrainingTask


@torch.no_grad()
def shortcut_shares(
    fabric: Fabric,
    wrapped: Any,
    task: TrainingTask,
    batch: StudyBatch,
    step: StepContext,
    micro_batch_size: int,
) -> dict[str, Tensor]:
    """Shares of each contrastive term's top-1 with all images, and with all reports, alike.

    Args:
        fabric: The run's.
        wrapped: The task as Fabric set it up.
        task: The bare task.
        batch: This process's rows.
        step: Where in the run this is.
        micro_batch_size: Rows that are encoded at once; 0 = all.

    Returns:
        ``<objective>.top1_image_blanked`` and ``<objective>.top1_report_blanked``.
    """
    shares: dict[str, Tensor] = {}
    if not task.coupled:
        return shares
    rows = without_voxels(batch, fabric.device)
    for modality in get_args(Modality):
        views = join_rows(
            [
                wrapped(part.to(fabric.device), step, TrainingTask.blanked, modality)
                for part in split_rows(batch, micro_batch_size or len(batch))
            ]
        )
        with fabric.autocast():
            for term in task.coupled:
                metrics = term.objective.forward(views, rows, step).metrics
                if "top1" in metrics:
                    key = f"{term.objective.name}.top1_{modality}_blanked"
                    shares[key] = metrics["top1"]
    return shares
