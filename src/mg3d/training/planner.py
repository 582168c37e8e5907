"""`mg3d plan`: what a recipe will need, before it is started.

Steps of one and of two volumes are run and their `Work` counted; more volumes follow a line through
both. Seconds and gigabytes come from a `Calibration` of the machine, measured now or read from a
file.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.table import Table

from mg3d.errors import ConfigError
from mg3d.progress import console
from mg3d.training.batches import AHEAD
from mg3d.training.calibration import GB, Calibration, calibrate, held_bytes, state_bytes
from mg3d.training.settings import TrainingConfig
from mg3d.training.trial import StepWork, Trial

_REPLAY = 1.25  # micro-batches encode once more, forward only: a quarter of a step
_FLOAT = 4  # bytes of a weight, a gradient, a moment or a voxel
_HU = 2  # bytes of a voxel on its way
_MUCH_UNKNOWN = 0.1  # share of a prediction that rests on operators never measured


@dataclass(frozen=True, kw_only=True)
class PlanConfig(TrainingConfig):
    """Predict memory, time and disk of a recipe, and say what to change where it does not fit."""

    devices: int = 1
    """Processes in all, one a device, > 0."""
    memory_gb: float | None = None
    """Memory of each device in 10^9 bytes; null = only predict."""
    num_volumes: int = 0
    """Training volumes, for hours an epoch and the disk of the store; 0 = not known."""
    report_tokens: int = 0
    """Tokens of a typical report; 0 = max_tokens, the most there can be."""
    calibration: Path | None = None
    """File with the rates of the machine that will train; null = measure this one."""
    calibrate: bool = False
    """Measure this machine with this recipe and write the file named by calibration."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.devices < 1 or self.loop.batch_size % self.devices:
            raise ConfigError(
                f"devices is {self.devices}; give a divisor of loop.batch_size "
                f"({self.loop.batch_size})"
            )
        if self.calibrate and self.calibration is None:
            raise ConfigError("--calibrate writes a file; name it with --calibration FILE")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A prediction."""

    rows: int
    """Volumes that a device encodes at once."""
    step_seconds: float
    memory_gb: float
    """Of each device, at its peak."""
    hours: float
    """Of all steps."""
    run_gb: float
    """Disk of checkpoints and release."""
    epoch_hours: float | None
    store_gb: float | None


def plan(settings: PlanConfig) -> int:
    """Predict, print, advise.

    Returns:
        0, or 1 where the run does not fit ``memory_gb``.

    Raises:
        ConfigError: If the recipe is impossible.
        DataError: If the calibration file is none.
    """
    if settings.threads:
        torch.set_num_threads(settings.threads)
    trial = Trial(settings, settings.report_tokens)
    if settings.calibrate or settings.calibration is None:
        calibration = measure(settings, trial)
        if settings.calibration is not None:
            calibration.save(settings.calibration)
    else:
        calibration = Calibration.load(settings.calibration)
        _check_calibration(calibration, settings)
    step = trial.work
    predicted = predict(settings, step, calibration)
    _show(settings, predicted, calibration)
    _warn(trial, step, calibration)
    if settings.memory_gb is None or predicted.memory_gb <= settings.memory_gb:
        return 0
    console.print(advise(settings, step, calibration))
    return 1


def measure(settings: PlanConfig, trial: Trial) -> Calibration:
    """This machine's rates, with steps of at most as many volumes as the recipe's."""
    share = settings.loop.batch_size // settings.devices
    rows = min(share, settings.loop.micro_batch_size or share)
    return calibrate(trial, settings.precision, rows)


def predict(settings: PlanConfig, step: StepWork, calibration: Calibration) -> Plan:
    """What one device does in a step, holds at its peak, and leaves on the disk."""
    share = settings.loop.batch_size // settings.devices
    rows = min(share, settings.loop.micro_batch_size or share)
    pass_seconds = calibration.seconds(step.of(rows)) * share / rows
    if rows < share:
        pass_seconds *= _REPLAY
    seconds = pass_seconds + calibration.seconds(step.update)
    checkpoint_gb = (step.weights + 2 * step.trained) * _FLOAT / GB
    num_checkpoints = settings.loop.keep_checkpoints + settings.loop.keep_best
    volumes = settings.num_volumes
    voxels = math.prod(settings.model.grid)
    images_gb = rows * voxels * (_FLOAT + _HU) / GB
    if calibration.device == "cpu":  # where batches are read to
        images_gb += (AHEAD * settings.num_workers + 1) * share * voxels * _HU / GB
    return Plan(
        rows=rows,
        step_seconds=seconds,
        memory_gb=calibration.process_gb
        + state_gb(settings, step)
        + calibration.held_factor * held_bytes(step, rows) / GB
        + images_gb,
        hours=seconds * settings.loop.steps / 3600,
        run_gb=(num_checkpoints + 1) * checkpoint_gb + step.weights * _FLOAT / GB,
        epoch_hours=seconds * volumes / settings.loop.batch_size / 3600 if volumes else None,
        store_gb=volumes * voxels * _HU / GB if volumes else None,
    )


def state_gb(settings: PlanConfig, step: StepWork) -> float:
    """Weights and two moments of a device; DDP holds each gradient twice, FSDP shares all."""
    state = state_bytes(step)
    if settings.devices > 1:
        fsdp = settings.strategy == "fsdp"
        state = state / settings.devices if fsdp else state + step.trained * _FLOAT
    return state / GB


def advise(settings: PlanConfig, step: StepWork, calibration: Calibration) -> str:
    """What to change so that a device's memory is enough; the least change first."""
    assert settings.memory_gb is not None
    share = settings.loop.batch_size // settings.devices
    for rows in range(share - 1, 0, -1):
        smaller = replace(settings, loop=replace(settings.loop, micro_batch_size=rows))
        if predict(smaller, step, calibration).memory_gb <= settings.memory_gb:
            return (
                f"It does not fit. With --loop.micro_batch_size {rows} it does: the same gradients "
                "for a quarter more time."
            )
    if settings.strategy == "ddp" and settings.devices > 1:
        sharded = replace(
            settings, strategy="fsdp", loop=replace(settings.loop, micro_batch_size=1)
        )
        if predict(sharded, step, calibration).memory_gb <= settings.memory_gb:
            return "It does not fit. With --strategy fsdp --loop.micro_batch_size 1 it does."
    return (
        "It does not fit, even one volume at a time. Use a smaller model.grid or "
        "model.image.embed_dim, model.image.recompute true, --strategy fsdp on more devices, or "
        "devices with more memory."
    )


def _check_calibration(calibration: Calibration, settings: PlanConfig) -> None:
    if calibration.precision != settings.precision:
        raise ConfigError(
            f"{settings.calibration} was measured with precision {calibration.precision}, the "
            f"recipe asks for {settings.precision}; calibrate with that, or give --precision "
            f"{calibration.precision}"
        )


def _show(settings: PlanConfig, predicted: Plan, calibration: Calibration) -> None:
    table = Table("", "predicted", title_justify="left")
    table.title = (
        f"{settings.devices} x {calibration.device}, {settings.precision}, batch "
        f"{settings.loop.batch_size}, {predicted.rows} volumes a device at once"
    )
    limit = "" if settings.memory_gb is None else f" of {settings.memory_gb:.3g}"
    table.add_row("memory of a device", f"{predicted.memory_gb:.3g}{limit} GB")
    table.add_row("a step", f"{predicted.step_seconds:.3g} s")
    table.add_row(f"all {settings.loop.steps} steps", f"{predicted.hours:.3g} h")
    if predicted.epoch_hours is not None and predicted.store_gb is not None:
        table.add_row(
            f"an epoch of {settings.num_volumes} volumes", f"{predicted.epoch_hours:.3g} h"
        )
        table.add_row("disk of the store", f"{predicted.store_gb:.3g} GB")
    table.add_row("disk of the run", f"{predicted.run_gb:.3g} GB")
    console.print(table)
    console.print(
        "Not counted: time between processes, reading, corpus training, start, and the first look "
        "of a frozen text encoder at each report."
    )


def _warn(trial: Trial, step: StepWork, calibration: Calibration) -> None:
    """Say where the calibration says little about this recipe on its device."""
    share = calibration.unknown_share(step.of(2))
    if share > _MUCH_UNKNOWN:
        console.print(
            f"[yellow]{share:.0%} of the time is in operators that the calibration did not "
            "measure; calibrate with this recipe for a better answer."
        )
    here = "cpu" if trial.device.type == "cpu" else "a GPU"
    if (calibration.device == "cpu") != (trial.device.type == "cpu"):
        console.print(
            f"[yellow]Counted on {here}, calibrated on {calibration.device}: kernels differ, so "
            "this is a guess; plan on a machine with the device that will train."
        )
