"""`mg3d pretrain`: store in, run directory out.

Order: tokenizer -> model -> corpus training of the text encoder -> data-dependent start ->
loop -> release. Every stage leaves its result in the run directory, so the same command goes on
where a killed one stopped.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from lightning_fabric import Fabric

from mg3d.data.dataset import StudyDataset
from mg3d.data.store import VolumeStore
from mg3d.data.tokens import ReportTokenizer
from mg3d.errors import CheckpointError, ConfigError, DataError
from mg3d.files import write_atomic, write_json
from mg3d.model.vlm import ModelConfig, VisionLanguageModel
from mg3d.objectives.registry import ObjectivesConfig, build_objectives
from mg3d.training.batches import RunBatches, batch_loader
from mg3d.training.checkpoint import load_newest
from mg3d.training.corpus import CorpusConfig, train_on_corpus
from mg3d.training.loop import LoopConfig, Run, fit
from mg3d.training.optim import OptimizerConfig, build_optimizer
from mg3d.training.recorder import source_commit, write_environment
from mg3d.training.start import prepare_start
from mg3d.training.task import MaskingConfig, TrainingTask, Vocabulary
from mg3d.weights.release import save_release


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """Pre-train a model on a store. A recipe gives the defaults; options win over it."""

    store: Path
    """Folder written by `mg3d prepare`."""
    run: Path
    """Run directory; made when missing, gone on with when it holds a checkpoint."""
    seed: int = 1
    """Seed of the initial weights, order and masks."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """Architecture."""
    objectives: ObjectivesConfig = field(default_factory=ObjectivesConfig)
    """Terms of the loss and their weights; weight 0 leaves a term out."""
    masking: MaskingConfig = field(default_factory=MaskingConfig)
    """What the two reconstruction tasks hide."""
    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    """Training of the text encoder alone, on the training split's reports, before the volumes."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """Optimiser and schedule."""
    loop: LoopConfig = field(default_factory=LoopConfig)
    """Length, batch size, checkpoints and logs."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    """Arithmetic of the model; weights and sums stay float32."""
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train. Several GPUs or processes: start with `torchrun --nproc_per_node N -m mg3d`."""
    num_workers: int = 0
    """Processes that read the store, >= 0; 0 reads in the training process."""
    threads: int = 0
    """CPU threads of the arithmetic; 0 leaves torch's choice. Bit-equal resume needs the same number."""
    shuffle_reports: bool = False
    """Control experiment: give every training study another patient's report."""


def pretrain(settings: PretrainConfig) -> int:
    """Pre-train, or go on pre-training.

    Returns:
        0 when the release is written; 75 when a signal asked to stop and the state is saved.

    Raises:
        ConfigError: If recipe and store do not fit.
        DataError: If the store is unusable, or a loss is not finite.
        CheckpointError: If the run directory belongs to another model, store or recipe.
        StorageError: If the disk is full.
    """
    if settings.threads:
        torch.set_num_threads(settings.threads)
    fabric = _fabric(settings)
    store = VolumeStore.open(settings.store)
    _check_fit(settings, store, fabric.world_size)
    if fabric.global_rank == 0:
        _open_run(settings, store)
    fabric.barrier()
    tokenizer = _tokenizer(settings, store, fabric)
    dataset = StudyDataset(
        store, store.select("train"), tokenizer, report_from=_report_source(settings, store)
    )
    run = _assemble(settings, fabric, store, tokenizer, dataset)
    start = load_newest(settings.run, run.task.model, run.optimizer, run.fingerprint)
    code = fit(run, settings.loop, settings.optimizer, start)
    if code == 0 and fabric.global_rank == 0:
        save_release(
            settings.run / "release", run.task.model, tokenizer, store.settings_as_dict()
        )
    fabric.barrier()
    return code


def _fabric(settings: PretrainConfig) -> Fabric:
    """One process, or as many as torchrun or srun started."""
    environment = torch.distributed.is_available() and "WORLD_SIZE" in os.environ
    fabric = Fabric(
        accelerator=settings.accelerator,
        devices=int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if environment else 1,
        num_nodes=int(os.environ.get("GROUP_WORLD_SIZE", "1")) if environment else 1,
        strategy="ddp" if environment else "auto",
        precision=settings.precision,
    )
    fabric.launch()
    return fabric


def _check_fit(settings: PretrainConfig, store: VolumeStore, num_processes: int) -> None:
    if tuple(settings.model.grid) != tuple(store.settings.grid.grid):
        raise ConfigError(
            f"the store's grid is {store.settings.grid.grid} voxels, model.grid {settings.model.grid}; "
            "prepare the store with the recipe's grid or change model.grid"
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
