"""What a training step costs over batch, voxels, clauses and report tokens: for `scaling.py`.

Every function here prepares one size and returns what measures it once: seconds a volume, or a
voxel. It is called in a process of its own (`turns.py`).
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from accumulation import Words
from mg3d.batch import StudyBatch
from mg3d.cli import parse
from mg3d.model.outputs import ImageFeatures
from mg3d.model.swin3d import Swin3D, SwinConfig
from mg3d.model.vlm import VisionLanguageModel
from mg3d.objectives.base import StepContext, Views
from mg3d.objectives.registry import build_objectives
from mg3d.training.engine import launch, set_up
from mg3d.training.frozen_text import FrozenText
from mg3d.training.pretrain import PretrainConfig, _model_config
from mg3d.training.step import Run, training_step
from mg3d.training.stop import StopRequest
from mg3d.training.task import TrainingTask, Vocabulary
from turns import Measure

SEED = 0
CONTEXT = StepContext(seed=SEED, epoch=0, step=0)
WARM_UP_STEPS = 2


def whole_step(options: Sequence[str], rows: int, volumes: int, threads: int) -> Measure:
    """Seconds a volume of whole optimiser steps of a recipe, as `mg3d pretrain` takes them.

    Args:
        options: The recipe and options, as `mg3d pretrain` reads them.
        rows: Volumes a step.
        volumes: Volumes to measure at a time, a multiple of ``rows``.
        threads: Of torch.
    """
    torch.set_num_threads(threads)
    settings = settings_of(options)
    run = make_run(settings)
    batch = draw_batch(rows, settings.model.grid, tokens=64, clauses=8)
    stop = StopRequest()

    def step() -> None:
        training_step(run, batch, CONTEXT, settings.optimizer.clip_norm, stop)

    return _timed(step, repeats=volumes // rows, units=volumes)


def encoder_pass(shape: tuple[int, int, int], window: int, threads: int) -> Measure:
    """Seconds a voxel of a Swin-B's forward and backward pass over one volume."""
    torch.set_num_threads(threads)
    launch("cpu", "32-true")
    torch.manual_seed(SEED)
    encoder = Swin3D(SwinConfig(window=(window,) * 3))
    volume = torch.rand(1, 1, *shape)

    def step() -> None:
        encoder(volume).tokens.pow(3).mean().backward()  # a plain sum has no gradient behind a norm
        encoder.zero_grad(set_to_none=True)

    return _timed(step, repeats=1, units=volume.numel())


def report_side(
    options: Sequence[str], rows: int, tokens: int, clauses: int, threads: int
) -> Measure:
    """Seconds a study of all of a step but the encoder and decoder of volumes."""
    torch.set_num_threads(threads)
    settings = settings_of(options)
    task = make_run(settings).task
    model = task.model
    batch = draw_batch(rows, settings.model.grid, tokens=tokens, clauses=clauses)
    with torch.no_grad():
        encoded = model.encode_image(batch.image)
        volume = batch.image.mean(dim=(1, 2, 3, 4))
    leaf = encoded.tokens.clone().requires_grad_()

    def encode_image(image: Tensor) -> ImageFeatures:
        return ImageFeatures(tokens=leaf.repeat(len(image) // rows, 1, 1), grid=encoded.grid)

    def decode(hidden: Tensor, _: object) -> Tensor:
        guess = hidden.mean(dim=(1, 2)) + volume
        return guess[:, None, None, None, None].expand_as(batch.image)

    model.encode_image = encode_image  # type: ignore[method-assign]
    model.decoder.forward = decode

    def step() -> None:
        task(batch, CONTEXT).loss.backward()
        task.zero_grad(set_to_none=True)

    return _timed(step, repeats=4, units=4 * rows)


def coupled_objectives(rows: int, clauses: int, threads: int) -> Measure:
    """Seconds a study of the losses that compare studies, on features: forward and backward."""
    torch.set_num_threads(threads)
    launch("cpu", "32-true")
    settings = settings_of(["phantom-tiny"])
    terms = [t for t in build_objectives(settings.objectives) if t.objective.couples_rows]
    batch = draw_batch(rows, (1, 1, 1), tokens=2 * clauses, clauses=clauses)
    width, narrow = settings.model.embedding_dim, settings.model.clause_dim
    generator = torch.Generator().manual_seed(SEED)

    def feature(*shape: int) -> Tensor:
        drawn = torch.randn(*shape, generator=generator)
        return torch.nn.functional.normalize(drawn, dim=-1).requires_grad_()

    names = ("image_embedding", "text_embedding", "fused_pair", "plain_pair", "aggregated")
    pairs = {name: feature(rows, width) for name in (*names, "aggregation_anchor")}
    leaves = {
        **pairs,
        "clause_visual": feature(rows, clauses, narrow),
        "logit_scale": torch.tensor([14.0], requires_grad=True),
    }
    reference = feature(rows, clauses, settings.model.text.hidden_size).detach()

    def step() -> None:
        views = Views(
            has_report=torch.ones(rows, dtype=torch.bool),
            clause_mask=torch.ones(rows, clauses, dtype=torch.bool),
            clause_reference=reference,
            similarity_cutoffs=(0.0, 0.2),  # half of the pairs are decided, as in training
            **leaves,
        )
        losses = [t.weight * t.objective.forward(views, batch, CONTEXT).loss for t in terms]
        torch.autograd.grad(torch.stack(losses).sum(), list(leaves.values()), allow_unused=True)

    return _timed(step, repeats=1, units=rows)


def settings_of(options: Sequence[str]) -> PretrainConfig:
    """A recipe in float32 on the CPU."""
    words = [options[0], "store", "run", "--precision", "32-true", "--accelerator", "cpu"]
    parsed: PretrainConfig = parse(PretrainConfig, "pretrain", [*words, *options[1:]])
    return parsed


def make_run(settings: PretrainConfig) -> Run:
    """A run of a recipe with random weights, ready for a step; a frozen encoder remembers."""
    fabric = launch(settings.accelerator, settings.precision)
    objectives = build_objectives(settings.objectives)
    torch.manual_seed(SEED)
    parts = tuple(term.objective.name for term in objectives)
    model = VisionLanguageModel(_model_config(settings.model, Words(), parts))  # type: ignore[arg-type]
    model.set_reference(torch.zeros(model.config.text.hidden_size), (0.0, 0.3))
    task = TrainingTask(model, objectives, Vocabulary(Words.vocab_size, 4, (0, 1, 2, 3, 4)))
    wrapped, _, optimizer = set_up(fabric, task, settings.optimizer)
    if model.text_encoder.is_frozen:
        task.frozen_text = FrozenText(model.text_encoder, settings.text_cache_gb * 1e9)
    return Run(
        folder=Path("run"), fabric=fabric, task=task, wrapped=wrapped, optimizer=optimizer,
        fingerprint="", seed=SEED, steps_per_epoch=1, batches=lambda _: (),
    )  # fmt: skip


def draw_batch(rows: int, grid: tuple[int, int, int], *, tokens: int, clauses: int) -> StudyBatch:
    """Noise volumes of as many patients, with reports of equal length and different words."""
    generator = torch.Generator().manual_seed(SEED)
    places = torch.arange(tokens).expand(rows, -1)
    names = tuple(f"s{row}" for row in range(rows))
    return StudyBatch(
        image=torch.rand(rows, 1, *grid, generator=generator),
        token_ids=torch.randint(5, Words.vocab_size, (rows, tokens), generator=generator),
        token_mask=torch.ones(rows, tokens, dtype=torch.bool),
        clause_ids=places * clauses // tokens + 1,
        word_ids=places + 1,
        volume_ids=names, study_ids=names, patient_ids=names, report_ids=names,
    )  # fmt: skip


def _timed(step: Callable[[], None], *, repeats: int, units: int) -> Measure:
    for _ in range(WARM_UP_STEPS):
        step()

    def measure() -> float:
        began = time.perf_counter()
        for _ in range(repeats):
            step()
        return (time.perf_counter() - began) / units

    return measure
