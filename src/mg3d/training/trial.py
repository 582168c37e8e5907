"""Trial: whole optimiser steps of a recipe on noise, without a store and without scans.

Noise volumes and made-up reports cost what real ones do. A text encoder that is not at hand is
stood in for by a BERT-base with fresh weights.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from time import perf_counter

import torch

from mg3d.batch import StudyBatch
from mg3d.errors import ConfigError
from mg3d.model.text import TextConfig
from mg3d.model.vlm import VisionLanguageModel
from mg3d.objectives.base import StepContext
from mg3d.objectives.registry import build_objectives
from mg3d.process_memory import peak_resident_bytes
from mg3d.progress import console
from mg3d.training.engine import launch
from mg3d.training.frozen_text import FrozenText
from mg3d.training.optim import build_optimizer
from mg3d.training.settings import TrainingConfig
from mg3d.training.step import clip_gradients
from mg3d.training.task import TrainingTask, Vocabulary
from mg3d.training.work import Trace, Work, trace

_BERT_BASE = TextConfig(
    vocabulary_size=30522, hidden_size=768, num_layers=12, num_heads=12, intermediate_size=3072
)
_TOKENS_A_CLAUSE = 10  # of reports in the public data sets, roughly


@dataclass(frozen=True, kw_only=True)
class StepWork:
    """What a recipe's step takes, for any number of volumes."""

    one: Work
    """Forward and backward pass of one volume."""
    two: Work
    """The same of two; more follow the line through both."""
    update: Work
    """Of the weights, by the optimiser."""
    weights: int
    """Numbers in all parameters and buffers."""
    trained: int
    """Numbers in parameters that get a gradient."""

    def of(self, rows: int) -> Work:
        """Forward and backward pass of some volumes at once."""
        return self.one.grown(self.two, rows - 1)


class Trial:
    """A recipe's model, ready to step."""

    def __init__(self, settings: TrainingConfig, report_tokens: int = 0) -> None:
        """Build model and optimiser.

        Args:
            settings: The recipe.
            report_tokens: Length of a report; 0 = the most there can be.

        Raises:
            ConfigError: If the recipe is impossible.
        """
        self._settings = settings
        self._length = report_tokens or settings.max_tokens
        self._fabric = launch(settings.accelerator, settings.precision)
        self.device = self._fabric.device
        self.process_bytes = peak_bytes(self.device)
        """What the process held before the model was built."""
        self.task = build_task(settings).to(self.device)
        self._optimizer = build_optimizer(self.task.model, settings.optimizer)

    def gradients(self, rows: int) -> Callable[[], None]:
        """A forward and backward pass of some volumes, to be run as often as wanted."""
        batch = draw_batch(self._settings, rows, self._length).to(self.device)
        context = StepContext(seed=0, epoch=0, step=0)

        def run() -> None:
            with self._fabric.autocast():
                output = self.task.rehearse(batch, context)
            output.loss.backward()  # type: ignore[no-untyped-call]

        return run

    def update(self) -> None:
        """Clip the gradients, move the weights, and forget the gradients."""
        clip_gradients(self.task, self._settings.optimizer.clip_norm)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    @cached_property
    def work(self) -> StepWork:
        """Counted in steps of one and of two volumes."""
        (one, _), (two, update) = (self.trace(rows) for rows in (1, 2))
        return StepWork(
            one=one.work,
            two=two.work,
            update=update.work,
            weights=sum(t.numel() for t in (*self.task.parameters(), *self.task.buffers())),
            trained=sum(p.numel() for p in self.task.parameters() if p.requires_grad),
        )

    def time(self, rows: int, repeats: int) -> float:
        """Shortest of the times of whole steps: other programs only make them longer."""
        gradients = self.gradients(rows)
        times = []
        with console.status(f"a step of {rows} volumes") as status:
            for _ in range(repeats + 1):  # memory that is touched first takes longer
                began = perf_counter()
                gradients()
                self.update()
                if self.device.type == "cuda":
                    torch.cuda.synchronize()
                times.append(perf_counter() - began)
                status.update(f"a step of {rows} volumes: {times[-1]:.3g} s")
        return min(times[1:])

    def trace(self, rows: int) -> tuple[Trace, Trace]:
        """Forward and backward pass of some volumes, and the update, operator by operator."""
        gradients = self.gradients(rows)
        with console.status(f"operators of a step of {rows} volumes"):
            gradients()  # makes what stays, like moments and answers of a frozen text encoder
            self.update()
            return trace(gradients), trace(self.update)


def build_task(settings: TrainingConfig) -> TrainingTask:
    """The recipe's task with fresh weights."""
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
    task = TrainingTask(model, terms, Vocabulary(size, mask_id=min(4, size - 1), special_ids=()))
    if model.wiring.text and model.text_encoder.is_frozen:
        task.frozen_text = FrozenText(model.text_encoder, settings.text_cache_gb * 1e9)
    return task


def draw_batch(settings: TrainingConfig, rows: int, length: int) -> StudyBatch:
    """Noise volumes with made-up reports of ``length`` tokens; no two are alike."""
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


def peak_bytes(device: torch.device) -> int:
    """Most memory so far: of the process on the CPU, of torch's allocator on a GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return peak_resident_bytes()
