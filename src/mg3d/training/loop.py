"""fit(): the training loop, the only one.

Its invariant: the weights after step k depend on the recipe, the seed and the store alone.
Nothing here draws random numbers; what a step sees follows from its number, so stopping at any
moment and resuming from the last checkpoint gives the same bits on the same machine.
"""

import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning_fabric import Fabric
from rich.progress import Progress as Bar
from torch import Tensor

from mg3d.batch import StudyBatch
from mg3d.distributed import sum_over_ranks
from mg3d.errors import DataError
from mg3d.objectives.base import StepContext
from mg3d.progress import bar, console
from mg3d.training.checkpoint import Progress, save_checkpoint
from mg3d.training.optim import OptimizerConfig, learning_rate_scale, set_learning_rate
from mg3d.training.recorder import Recorder
from mg3d.training.task import TrainingTask

EXIT_REQUEUE = 75
SHORTCUT_LIMIT = 0.9  # top-1 with one modality blanked above which a term teaches nothing


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How long to train and how often to look."""

    steps: int = 1000
    """Optimiser steps in all, > 0."""
    batch_size: int = 16
    """Volumes a step over all processes; must be a multiple of their number."""
    checkpoint_every: int = 200
    """Steps between checkpoints, > 0."""
    keep_checkpoints: int = 2
    """Newest checkpoints that stay on disk, >= 1."""
    log_every: int = 10
    """Steps between rows of metrics.jsonl, > 0."""
    shortcut_every: int = 200
    """Steps between shortcut checks (two extra forward passes each), best a multiple of
    log_every; 0 switches them off."""


@dataclass(kw_only=True)
class Run:
    """All that the loop works on."""

    folder: Path
    fabric: Fabric
    task: TrainingTask
    """The bare task; checkpoints and shortcut checks use it."""
    wrapped: Any
    """The task as Fabric set it up (DDP over several processes)."""
    optimizer: Any
    fingerprint: str
    seed: int
    steps_per_epoch: int
    batches: Callable[[int], Iterable[StudyBatch]]
    """Batches of this process from a step on."""


def fit(run: Run, loop: LoopConfig, optimizer: OptimizerConfig, start: Progress) -> int:
    """Train from ``start`` to the last step.

    Returns:
        0 when done; 75 when SIGTERM or SIGUSR1 asked to stop: everything is saved then, and the
        same command goes on.

    Raises:
        DataError: At a loss or gradient that is not finite, before it reaches the weights.
        StorageError: If a checkpoint or the log cannot be written.
    """
    first = run.fabric.global_rank == 0
    recorder = Recorder(run.folder, start.step) if first else None
    saved = start.step
    step = start.step
    with _stop_signals() as stop, _bar(loop.steps, step, shown=first) as advance:
        for batch in run.batches(step):
            began = time.perf_counter()
            context = StepContext(run.seed, step // run.steps_per_epoch, step)
            rate = optimizer.lr * learning_rate_scale(step, loop.steps, optimizer)
            set_learning_rate(run.optimizer, rate)
            values = training_step(run, batch, context, optimizer.clip_norm)
            step += 1
            if loop.shortcut_every and step % loop.shortcut_every == 0:
                values |= _shortcuts(run, batch, context)
            seconds = time.perf_counter() - began
            if recorder and (step % loop.log_every == 0 or step == loop.steps):
                recorder.log(_row(values, context, loop, rate, seconds))
            advance(values["loss.total"])
            if step % loop.checkpoint_every == 0 or step == loop.steps or stop.requested():
                _save(run, step, loop.keep_checkpoints)
                saved = step
            if stop.requested() and step < loop.steps:
                break
    if recorder:
        recorder.close()
    if saved < loop.steps and first:
        console.print(f"stopped after step {saved}, saved; the same command goes on")
    return 0 if saved == loop.steps else EXIT_REQUEUE


def training_step(
    run: Run, batch: StudyBatch, context: StepContext, clip_norm: float
) -> dict[str, float]:
    """One optimiser step.

    Returns:
        Global values: ``loss.total``, ``loss.<objective>``, ``<objective>.<metric>`` and
        ``grad_norm``.
    """
    batch = batch.to(run.fabric.device, non_blocking=True)
    output = run.wrapped(batch, context)
    values = _global_values(output.shares)
    _require_finite(values["loss.total"], "loss", batch, context)
    run.fabric.backward(output.loss)
    parameters = [p for p in run.task.parameters() if p.grad is not None]
    limit = clip_norm if clip_norm > 0 else float("inf")
    norm = torch.nn.utils.clip_grad_norm_(parameters, limit)
    values["grad_norm"] = float(norm)
    _require_finite(values["grad_norm"], "gradient", batch, context)
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)
    return values


def _global_values(shares: dict[str, Tensor]) -> dict[str, float]:
    """Sum the shares of all processes in one message."""
    names = sorted(shares)
    total = sum_over_ranks(torch.stack([shares[name].detach().double() for name in names]))
    return dict(zip(names, total.tolist(), strict=True))


def _require_finite(value: float, what: str, batch: StudyBatch, context: StepContext) -> None:
    if value == value and abs(value) != float("inf"):
        return
    finite = torch.isfinite(batch.image).flatten(1).all(dim=1).tolist()
    bad = [study for study, good in zip(batch.study_ids, finite, strict=True) if not good]
    suspects = bad or list(batch.study_ids)
    raise DataError(
        f"step {context.step + 1}: the {what} is {value}; the weights were not changed. "
        f"{'Images with NaN or infinity' if bad else 'Studies of this step on this process'}: "
        f"{', '.join(suspects)}. Check these with `mg3d prepare`, or lower optimizer.lr; the last "
        "checkpoint is good."
    )


def _shortcuts(run: Run, batch: StudyBatch, context: StepContext) -> dict[str, float]:
    """Top-1 of every contrastive term with one modality blanked, and a warning where it is high."""
    batch = batch.to(run.fabric.device)
    values = _global_values(run.task.shortcut_shares(batch, context))
    for name, value in values.items():
        if value > SHORTCUT_LIMIT and run.fabric.global_rank == 0:
            console.print(f"[yellow]shortcut at step {context.step + 1}: {name} = {value:.2f}")
    return values


def _row(
    values: dict[str, float], context: StepContext, loop: LoopConfig, rate: float, seconds: float
) -> dict[str, Any]:
    losses = {k.removeprefix("loss."): v for k, v in values.items() if k.startswith("loss.")}
    return {
        "step": context.step + 1,
        "epoch": context.epoch,
        "total_steps": loop.steps,
        "seconds": round(seconds, 4),
        "lr": rate,
        "loss": losses,
        "metrics": {k: v for k, v in values.items() if not k.startswith("loss.")},
        "volumes_per_second": round(loop.batch_size / seconds, 3),
    }


def _save(run: Run, step: int, keep: int) -> None:
    if run.fabric.global_rank == 0:
        model = run.task.model
        optimizer = getattr(run.optimizer, "optimizer", run.optimizer)
        save_checkpoint(run.folder, model, optimizer, Progress(step), run.fingerprint, keep)
    run.fabric.barrier()


class _StopRequest:
    """Set by a signal, read between two steps."""

    def __init__(self) -> None:
        self._asked = False

    def ask(self, _signal: int, _frame: FrameType | None) -> None:
        self._asked = True

    def requested(self) -> bool:
        """Whether any process was asked to stop (all of them must agree on the step)."""
        return bool(sum_over_ranks(torch.tensor(float(self._asked))) > 0)


@contextmanager
def _stop_signals() -> Iterator[_StopRequest]:
    """Turn SIGTERM (schedulers, shutdown) and SIGUSR1 (SLURM's warning) into a request."""
    request = _StopRequest()
    previous = {kind: signal.signal(kind, request.ask) for kind in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield request
    finally:
        for kind, handler in previous.items():
            signal.signal(kind, handler)


@contextmanager
def _bar(total: int, done: int, *, shown: bool) -> Iterator[Callable[[float], None]]:
    """A progress bar with the loss; does nothing on other processes than the first."""
    if not shown:
        yield lambda _loss: None
        return
    progress: Bar = bar()
    with progress:
        item = progress.add_task("pretrain", total=total, completed=done, status="")
        yield lambda loss: progress.update(item, advance=1, status=f"loss {loss:.3f}")
