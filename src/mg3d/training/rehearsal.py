"""The largest step is tried first, so that what cannot work fails in a second, not after the start.

Everything long comes later: training of the text encoder, the closed-form start, thousands of
steps. What is tried is a copy, set up as the task will be: over all processes, in pieces where it
is sharded. The invariant: the task itself is not touched, and random states are afterwards what
they were before.
"""

import copy
import gc
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning_fabric import Fabric
from torch import nn

from mg3d.batch import StudyBatch
from mg3d.data.dataset import StudyDataset, collate
from mg3d.errors import ConfigError
from mg3d.objectives.base import StepContext
from mg3d.training.engine import set_up
from mg3d.training.optim import OptimizerConfig
from mg3d.training.task import TrainingTask

_NOWHERE = StepContext(seed=0, epoch=0, step=0)


def rehearse(
    fabric: Fabric,
    task: TrainingTask,
    dataset: StudyDataset,
    rows: int,
    settings: OptimizerConfig,
    *,
    divided: bool = False,
) -> None:
    """Forward and backward over the rows with the longest reports; collective.

    Args:
        fabric: The run's.
        task: The bare task, best on the CPU: a copy of it goes to the device.
        dataset: The training split.
        rows: Volumes that are encoded at once.
        settings: Of the optimiser, whose state takes its room meanwhile.
        divided: Whether a step has several such parts; gradients of the first stay in memory then.

    Raises:
        ConfigError: If shapes do not fit, or the memory is too small.
    """
    batch = largest_batch(dataset, rows)
    devices = [fabric.device] if fabric.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), _memory_errors_explained(batch):
        _try(fabric, copy.deepcopy(task), batch.to(fabric.device), settings, divided=divided)
    gc.collect()  # the wrappers of a module refer to it in circles


def largest_batch(dataset: StudyDataset, rows: int) -> StudyBatch:
    """The rows with the longest reports, in characters: counting tokens would take minutes."""

    def length(index: int) -> int:
        report = dataset.store.report(dataset.rows[index].study_id)
        return len(report.findings) + len(report.impression)

    longest = sorted(range(len(dataset)), key=length, reverse=True)[:rows]
    return collate([dataset[index] for index in longest])


def _try(
    fabric: Fabric,
    task: TrainingTask,
    batch: StudyBatch,
    settings: OptimizerConfig,
    *,
    divided: bool,
) -> None:
    wrapped, optimizer, _ = set_up(fabric, task, settings)
    _make_moments(task, optimizer)
    if not divided:
        optimizer.zero_grad(set_to_none=True)
    output = wrapped(batch, _NOWHERE, TrainingTask.rehearse)
    fabric.backward(output.loss)


def _make_moments(task: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """An update by gradients of 0 leaves the state of later steps, as sharded as they are."""
    for parameter in task.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()


@contextmanager
def _memory_errors_explained(batch: StudyBatch) -> Iterator[None]:
    rows = len(batch)
    try:
        yield
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


def _is_memory_error(error: RuntimeError) -> bool:
    """Whether there was too little memory; on the CPU torch has no exception of its own for it."""
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)
