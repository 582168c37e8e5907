"""A whole training step against a literal one, and where its time goes.

    python benchmarks/step.py [--repeats 5] [--threads 1] [--size 96] [--batch 2]

Ours: the training task as shipped. Literal: MONAI's encoder, three report encodes (masked, clean,
and clean again for the fused terms), one study, token and pair at a time in fusion and objectives
(`literal.py`, layers a study at a time, as the authors' code loops). Both sides hold the same
weights, encode two volumes (clean and masked), use the same decoders and hide the same words and
voxels; losses and gradients are compared in the same run. The text encoder has BERT-base's size and
random weights and is frozen; ours remembers what it said of each report, as in every epoch after
the first while the memory has room. Writes benchmarks/results/step.json.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import literal
from comparison import Comparison, interleaved_medians
from encoder_pair import build_reference, reference_last_map
from mg3d.batch import StudyBatch
from mg3d.model.swin3d import SwinConfig
from mg3d.model.text import TextConfig
from mg3d.model.vlm import ModelConfig, VisionLanguageModel
from mg3d.objectives.base import StepContext
from mg3d.objectives.masking import mask_blocks, mask_words
from mg3d.objectives.registry import ObjectivesConfig, build_objectives
from mg3d.training.frozen_text import FrozenText
from mg3d.training.task import TrainingTask, Vocabulary

NUM_TOKENS, NUM_CLAUSES, VOCABULARY = 250, 44, 28996
BERT_BASE = TextConfig(
    vocabulary_size=VOCABULARY, hidden_size=768, num_layers=12, num_heads=12,
    intermediate_size=3072, frozen=True,
)  # fmt: skip
CONTEXT = StepContext(seed=1, epoch=0, step=0)
WORDS = Vocabulary(size=VOCABULARY, mask_id=103, special_ids=(0, 101, 102, 103))


class LiteralStep:
    """The same losses, the long way."""

    def __init__(self, task: TrainingTask, config: SwinConfig) -> None:
        self.task = task
        self.encoder = build_reference(config)
        indices = self.encoder.state_dict() | task.model.image_encoder.state_dict()
        self.encoder.load_state_dict(indices)  # strict: only MONAI's index buffers are its own

    def __call__(self, batch: StudyBatch) -> dict[str, Tensor]:
        """Unweighted losses."""
        with literal.plain_layers():
            return self._losses(batch)

    def _losses(self, batch: StudyBatch) -> dict[str, Tensor]:
        model = self.task.model
        words = mask_words(
            batch.token_ids, batch.word_ids, batch.study_ids, seed=CONTEXT.seed,
            epoch=CONTEXT.epoch, vocab_size=WORDS.size, mask_id=WORDS.mask_id,
            special_ids=WORDS.special_ids, ratio=0.15,
        )  # fmt: skip
        x, y, z = batch.image.shape[2:]
        hidden = mask_blocks(
            batch.volume_ids, (x, y, z), seed=CONTEXT.seed, epoch=CONTEXT.epoch, block=16,
            ratio=0.5, device=batch.image.device,
        )  # fmt: skip
        masked_report, _ = self._report(words.token_ids, batch)
        report, _ = self._report(batch.token_ids, batch)
        _, frozen = self._report(batch.token_ids, batch)
        tokens = literal.Tokens(
            image=self._image(batch.image),
            masked_image=self._image(batch.image.masked_fill(hidden, 0.0)),
            report=report,
            masked_report=masked_report,
            token_mask=batch.token_mask,
            clause_ids=batch.clause_ids,
            masked_positions=words.masked_positions,
            targets=batch.token_ids,
            reference=frozen,
            rebuilt_loss=lambda rebuilt: F.mse_loss(
                torch.stack(rebuilt)[hidden], batch.image[hidden]
            ),
        )
        return literal.losses(model, tokens, batch)

    def _image(self, image: Tensor) -> Tensor:
        model = self.task.model
        tokens = reference_last_map(self.encoder)(image).flatten(2).transpose(1, 2)
        projected: Tensor = model.image_projection(tokens) + model.type_embedding.weight[1]
        return projected

    def _report(self, token_ids: Tensor, batch: StudyBatch) -> tuple[Tensor, Tensor]:
        """Projected tokens, and the frozen means of the clauses."""
        model = self.task.model
        with torch.no_grad():
            hidden, _ = model.text_encoder(token_ids, batch.token_mask, batch.clause_ids)
        projected = model.text_projection(hidden) + model.type_embedding.weight[0]
        clauses = [
            torch.stack([row[ids == k].mean(dim=0) for k in range(1, int(ids.max()) + 1)])
            for row, ids in zip(hidden, batch.clause_ids, strict=True)
        ]
        return projected, nn.utils.rnn.pad_sequence(clauses, batch_first=True)


def main() -> None:
    """Compare, print and store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="runs of each side, interleaved")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--size", type=int, default=96, help="voxels along each axis")
    parser.add_argument("--batch", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    literal.GRID_OF_TOKENS = (given.size // 32,) * 3
    literal.Layers.of_a_study = True
    config = SwinConfig(relative_position_index="truncated")
    task = build_task(given.size, config)
    batch = draw_batch(given.batch, given.size)
    reference = LiteralStep(task, config)
    table = Comparison("step")
    place = f"{given.size}^3, batch {given.batch}, {given.threads} thread"
    facts = {"threads": given.threads, "runs": given.repeats}
    for name, error in errors(task, reference, batch).items():
        table.add(f"{place}: largest {name}", error, None, "of the largest", **facts)
    remembering = TrainingTask(task.model, task.terms, WORDS)
    remembering.frozen_text = FrozenText(task.model.text_encoder, 1e9)
    sides = (
        lambda: ours_step(remembering, batch),
        lambda: ours_step(task, batch),
        lambda: literal_step(reference, batch),
    )
    later, first, loops = interleaved_medians(sides, given.repeats)
    table.add(f"{place}: forward + backward", later, loops, "s", **facts)
    table.add(f"{place}: the same, every report new to the encoder", first, loops, "s", **facts)
    for part, share in parts_of(remembering, batch).items():
        table.add(f"{place}: share of our time, {part}", share, None, "of a step", threads=1)
    table.print()
    table.save()


def build_task(
    size: int, config: SwinConfig, text: TextConfig = BERT_BASE, *, dim: int = 768
) -> TrainingTask:
    """The recipe mg3d at a cubic grid, its text encoder of BERT-base's size without its weights."""
    model = VisionLanguageModel(
        ModelConfig(grid=(size, size, size), dim=dim, image=config, text=text)
    )
    model.set_reference(torch.zeros(text.hidden_size), (0.85, 0.95))
    return TrainingTask(model, build_objectives(ObjectivesConfig()), WORDS)


def draw_batch(num_studies: int, size: int) -> StudyBatch:
    """Noise volumes, and reports of 250 tokens in up to 44 clauses."""
    names = tuple(str(number) for number in range(num_studies))
    clauses = torch.linspace(NUM_CLAUSES // 2, NUM_CLAUSES, num_studies).long()
    places = torch.arange(NUM_TOKENS)
    return StudyBatch(
        image=torch.rand(num_studies, 1, size, size, size),
        token_ids=torch.randint(1000, VOCABULARY, (num_studies, NUM_TOKENS)),
        token_mask=torch.ones(num_studies, NUM_TOKENS, dtype=torch.bool),
        clause_ids=places * clauses[:, None] // NUM_TOKENS + 1,
        word_ids=(places // 2 + 1).expand(num_studies, -1),
        volume_ids=names, study_ids=names, patient_ids=names, report_ids=names,
    )  # fmt: skip


def ours_step(task: TrainingTask, batch: StudyBatch) -> None:
    """Forward and backward as in training."""
    task(batch, CONTEXT).loss.backward()


def literal_step(reference: LiteralStep, batch: StudyBatch) -> None:
    """Forward and backward of the literal step."""
    weighted(reference.task, reference(batch)).backward()


def weighted(task: TrainingTask, losses: dict[str, Tensor]) -> Tensor:
    """The total that training minimises."""
    terms = [term.weight * losses[term.objective.name].squeeze() for term in task.terms]
    return torch.stack(terms).sum()


def errors(task: TrainingTask, reference: LiteralStep, batch: StudyBatch) -> dict[str, float]:
    """Largest difference of a loss, and of a gradient as a share of the largest gradient."""
    with torch.no_grad():
        shares = task(batch, CONTEXT).shares
        losses = {name: float(value) for name, value in reference(batch).items()}
    worst = max(abs(float(shares[f"loss.{name}"]) / value - 1) for name, value in losses.items())
    gradients = []
    for side in (lambda: ours_step(task, batch), lambda: literal_step(reference, batch)):
        task.zero_grad()
        reference.encoder.zero_grad()
        side()
        named = task.named_parameters()
        gradients.append({name: p.grad.clone() for name, p in named if p.grad is not None})
    for name, parameter in reference.encoder.named_parameters():
        gradients[1][f"model.image_encoder.{name}"] = parameter.grad
    ours, expected = gradients
    assert ours.keys() == expected.keys()
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    difference = max(float((ours[name] - expected[name]).abs().max()) for name in expected)
    return {"error of a loss": worst, "error of a gradient": difference / largest}


def parts_of(task: TrainingTask, batch: StudyBatch) -> dict[str, float]:
    """Share of each part in the time of one step, forward and backward together."""
    model = task.model
    methods: dict[str, tuple[Any, str]] = {
        "two volume encodes": (model, "encode_image"),
        "report encodes": (model, "encode_text"),
        "frozen reference": (model, "reference_clauses"),
        "fusion and word decoder": (model, "masked_report"),
        "fusion and voxel decoder": (model, "masked_volume"),
    }
    spent = dict.fromkeys(methods, 0.0)
    began = time.perf_counter()
    with torch.enable_grad():
        with timed(methods, spent):
            output = task(batch, CONTEXT)
        forward = time.perf_counter() - began
        output.loss.backward()
    whole = time.perf_counter() - began
    shares = {f"{name}, forward": seconds / whole for name, seconds in spent.items()}
    shares["the rest, forward"] = (forward - sum(spent.values())) / whole
    return shares | {"backward of all": 1 - forward / whole}


@contextmanager
def timed(methods: dict[str, tuple[Any, str]], spent: dict[str, float]) -> Iterator[None]:
    """Within the block, what the methods take is added up."""

    def measure(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def measured(*arguments: Any, **options: Any) -> Any:
            began = time.perf_counter()
            result = method(*arguments, **options)
            spent[name] += time.perf_counter() - began
            return result

        return measured

    for name, (owner, method) in methods.items():
        setattr(owner, method, measure(name, getattr(owner, method)))
    try:
        yield
    finally:
        for owner, method in methods.values():
            delattr(owner, method)


if __name__ == "__main__":
    main()
