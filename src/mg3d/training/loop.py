"""fit(): the training loop, the only one.

Its invariant: the weights after step k depend on the recipe, the seed and the store alone.
Nothing here draws random numbers; what a step sees follows from its number, so stopping at any
moment and resuming from the last checkpoint gives the same bits on the same machine. That is shown
on CPUs; GPUs add up in an order of their own where torch is not told otherwise.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from rich.progress import Progress as Bar

from mg3d.distributed import succeed_together
from mg3d.errors import ConfigError
from mg3d.objectives.base import StepContext
from mg3d.progress import bar, console
from mg3d.training.checkpoint import Progress, save_checkpoint
from mg3d.training.engine import restore_scaler, scaler_state
from mg3d.training.kept_pairs import KeptPairs
from mg3d.training.optim import OptimizerConfig, learning_rate_scale, set_learning_rate
from mg3d.training.recorder import Recorder
from mg3d.training.step import STOPPING, Run, shortcuts, training_step
from mg3d.training.stop import EXIT_REQUEUE, stop_signals


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How long to train and how often to look."""

    steps: int = 1000
    """Optimiser steps in all, > 0."""
    batch_size: int = 16
    """Volumes a step over all processes; must be a multiple of their number."""
    micro_batch_size: int = 0
    """Volumes that a process encodes at once: the same gradients with less memory and a quarter
    more time; 0 = its whole share of the batch."""
    checkpoint_every: int = 200
    """Steps between checkpoints, > 0."""
    keep_checkpoints: int = 2
    """Newest checkpoints that stay on disk, >= 1; one that a signal asked for stays beside them
    until the next."""
    keep_best: bool = True
    """Keep also the checkpoint with the lowest mean total loss over the steps since the one before
    it: where to go back to when a run goes astray. What a signal asked for is never that."""
    log_every: int = 10
    """Steps between rows of metrics.jsonl, > 0."""
    shortcut_every: int = 200
    """Steps between shortcut checks (two extra forward passes each), best a multiple of
    log_every; 0 switches them off."""

    def __post_init__(self) -> None:
        least = {"steps": 1, "batch_size": 1, "checkpoint_every": 1, "keep_checkpoints": 1}
        least |= {"log_every": 1, "shortcut_every": 0, "micro_batch_size": 0}
        for name, minimum in least.items():
            if getattr(self, name) < minimum:
                raise ConfigError(f"loop.{name} is {getattr(self, name)}; give {minimum} or more")


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
    with succeed_together(run.fabric.device):
        recorder = Recorder(run.folder, start.step) if first else None
    kept_pairs, loss_sum, loss_count = KeptPairs(), start.loss_sum, start.loss_count
    saved = step = start.step
    restore_scaler(run.fabric, start.scaler)
    with (
        stop_signals() as stop,
        _bar(loop.steps, step, shown=first) as advance,
        closing(run.batches(step)) as batches,
    ):
        began = time.perf_counter()
        for batch in batches:
            context = StepContext(run.seed, step // run.steps_per_epoch, step)
            rate = optimizer.lr * learning_rate_scale(step, loop.steps, optimizer)
            set_learning_rate(run.optimizer, rate)
            values = training_step(run, batch, context, optimizer.clip_norm, stop)
            stopping = values.pop(STOPPING) > 0
            step += 1
            if loop.shortcut_every and step % loop.shortcut_every == 0:
                values |= shortcuts(run, batch, context)
            seconds = time.perf_counter() - began
            kept_pairs.add(values)
            if step % loop.log_every == 0 or step == loop.steps:
                with succeed_together(run.fabric.device):
                    if recorder:
                        recorder.log(_row(values, context, loop, rate, seconds))
                        kept_pairs.warn(step)
            loss_sum, loss_count = loss_sum + values["loss.total"], loss_count + 1
            advance(values["loss.total"])
            due = step % loop.checkpoint_every == 0 or step == loop.steps
            if due:
                _save(run, loop, Progress(step, mean_loss=loss_sum / loss_count))
                loss_sum, loss_count = 0.0, 0
            elif stopping:
                _save(run, loop, Progress(step, loss_sum=loss_sum, loss_count=loss_count))
            if due or stopping:
                saved = step
            if stopping:
                break
            began = time.perf_counter()  # waiting for the next batch belongs to its step
    if recorder:
        recorder.close()
    if saved < loop.steps and first:
        console.print(f"stopped after step {saved}, saved; the same command goes on")
    return 0 if saved == loop.steps else EXIT_REQUEUE


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


def _save(run: Run, loop: LoopConfig, progress: Progress) -> None:
    with succeed_together(run.fabric.device):
        save_checkpoint(
            run.folder,
            run.task.model,
            getattr(run.optimizer, "optimizer", run.optimizer),
            replace(progress, scaler=scaler_state(run.fabric)),
            run.fingerprint,
            keep=loop.keep_checkpoints,
            keep_best=loop.keep_best,
            micro_batch_size=loop.micro_batch_size,
        )


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
