"""`mg3d plan`: what a recipe will need, before it is started.

A step of one and of two volumes is run and its `Work` counted; the rest follows: work is linear in
the volumes, seconds and gigabytes come from a `Calibration` of the machine, measured now or read
from a file. Noise volumes and made-up reports cost what real ones do.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.table import Table
from torch import Tensor

from mg3d.batch import StudyBatch
from mg3d.errors import ConfigError
from mg3d.model.text import TextConfig
from mg3d.model.vlm import VisionLanguageModel
from mg3d.objectives.base import StepContext
from mg3d.objectives.registry import build_objectives
from mg3d.progress import console
from mg3d.training.calibration import (
    GB,
    Calibration,
    fit_rates,
    peak_bytes,
    time_pass,
)
from mg3d.training.engine import launch
from mg3d.training.settings import TrainingConfig
from mg3d.training.task import TrainingTask, Vocabulary, needs_of
from mg3d.training.work import Work, count_work

_BERT_BASE = TextConfig(
    vocabulary_size=30522, hidden_size=768, num_layers=12, num_heads=12, intermediate_size=3072
)
_TOKENS_A_CLAUSE = 10  # of reports in the public data sets, roughly
_REPLAY = 4 / 3  # micro-batches encode once more, forward only: a third of forward and backward
_FLOAT = 4  # bytes of a weight, a gradient or a moment
_CUDA_CONTEXT_GB = 0.6
_REPEATS = 3
_TRIED_ROWS = (1, 2, 4, 12)
"""The last two tell what grows with the volumes from what does not."""


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
    fabric = launch(settings.accelerator, settings.precision)
    task = build_task(settings).to(fabric.device)

    def step(rows: int) -> Callable[[], Tensor]:
        batch = draw_batch(settings, rows).to(fabric.device)

        def losses() -> Tensor:
            with fabric.autocast():
                return forward(task, batch)

        return losses

    one, two = (count_work(step(rows), task) for rows in (1, 2))
    if settings.calibrate or settings.calibration is None:
        calibration = measure(settings, task, step, fabric.device)
        if settings.calibration is not None:
            calibration.save(settings.calibration)
    else:
        calibration = Calibration.load(settings.calibration)
        _check_calibration(calibration, settings)
    predicted = predict(settings, task, (one, two), calibration)
    _show(settings, predicted, calibration)
    if settings.memory_gb is None or predicted.memory_gb <= settings.memory_gb:
        return 0
    console.print(advise(settings, task, (one, two), calibration))
    return 1


def build_task(settings: TrainingConfig) -> TrainingTask:
    """The recipe's task with fresh weights; a text encoder that cannot be loaded is a BERT-base."""
    terms = build_objectives(settings.objectives)
    parts = tuple(term.objective.name for term in terms)
    text = settings.model.text
    if text.name_or_path is None:
        text = replace(text, vocabulary_size=settings.vocabulary_size)
    try:
        model = VisionLanguageModel(replace(settings.model, parts=parts, text=text))
    except ConfigError:
        if text.name_or_path is None:
            raise
        console.print(f"[yellow]{text.name_or_path} is not at hand; planned with a BERT-base")
        sizes = replace(_BERT_BASE, frozen=text.frozen, clause_scope=text.clause_scope)
        model = VisionLanguageModel(replace(settings.model, parts=parts, text=sizes))
    size = model.text_encoder.vocabulary_size if model.wiring.text else 1
    return TrainingTask(model, terms, Vocabulary(size, mask_id=min(4, size - 1), special_ids=()))


def draw_batch(settings: PlanConfig, rows: int) -> StudyBatch:
    """Noise volumes with made-up reports of the asked-for length; no two are alike."""
    length = settings.report_tokens or settings.max_tokens
    known = settings.vocabulary_size if settings.model.text.name_or_path is None else 20000
    generator = torch.Generator().manual_seed(0)
    names = tuple(f"study {row}" for row in range(rows))
    places = torch.arange(length).expand(rows, -1)
    return StudyBatch(
        image=torch.rand(rows, 1, *settings.model.grid, generator=generator),
        token_ids=torch.randint(5, max(known, 6), (rows, length), generator=generator),
        token_mask=torch.ones(rows, length, dtype=torch.bool),
        clause_ids=places // _TOKENS_A_CLAUSE + 1,
        word_ids=places + 1,
        volume_ids=names,
        study_ids=names,
        patient_ids=names,
        report_ids=names,
    )


def forward(task: TrainingTask, batch: StudyBatch) -> Tensor:
    """The loss of a step; cut-offs that only a corpus decides are any."""
    context = StepContext(seed=0, epoch=0, step=0)
    views = task.views(batch, context, needs_of(task.terms))
    views.counts = views.count()
    views.similarity_cutoffs = views.similarity_cutoffs or (-0.5, 0.5)
    return task.apply_objectives(task.terms, views, batch, context).loss


def measure(
    settings: PlanConfig,
    task: TrainingTask,
    step: Callable[[int], Callable[[], Tensor]],
    device: torch.device,
) -> Calibration:
    """Time steps of growing size, and the encoder and decoder alone."""
    trials, peaks_gb = [], []
    for rows in _TRIED_ROWS:
        trials.append(time_pass(step(rows), task, _REPEATS))
        peaks_gb.append(peak_bytes(device) / GB)
    kept_gb = [trial.work.kept_bytes / GB for trial in trials]
    kept_factor = (peaks_gb[-1] - peaks_gb[-2]) / (kept_gb[-1] - kept_gb[-2])
    state = (weights(task) + trained(task)) * _FLOAT / GB
    trials += [time_pass(part, task, _REPEATS) for part in _parts(settings, task, device)]
    product, convolution, byte, operator = fit_rates(trials)
    return Calibration(
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        precision=settings.precision,
        threads=torch.get_num_threads(),
        seconds_per_product=product,
        seconds_per_convolution=convolution,
        seconds_per_moved_byte=byte,
        seconds_per_operator=operator,
        process_gb=peaks_gb[-1]
        - state
        - kept_factor * kept_gb[-1]
        + (_CUDA_CONTEXT_GB if device.type == "cuda" else 0.0),
        kept_factor=kept_factor,
    )


def _parts(
    settings: PlanConfig, task: TrainingTask, device: torch.device
) -> list[Callable[[], Tensor]]:
    """Encoder and decoder alone: they tell products, convolutions and traffic apart."""
    model, image = task.model, draw_batch(settings, 2).image.to(device)
    parts: list[Callable[[], Tensor]] = [lambda: model.encode_image(image).tokens.square().mean()]
    if "masked_volume" in model.wiring:
        encoded = model.encode_image(image)
        tokens = encoded.tokens.detach().requires_grad_()
        parts.append(lambda: model.decoder(tokens, encoded.grid).square().mean())
    return parts


def predict(
    settings: PlanConfig, task: TrainingTask, work: tuple[Work, Work], calibration: Calibration
) -> Plan:
    """What one device does in a step, holds at its peak, and leaves on the disk."""
    share = settings.loop.batch_size // settings.devices
    rows = min(share, settings.loop.micro_batch_size or share)
    at_once = work[0].grown(work[1], rows - 1)
    num_parts = math.ceil(share / rows)
    seconds = calibration.seconds(at_once) * share / rows
    if num_parts > 1:
        seconds *= _REPLAY
    hours = seconds * settings.loop.steps / 3600
    checkpoint_gb = (weights(task) + 2 * trained(task)) * _FLOAT / GB
    num_checkpoints = settings.loop.keep_checkpoints + settings.loop.keep_best
    volumes = settings.num_volumes
    voxels = math.prod(settings.model.grid)
    return Plan(
        rows=rows,
        step_seconds=seconds,
        memory_gb=calibration.process_gb
        + state_gb(settings, task)
        + calibration.kept_factor * at_once.kept_bytes / GB
        + share * voxels * _FLOAT / GB,
        hours=hours,
        run_gb=(num_checkpoints + 1) * checkpoint_gb + weights(task) * _FLOAT / GB,
        epoch_hours=seconds * volumes / settings.loop.batch_size / 3600 if volumes else None,
        store_gb=volumes * voxels * 2 / GB if volumes else None,
    )


def state_gb(settings: PlanConfig, task: TrainingTask) -> float:
    """Weights, gradients and two moments of a device; DDP holds each gradient twice."""
    state: float = weights(task) + 3 * trained(task)
    if settings.devices > 1:
        state = state / settings.devices if settings.strategy == "fsdp" else state + trained(task)
    return state * _FLOAT / GB


def weights(task: TrainingTask) -> int:
    """Numbers in all parameters and buffers."""
    return sum(tensor.numel() for tensor in (*task.parameters(), *task.buffers()))


def trained(task: TrainingTask) -> int:
    """Numbers in parameters that get a gradient."""
    return sum(p.numel() for p in task.parameters() if p.requires_grad)


def advise(
    settings: PlanConfig, task: TrainingTask, work: tuple[Work, Work], calibration: Calibration
) -> str:
    """What to change so that a device's memory is enough; the least change first."""
    assert settings.memory_gb is not None
    share = settings.loop.batch_size // settings.devices
    for rows in range(share - 1, 0, -1):
        smaller = replace(settings, loop=replace(settings.loop, micro_batch_size=rows))
        if predict(smaller, task, work, calibration).memory_gb <= settings.memory_gb:
            return (
                f"It does not fit. With --loop.micro_batch_size {rows} it does: the same gradients "
                "for a third more time."
            )
    if settings.strategy == "ddp" and settings.devices > 1:
        sharded = replace(
            settings, strategy="fsdp", loop=replace(settings.loop, micro_batch_size=1)
        )
        if predict(sharded, task, work, calibration).memory_gb <= settings.memory_gb:
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
    console.print("Not counted: time between processes, reading, corpus training and start.")
