"""The largest step is tried first, so that what cannot work fails in a second, not after the start.

Everything long comes later: training of the text encoder, the closed-form start, thousands of
steps. The invariant: weights, buffers and random states are afterwards what they were before.
"""

import torch
from lightning_fabric import Fabric

from mg3d.batch import StudyBatch
from mg3d.data.dataset import StudyDataset, collate
from mg3d.errors import ConfigError
from mg3d.objectives.base import StepContext
from mg3d.training.task import TrainingTask, needs_of

_ANY_CUTOFFS = (-0.5, 0.5)  # those of the corpus are only known after the start


def rehearse(
    fabric: Fabric, task: TrainingTask, dataset: StudyDataset, rows: int, num_moments: int
) -> None:
    """Forward and backward over the rows with the longest reports, without a step.

    Args:
        fabric: The run's.
        task: The bare task, on its device, before it is shared between processes.
        dataset: The training split.
        rows: Volumes that are encoded at once.
        num_moments: Tensors of the size of the weights that the optimiser will add (Adam: 2); room
            for them is taken meanwhile.

    Raises:
        ConfigError: If shapes do not fit, or the memory is too small.
    """
    batch = largest_batch(dataset, rows).to(fabric.device)
    devices = [fabric.device] if fabric.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        try:
            _forward_and_backward(fabric, task, batch, num_moments)
        except RuntimeError as error:
            if not _is_memory_error(error):
                raise
            raise ConfigError(
                f"the largest step does not fit the memory: {rows} volumes of "
                f"{'x'.join(map(str, batch.image.shape[2:]))} voxels with reports of up to "
                f"{int(batch.token_mask.sum(dim=1).max())} tokens. Give --loop.micro_batch_size "
                f"{max(1, rows // 2)} (same gradients, a quarter more time), a smaller "
                "loop.batch_size, or more processes."
            ) from error
        finally:
            task.zero_grad(set_to_none=True)


def largest_batch(dataset: StudyDataset, rows: int) -> StudyBatch:
    """The rows with the longest reports, in characters: counting tokens would take minutes."""

    def length(index: int) -> int:
        report = dataset.store.report(dataset.rows[index].study_id)
        return len(report.findings) + len(report.impression)

    longest = sorted(range(len(dataset)), key=length, reverse=True)[:rows]
    return collate([dataset[index] for index in longest])


def _forward_and_backward(
    fabric: Fabric, task: TrainingTask, batch: StudyBatch, num_moments: int
) -> None:
    trained = [parameter for parameter in task.parameters() if parameter.requires_grad]
    moments = [torch.empty_like(p) for p in trained for _ in range(num_moments)]
    step = StepContext(seed=0, epoch=0, step=0)
    with fabric.autocast():
        views = task.views(batch, step, needs_of(task.terms))
        views.counts = views.count().over_ranks()
        views.similarity_cutoffs = views.similarity_cutoffs or _ANY_CUTOFFS
        output = task.apply_objectives(task.terms, views, batch, step)
    torch.autograd.backward(output.loss)
    del moments


def _is_memory_error(error: RuntimeError) -> bool:
    """Whether there was too little memory; on the CPU torch has no exception of its own for it."""
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)
