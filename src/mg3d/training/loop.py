"""fit(): the training loop, the only one.

Its invariant: the weights after step k depend on the recipe, the seed and the store alone.
Nothing here draws random numbers; what a step sees follows from its number, so stopping at any
moment and resuming from the last checkpoint gives the same bits on the same machine.
"""

import math
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
from mg3d.errors import ConfigError, DataError
from mg3d.objectives.base import StepContext
from mg3d.progress import bar, console
from mg3d.training.checkpoint import Progress, save_checkpoint
from mg3d.training.engine import restore_scaler, scaler_state, unscale_gradients
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

    def __post_init__(self) -> None:
        least = {"steps": 1, "batch_size": 1, "checkpoint_every": 1, "keep_checkpoints": 1}
        least |= {"log_every": 1, "shortcut_every": 0}
        for name, minimum in least.items():
            if getattr(self, name) < minimum:
                raise ConfigError(f"loop.{name} is {getattr(self, name)}; give {minimum} or more")


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
    kept_pairs = _KeptPairs()
    saved = step = start.step
    restore_scaler(run.fabric, start.scaler)
    with _stop_signals(run.fabric) as stop, _bar(loop.steps, step, shown=first) as advance:
        began = time.perf_counter()
        for batch in run.batches(step):
            context = StepContext(run.seed, step // run.steps_per_epoch, step)
            rate = optimizer.lr * learning_rate_scale(step, loop.steps, optimizer)
            set_learning_rate(run.optimizer, rate)
            values = training_step(run, batch, context, optimizer.clip_norm)
            step += 1
            if loop.shortcut_every and step % loop.shortcut_every == 0:
                values |= _shortcuts(run, batch, context)
            seconds = time.perf_counter() - began
            kept_pairs.add(values)
            if recorder and (step % loop.log_every == 0 or step == loop.steps):
                recorder.log(_row(values, context, loop, rate, seconds))
                kept_pairs.warn(step)
            advance(values["loss.total"])
            stopping = stop.requested()
            if stopping or step % loop.checkpoint_every == 0 or step == loop.steps:
                _save(run, step, loop.keep_checkpoints)
                saved = step
            if stopping:
                break
            began = time.perf_counter()  # waiting for the next batch belongs to its step
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
        ``grad_norm``, which is left out of a step that the loss scaler of 16-mixed skips.
    """
    batch = batch.to(run.fabric.device, non_blocking=True)
    output = run.wrapped(batch, context)
    values = _global_values(output.shares)
    _require_finite(values["loss.total"], "loss", batch, context)
    run.fabric.backward(output.loss)
    scaled = unscale_gradients(run.fabric, run.optimizer)
    parameters = [p for p in run.task.parameters() if p.grad is not None]
    limit = clip_norm if clip_norm > 0 else float("inf")
    norm = float(torch.nn.utils.clip_grad_norm_(parameters, limit))
    if math.isfinite(norm) or not scaled:  # else the scaler skips this step and halves its scale
        values["grad_norm"] = norm
        _require_finite(norm, "gradient", batch, context)
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)
    return values


def _global_values(shares: dict[str, Tensor]) -> dict[str, float]:
    """Sum the shares of all processes in one message."""
    names = sorted(shares)
    total = sum_over_ranks(torch.stack([shares[name].detach().double() for name in names]))
    return dict(zip(names, total.tolist(), strict=True))


def _require_finite(value: float, what: str, batch: StudyBatch, context: StepContext) -> None:
    if math.isfinite(value):
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
        progress = Progress(step, scaler=scaler_state(run.fabric))
        save_checkpoint(run.folder, model, optimizer, progress, run.fingerprint, keep)
    run.fabric.barrier()


class _KeptPairs:
    """Whether sentence similarity had pairs to learn from since the last logged row."""

    KINDS = ("positive", "negative")

    def __init__(self) -> None:
        self._most: dict[str, float] = {}
        self._warned: set[str] = set()

    def add(self, values: dict[str, float]) -> None:
        """Take note of a step's shares of kept pairs, if that objective is trained."""
        for kind in self.KINDS:
            share = values.get(f"sentence_similarity.{kind}_pairs")
            if share is not None:
                self._most[kind] = max(share, self._most.get(kind, 0.0))

    def warn(self, step: int) -> None:
        """Say once for each kind that no step of the window kept any; begin a new window."""
        for kind, most in self._most.items():
            if most == 0.0 and kind not in self._warned:
                self._warned.add(kind)
                console.print(
                    f"[yellow]sentence_similarity: 0 % {kind} pairs up to step {step}; it learns "
                    "from one side alone. Check its cut-offs or use larger batches."
                )
        self._most.clear()


class _StopRequest:
    """Set by a signal, read between two steps."""

    def __init__(self, device: torch.device) -> None:
        self._asked = False
        self._device = device  # of the tensors that processes exchange: NCCL sends no others

    def ask(self, _signal: int, _frame: FrameType | None) -> None:
        self._asked = True

    def requested(self) -> bool:
        """Whether any process was asked to stop (all of them must agree on the step)."""
        return bool(sum_over_ranks(torch.tensor(float(self._asked), device=self._device)) > 0)


@contextmanager
def _stop_signals(fabric: Fabric) -> Iterator[_StopRequest]:
    """Turn SIGTERM (schedulers, shutdown) and SIGUSR1 (SLURM's warning) into a request."""
    request = _StopRequest(fabric.device)
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
