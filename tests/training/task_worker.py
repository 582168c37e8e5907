"""The full method on one batch in float64, as one process or as one of two under DDP."""

import dataclasses
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from small_run import GRID, MODEL
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from mg3d.batch import StudyBatch
from mg3d.model.vlm import ModelConfig, VisionLanguageModel
from mg3d.objectives.base import StepContext
from mg3d.objectives.masked_volume import MaskedVolumeConfig
from mg3d.objectives.registry import ObjectivesConfig, build_objectives
from mg3d.training.task import TrainingTask, Vocabulary

VOCABULARY = Vocabulary(size=60, mask_id=4, special_ids=(0, 1, 2, 3, 4))
CONTEXT = StepContext(seed=3, epoch=1, step=7)
OBJECTIVES = ObjectivesConfig(masked_volume=MaskedVolumeConfig(block=(8, 8, 8)))
FUSIONS = ("cross_attention", "gate")
CLAUSES = ((3, 2, 4), (5,), (2, 2), (), (1, 3, 2, 2), (4, 4, 3), (3, 2, 4), (2,))  # tokens in each
PATIENTS = ("a", "b", "a", "c", "d", "e", "f", "g")  # two of a; f has the words of s0
SPLIT = (range(4), range(4, 8))  # rows of each process; their reports are of different length


def make_task(model: ModelConfig, objectives: ObjectivesConfig = OBJECTIVES) -> TrainingTask:
    """A task in float64; the same settings, the same weights."""
    terms = build_objectives(objectives)
    torch.manual_seed(0)
    text = replace(model.text, vocabulary_size=VOCABULARY.size)
    parts = tuple(term.objective.name for term in terms)
    built = VisionLanguageModel(replace(model, text=text, parts=parts)).double()
    if "sentence_similarity" in parts:
        built.set_reference(torch.full((text.hidden_size,), 0.1).double(), (0.0, 0.3))
    return TrainingTask(built, terms, VOCABULARY)


def with_fusion(kind: Any) -> ModelConfig:
    """The small model with this fusion."""
    return replace(MODEL, fusion=replace(MODEL.fusion, kind=kind))


def make_batch() -> StudyBatch:
    """Eight volumes: one without a report, two of one patient, two studies with one report."""
    generator = torch.Generator().manual_seed(1)
    reports = [_report(lengths, generator) for lengths in CLAUSES]
    reports[6] = reports[0]
    longest = max(len(report[0]) for report in reports)

    def stacked(part: int) -> Tensor:
        rows = [list(report[part]) + [0] * (longest - len(report[part])) for report in reports]
        return torch.tensor(rows)

    names = tuple(f"s{row}" for row in range(len(reports)))
    report_ids = [f"r{row}" if lengths else "" for row, lengths in enumerate(CLAUSES)]
    report_ids[6] = report_ids[0]
    return StudyBatch(
        image=torch.rand(len(reports), 1, *GRID, generator=generator, dtype=torch.float64),
        token_ids=stacked(0),
        token_mask=stacked(0) > 0,
        clause_ids=stacked(1),
        word_ids=stacked(2),
        volume_ids=names,
        study_ids=names,
        patient_ids=PATIENTS,
        report_ids=tuple(report_ids),
    )


def _report(
    lengths: tuple[int, ...], generator: torch.Generator
) -> tuple[list[int], list[int], list[int]]:
    """Token, clause and word ids, in [CLS] (2) and [SEP] (3); every token is a word."""
    clauses = [number for number, length in enumerate(lengths, 1) for _ in range(length)]
    tokens = torch.randint(5, VOCABULARY.size, (len(clauses),), generator=generator).tolist()
    words = list(range(1, len(clauses) + 1))
    return [2, *tokens, 3], [0, *clauses, 0], [0, *words, 0]


def rows_of(batch: StudyBatch, rows: range) -> StudyBatch:
    """These rows, padded to the longest of them only."""
    length = int(batch.token_mask[rows.start : rows.stop].sum(dim=1).max())
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(batch):
        value = getattr(batch, field.name)
        if isinstance(value, Tensor):
            picked = value[rows.start : rows.stop]
            changes[field.name] = picked if field.name == "image" else picked[:, :length]
        elif value is not None:
            changes[field.name] = value[rows.start : rows.stop]
    return replace(batch, **changes)


def measure(task: TrainingTask, batch: StudyBatch, *, wrapped: bool = False) -> dict[str, Tensor]:
    """Shares of losses and metrics, and the gradient of every parameter."""
    module = DistributedDataParallel(task) if wrapped else task  # it averages while it lives
    output = module(batch, CONTEXT)
    output.loss.backward()
    gradients = {
        f"grad.{name}": parameter.grad
        for name, parameter in task.named_parameters()
        if parameter.requires_grad and parameter.grad is not None
    }
    return {f"share.{k}": v.detach() for k, v in output.shares.items()} | gradients


def work(rank: int, folder: str) -> None:
    """What each of two processes measures on its rows."""
    torch.set_num_threads(1)
    meeting = f"file://{folder}/rendezvous"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    batch = rows_of(make_batch(), SPLIT[rank])
    measured = {
        f"{fusion}/{key}": value.contiguous()
        for fusion in FUSIONS
        for key, value in measure(make_task(with_fusion(fusion)), batch, wrapped=True).items()
    }
    save_file(measured, Path(folder) / f"rank{rank}.safetensors")
    dist.destroy_process_group()
