"""`mg3d pretrain`: store in, run directory out.

Order: tokenizer -> model -> corpus training of the text encoder -> data-dependent start ->
loop -> release. Every stage leaves its result in the run directory, so the same command goes on
where a killed one stopped.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning_fabric import Fabric

from mg3d.batch import StudyBatch
from mg3d.data.dataset import StudyDataset
from mg3d.data.sampler import EpochSampler
from mg3d.data.store import VolumeStore
from mg3d.data.text.tokens import ReportTokenizer
from mg3d.distributed import succeed_together
from mg3d.errors import ConfigError, DataError
from mg3d.files import remove_stale_temporaries, write_atomic, write_json
from mg3d.model.vlm import ModelConfig, VisionLanguageModel
from mg3d.objectives.registry import build_objectives
from mg3d.progress import console
from mg3d.training.accumulate import require_no_batch_statistics
from mg3d.training.batches import RunBatches, read_batches
from mg3d.training.checkpoint import Progress, has_checkpoint, load_newest
from mg3d.training.controls import with_shuffled_reports
from mg3d.training.engine import launch, set_up
from mg3d.training.frozen_text import FrozenText
from mg3d.training.loop import fit
from mg3d.training.recorder import source_commit, write_environment
from mg3d.training.rehearsal import rehearse
from mg3d.training.settings import TrainingConfig
from mg3d.training.sharding import unsharded
from mg3d.training.start import prepare_start
from mg3d.training.step import Run
from mg3d.training.stop import requeue_at_once
from mg3d.training.task import TrainingTask, Vocabulary
from mg3d.weights.release import save_release


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(TrainingConfig):
    """Pre-train a model on a store. A recipe gives the defaults; options win over it."""

    store: Path
    """Folder written by `mg3d prepare`."""
    run: Path
    """Run directory; made when missing, gone on with when it holds a checkpoint."""


def pretrain(settings: PretrainConfig) -> int:
    """Pre-train, or go on pre-training.

    A signal before the first step or after the last one ends the process at once, with 75.

    Returns:
        0 when the release is written; 75 when a signal asked to stop and the state is saved.

    Raises:
        ConfigError: If recipe and store do not fit.
        DataError: If the store is unusable, or a loss is not finite.
        CheckpointError: If the run directory belongs to another model, store or recipe.
        StorageError: If the disk is full.
        OtherProcessError: If one of these is another process's.
    """
    with requeue_at_once():
        return _pretrain(settings)


def _pretrain(settings: PretrainConfig) -> int:
    if settings.threads:
        torch.set_num_threads(settings.threads)
    fabric = launch(settings.accelerator, settings.precision, settings.strategy)
    store = VolumeStore.open(settings.store)
    _check_fit(settings, store, fabric.world_size)
    if settings.shuffle_reports:
        store = with_shuffled_reports(store, settings.seed)
    fingerprint = _fingerprint(settings, store)
    resumes = has_checkpoint(settings.run, fingerprint)  # a foreign run is refused untouched
    fabric.barrier()
    with succeed_together(fabric.device):
        if fabric.global_rank == 0:
            _remove_leftovers(settings.run)
            _describe_run(settings)
            if not resumes:
                _write_provenance(settings, store)
                _make_tokenizer(settings, store)
    tokenizer = ReportTokenizer.load(settings.run / "tokenizer")
    run, start = _assemble(settings, fabric, store, tokenizer, fingerprint, resumes=resumes)
    code = fit(run, settings.loop, settings.optimizer, start)
    if code == 0:
        model = unsharded(run.task.model)
        with succeed_together(fabric.device):
            if fabric.global_rank == 0:
                save_release(settings.run / "release", model, tokenizer, store.settings.to_json())
    return code


def _assemble(
    settings: PretrainConfig,
    fabric: Fabric,
    store: VolumeStore,
    tokenizer: ReportTokenizer,
    fingerprint: str,
    *,
    resumes: bool,
) -> tuple[Run, Progress]:
    """Model, objectives, data and state, ready for the loop."""
    objectives = build_objectives(settings.objectives)
    torch.manual_seed(settings.seed)
    parts = tuple(term.objective.name for term in objectives)
    model = VisionLanguageModel(_model_config(settings.model, tokenizer, parts))
    if model.wiring.text:
        _check_vocabulary(model, tokenizer)
    dataset = StudyDataset(store, store.select("train"), tokenizer)
    if fabric.global_rank == 0:
        _warn_of_truncation(dataset, tokenizer.max_tokens)
    vocabulary = Vocabulary(
        tokenizer.vocab_size, tokenizer.mask_token_id, tokenizer.special_token_ids
    )
    task = TrainingTask(model, objectives, vocabulary)
    _try_out(settings, fabric, task, dataset)
    with succeed_together(fabric.device):
        if not resumes and fabric.global_rank == 0:  # DDP and FSDP share the result
            begin, corpus = settings.start, settings.corpus
            model.to(fabric.device)
            prepare_start(model, dataset, tokenizer, vocabulary, corpus, begin, settings.seed)
    wrapped, bare_optimizer, optimizer = set_up(fabric, task, settings.optimizer)
    start = load_newest(
        settings.run, model, bare_optimizer, fingerprint, settings.loop.micro_batch_size
    )
    if model.wiring.text and model.text_encoder.is_frozen:
        task.frozen_text = FrozenText(model.text_encoder, settings.text_cache_gb * 1e9)
    sampler = EpochSampler(
        len(dataset),
        settings.loop.batch_size,
        seed=settings.seed,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
        patient_ids=dataset.patient_ids,
    )

    def batches(step: int) -> Generator[StudyBatch, None, None]:
        rest = RunBatches(sampler, start=step, steps=settings.loop.steps)
        pin = fabric.device.type == "cuda"
        return read_batches(dataset, rest, num_workers=settings.num_workers, pin_memory=pin)

    run = Run(
        folder=settings.run,
        fabric=fabric,
        task=task,
        wrapped=wrapped,
        optimizer=optimizer,
        fingerprint=fingerprint,
        seed=settings.seed,
        steps_per_epoch=sampler.num_batches,
        batches=batches,
        micro_batch_size=settings.loop.micro_batch_size,
    )
    return run, start


def _try_out(
    settings: PretrainConfig, fabric: Fabric, task: TrainingTask, dataset: StudyDataset
) -> None:
    """Find what cannot work before anything long begins."""
    own = settings.loop.batch_size // fabric.world_size
    at_once = min(own, settings.loop.micro_batch_size or own)
    if at_once < settings.loop.batch_size:
        require_no_batch_statistics(task, "several processes or micro-batches")
    rehearse(fabric, task, dataset, at_once, settings.optimizer, divided=at_once < own)


def _warn_of_truncation(dataset: StudyDataset, max_tokens: int) -> None:
    if dataset.num_truncated_reports:
        console.print(
            f"[yellow]{dataset.num_truncated_reports} reports are longer than {max_tokens} tokens "
            f"and lose their end, {dataset.num_truncated_tokens} tokens in all; the impression "
            "comes last. Raise --max_tokens if the text encoder can read more."
        )


def _model_config(
    model: ModelConfig, tokenizer: ReportTokenizer, parts: tuple[str, ...]
) -> ModelConfig:
    """The recipe's architecture with what follows from its objectives and the tokenizer."""
    text = model.text
    if text.name_or_path is None:
        text = dataclasses.replace(text, vocabulary_size=tokenizer.vocab_size)
    elif text.clause_scope == "clause" and text.start_id is None and text.end_id is None:
        # A clause on its own looks to the encoder like the texts it was trained on.
        start_id, end_id = tokenizer.start_token_id, tokenizer.end_token_id
        text = dataclasses.replace(text, start_id=start_id, end_id=end_id)
    return dataclasses.replace(model, parts=parts, text=text)


def _check_vocabulary(model: VisionLanguageModel, tokenizer: ReportTokenizer) -> None:
    known = model.text_encoder.vocabulary_size
    if tokenizer.vocab_size > known:
        raise ConfigError(
            f"model.text.name_or_path {model.config.text.name_or_path!r}: its tokenizer makes "
            f"{tokenizer.vocab_size} different tokens, its encoder knows {known}; they do not "
            "belong together. Name a folder that holds both as they were trained."
        )


def _check_fit(settings: PretrainConfig, store: VolumeStore, num_processes: int) -> None:
    if tuple(settings.model.grid) != tuple(store.settings.geometry.grid):
        raise ConfigError(
            f"the store's grid is {store.settings.geometry.grid} voxels, model.grid "
            f"{settings.model.grid}; prepare the store with the recipe's grid or change model.grid"
        )
    if settings.loop.batch_size % num_processes:
        raise ConfigError(
            f"loop.batch_size {settings.loop.batch_size} is not a multiple of the {num_processes} "
            "processes; choose one that is"
        )
    rows = len(store.select("train"))
    if rows < settings.loop.batch_size:
        raise DataError(
            f"{settings.store}: the training split holds {rows} volumes, fewer than one batch of "
            f"{settings.loop.batch_size}; lower loop.batch_size or add studies"
        )


def _remove_leftovers(run: Path) -> None:
    """Delete what a killed process left half-written in the folders that this command fills."""
    folders = [run]
    for part in ("tokenizer", "checkpoints", "release"):
        folders += [run / part, *(path for path in (run / part).rglob("*") if path.is_dir())]
    for folder in folders:
        remove_stale_temporaries(folder)


def _describe_run(settings: PretrainConfig) -> None:
    """Write the recipe and the machine as they are now."""
    recipe = {"pretrain": _plain(settings)}
    write_atomic(settings.run / "config.yaml", yaml.safe_dump(recipe, sort_keys=False))
    write_environment(settings.run)


def _write_provenance(settings: PretrainConfig, store: VolumeStore) -> None:
    """Write where the weights come from; a run that goes on keeps what it began with."""
    write_json(
        settings.run / "provenance.json",
        {
            "store": str(os.path.relpath(settings.store, settings.run)),
            "store_hash": store.content_hash,
            "seed": settings.seed,
            "commit": source_commit(),
            "shuffled_reports": settings.shuffle_reports,
        },
    )


def _plain(value: Any) -> Any:
    """A configuration as plain YAML values."""
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _fingerprint(settings: PretrainConfig, store: VolumeStore) -> str:
    """Hash of everything that decides the weights; where files lie and what is logged does not."""
    plain = _plain(settings)
    for name in (
        "store", "run", "num_workers", "threads", "accelerator", "strategy", "text_cache_gb",
    ):  # fmt: skip
        del plain[name]
    for name in (
        "micro_batch_size",
        "checkpoint_every",
        "keep_checkpoints",
        "keep_best",
        "log_every",
        "shortcut_every",
    ):
        del plain["loop"][name]
    content = json.dumps([plain, store.content_hash], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _make_tokenizer(settings: PretrainConfig, store: VolumeStore) -> None:
    """Write the run's tokenizer: the named encoder's, or one of the training split's words."""
    name = settings.model.text.name_or_path
    rule = store.settings.clauses
    if name is not None:
        made = ReportTokenizer.load(name, max_tokens=settings.max_tokens, clauses=rule)
    else:
        studies = sorted({row.study_id for row in store.select("train")})
        reports = (store.report(study) for study in studies)
        made = ReportTokenizer.train(
            (f"{report.findings} {report.impression}" for report in reports),
            settings.vocabulary_size,
            max_tokens=settings.max_tokens,
            clauses=rule,
        )
    made.save(settings.run / "tokenizer")
