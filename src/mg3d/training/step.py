"""What a run works on, and one optimiser step of it: losses, metrics and the gradient's norm.

The invariant: nothing that is not finite reaches the weights, and processes exchange one message
of values a step (besides what objectives gather and gradients need), whose
values are read from the device together, after both passes.
"""

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from mg3d.batch import StudyBatch
from mg3d.distributed import sum_over_ranks
from mg3d.errors import DataError
from mg3d.objectives.base import StepContext
from mg3d.progress import console
from mg3d.training.accumulate import accumulate
from mg3d.training.engine import unscale_gradients
from mg3d.training.sharding import whole
from mg3d.training.shortcuts import shortcut_shares
from mg3d.training.stop import StopRequest
from mg3d.training.task import TaskOutput, TrainingTask

STOPPING = "stopping"
"""Name of the value that says how many processes were asked to stop."""
SHORTCUT_LIMIT = 0.9  # top-1 with one modality blanked above which a term teaches nothing


@dataclass(kw_only=True)
class Run:
    """A run directory with the model, data and processes that fill it."""

    folder: Path
    fabric: Fabric
    task: TrainingTask
    """The bare task; what it holds is saved."""
    wrapped: Any
    """The task as Fabric set it up (DDP or FSDP over several processes)."""
    optimizer: Any
    """The optimiser as Fabric set it up."""
    fingerprint: str
    seed: int
    steps_per_epoch: int
    batches: Callable[[int], Generator[StudyBatch, None, None]]
    """Batches of this process from a step on; closed when the loop is left."""
    micro_batch_size: int = 0
    """Volumes encoded at once; 0 = all of this process's rows."""


def training_step(
    run: Run, batch: StudyBatch, context: StepContext, clip_norm: float, stop: StopRequest
) -> dict[str, float]:
    """One optimiser step.

    Args:
        run: What is trained.
        batch: This process's rows.
        context: Where in the run this is.
        clip_norm: Largest norm of the gradient; 0 = any.
        stop: Read after the backward pass: whether this process was asked to stop.

    Returns:
        Global values: ``loss.total``, ``loss.<objective>``, ``<objective>.<metric>``, `STOPPING`
        and ``grad_norm``, which is left out of a step that the loss scaler of 16-mixed skips.

    Raises:
        DataError: At a loss or gradient that is not finite.
    """
    shares = _gradients(run, batch, context)
    shares[STOPPING] = torch.full((), float(stop.asked), device=run.fabric.device)
    scaled = unscale_gradients(run.fabric, run.optimizer)
    norm = clip_gradients(run.task, clip_norm)
    values = _global_values(shares, grad_norm=norm)
    _require_finite(values["loss.total"], "loss", batch, context)
    if scaled and not math.isfinite(values["grad_norm"]):
        del values["grad_norm"]  # the scaler skips this step and halves its scale
    else:
        _require_finite(values["grad_norm"], "gradient", batch, context)
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)
    return values


def _gradients(run: Run, batch: StudyBatch, context: StepContext) -> dict[str, Tensor]:
    """Leave the gradient of the global batch in the parameters; the shares of its losses."""
    if 0 < run.micro_batch_size < len(batch):
        return accumulate(run.fabric, run.wrapped, run.task, batch, context, run.micro_batch_size)
    output: TaskOutput = run.wrapped(batch.to(run.fabric.device, non_blocking=True), context)
    run.fabric.backward(output.loss)
    return output.shares


def clip_gradients(task: TrainingTask, limit: float) -> Tensor:
    """Scale all gradients so that their norm over what learns is at most ``limit`` (0 = any).

    Returns:
        The norm before, (), where the gradients are: reading it would wait for a GPU.
    """
    parameters = [p for p in task.parameters() if p.requires_grad and p.grad is not None]
    grads = [p.grad for p in parameters if p.grad is not None]
    norm = whole(torch.nn.utils.get_total_norm(grads))
    torch.nn.utils.clip_grads_with_norm_(parameters, limit if limit > 0 else math.inf, norm)
    return norm


def shortcuts(run: Run, batch: StudyBatch, context: StepContext) -> dict[str, float]:
    """Top-1 of every contrastive term with one modality blanked, and a warning where it is high."""
    shares = shortcut_shares(
        run.fabric, run.wrapped, run.task, batch, context, run.micro_batch_size
    )
    values = _global_values(shares) if shares else {}
    for name, value in values.items():
        if value > SHORTCUT_LIMIT and run.fabric.global_rank == 0:
            console.print(f"[yellow]shortcut at step {context.step + 1}: {name} = {value:.2f}")
    return values


def _global_values(shares: dict[str, Tensor], **alike: Tensor) -> dict[str, float]:
    """Sum the shares of all processes in one message, and read all values at once.

    Args:
        shares: Scalars of this process.
        alike: Scalars that are the same on every process.
    """
    names = sorted(shares)
    total = sum_over_ranks(torch.stack([shares[name].detach().double() for name in names]))
    read = torch.cat([total, *(value.detach().double().reshape(1) for value in alike.values())])
    return dict(zip([*names, *alike], read.tolist(), strict=True))


def _require_finite(value: float, what: str, batch: StudyBatch, context: StepContext) -> None:
    if math.isfinite(value):
        return
    raise DataError(
        f"step {context.step + 1}: the {what} is {value}; the weights were not changed. Studies of "
        f"this step on this process: {', '.join(batch.study_ids)}. Lower optimizer.lr; the last "
        "checkpoint is good."
    )
