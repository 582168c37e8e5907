"""Fusion and objectives, batched, against the same written as loops over studies and tokens.

    python benchmarks/fusion.py [--kind cross_attention gate] [--repeats 5] [--threads 1]

At the paper's size: 8 studies, reports of 250 tokens and up to 44 clauses, 48 image tokens of 768
features. Encoders and decoders are left out on both sides. Losses and every gradient are compared
in the same run. The loops apply linear layers to one token at a time or, in rows that say so, to
all tokens of a study, which is how far the authors' public code goes. Writes
benchmarks/results/fusion.json.
"""

import argparse
from collections.abc import Callable

import torch
from torch import Tensor, nn

import literal
from comparison import Comparison, interleaved_medians
from literal import Tokens
from mg3d.batch import StudyBatch
from mg3d.model.fusion import FusionConfig
from mg3d.model.outputs import ImageFeatures, TextFeatures
from mg3d.model.swin3d import SwinConfig
from mg3d.model.text import TextConfig, clause_means
from mg3d.model.vlm import ModelConfig, VisionLanguageModel
from mg3d.objectives.aggregation_contrast import AggregationContrast, AggregationContrastConfig
from mg3d.objectives.base import StepContext, Views
from mg3d.objectives.global_alignment import GlobalAlignment, GlobalAlignmentConfig
from mg3d.objectives.masked_report import MaskedReport, MaskedReportConfig
from mg3d.objectives.plain_alignment import PlainAlignment, PlainAlignmentConfig
from mg3d.objectives.sentence_similarity import SentenceSimilarity, SentenceSimilarityConfig

NUM_STUDIES, NUM_TOKENS, NUM_CLAUSES, NUM_PATCHES, DIM = 8, 250, 44, 48, 768
OBJECTIVES = (
    PlainAlignment(PlainAlignmentConfig()),
    GlobalAlignment(GlobalAlignmentConfig()),
    AggregationContrast(AggregationContrastConfig()),
    SentenceSimilarity(SentenceSimilarityConfig(similar_above=0.1, dissimilar_below=0.0)),
    MaskedReport(MaskedReportConfig()),
)
Losses = Callable[[], dict[str, Tensor]]


class WithoutDecoder(nn.Module):
    """Stands where a decoder is: hands on what would enter it.

    The features of hidden words then are their own logits (the right answer is always the first).
    """

    def forward(self, tokens: Tensor, _: object) -> Tensor:
        """The tokens."""
        return tokens


def main() -> None:
    """Compare, print and store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", nargs="*", default=["cross_attention", "gate"])
    parser.add_argument("--repeats", type=int, default=5, help="runs of each side, interleaved")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    table = Comparison("fusion")
    for kind in given.kind:
        compare(kind, given.repeats, given.threads, table)
    table.print()
    table.save()


def compare(kind: str, repeats: int, threads: int, table: Comparison) -> None:
    """Errors and times of one kind of fusion."""
    torch.manual_seed(0)
    model = build_model(kind)
    batch, tokens = draw_batch(), draw_tokens()

    def ours() -> dict[str, Tensor]:
        return batched(model, tokens, batch)

    def reference() -> dict[str, Tensor]:
        return literal.losses(model, tokens, batch)

    facts = {"threads": threads, "runs": repeats}
    for literal.Layers.of_a_study in (False, True):
        loops = "loops, layers a study at a time" if literal.Layers.of_a_study else "loops"
        case = f"{kind} against {loops}, {threads} thread"
        loss_error, gradient_error = errors(model, tokens, ours, reference)
        table.add(f"{case}: largest error of a loss", loss_error, None, "of the loss", **facts)
        unit = "of its largest entry"
        table.add(f"{case}: largest error of a gradient", gradient_error, None, unit, **facts)
        both = interleaved_medians([lambda: step(ours), lambda: step(reference)], repeats)
        table.add(f"{case}: forward + backward", *both, "s", **facts)
        forward = interleaved_medians([ours, reference], repeats)
        table.add(f"{case}: forward", *forward, "s", **facts)


def build_model(kind: str) -> VisionLanguageModel:
    """The paper's widths; the encoders are never called."""
    model = VisionLanguageModel(
        ModelConfig(
            dim=DIM,
            image=SwinConfig(),
            text=TextConfig(vocabulary_size=64),
            fusion=FusionConfig(kind=kind),  # type: ignore[arg-type]
        )
    )
    model.set_reference(torch.zeros(model.text_encoder.hidden_size), (0.0, 0.1))
    model.token_head = WithoutDecoder()  # type: ignore[assignment]
    model.decoder = WithoutDecoder()  # type: ignore[assignment]
    return model


def draw_batch() -> StudyBatch:
    """Eight studies of eight patients; two share a report."""
    names = tuple(str(number) for number in range(NUM_STUDIES))
    empty = torch.zeros(NUM_STUDIES, 0)
    return StudyBatch(
        image=empty, token_ids=empty, token_mask=empty, clause_ids=empty, word_ids=empty,
        volume_ids=names, study_ids=names, patient_ids=names,
        report_ids=("same", "same", *names[2:]),
    )  # fmt: skip


def draw_tokens() -> Tokens:
    """Reports of 250 tokens in 22 to 44 clauses, and what encoders could say of them."""
    lengths = torch.full((NUM_STUDIES,), NUM_TOKENS)
    clauses = torch.linspace(NUM_CLAUSES // 2, NUM_CLAUSES, NUM_STUDIES).long()
    places = torch.arange(NUM_TOKENS)
    inside = places < lengths[:, None]
    clause_ids = (places * clauses[:, None] // lengths[:, None] + 1) * inside
    return Tokens(
        image=torch.randn(NUM_STUDIES, NUM_PATCHES, DIM, requires_grad=True),
        masked_image=torch.randn(NUM_STUDIES, NUM_PATCHES, DIM, requires_grad=True),
        report=torch.randn(NUM_STUDIES, NUM_TOKENS, DIM, requires_grad=True),
        masked_report=torch.randn(NUM_STUDIES, NUM_TOKENS, DIM, requires_grad=True),
        token_mask=inside,
        clause_ids=clause_ids,
        masked_positions=(torch.rand(NUM_STUDIES, NUM_TOKENS) < 0.15) & inside,
        targets=torch.zeros(NUM_STUDIES, NUM_TOKENS, dtype=torch.int64),
        reference=torch.randn(NUM_STUDIES, NUM_CLAUSES, 128),
        rebuilt_loss=lambda rebuilt: torch.stack([each.square().mean() for each in rebuilt]).mean(),
    )


def batched(model: VisionLanguageModel, tokens: Tokens, batch: StudyBatch) -> dict[str, Tensor]:
    """All terms as training computes them."""
    grid = literal.GRID_OF_TOKENS
    image = ImageFeatures(tokens=tokens.image, grid=grid)
    text = text_features(tokens, tokens.report)
    fused = model.fuse_clean(image, text)
    views = Views(has_report=text.clause_mask.any(dim=1), clause_mask=text.clause_mask)
    views.image_embedding, views.text_embedding = model.plain_embeddings(image, text)
    views.logit_scale = model.logit_scale
    views.fused_pair, views.plain_pair = model.global_pair(image, text, fused)
    views.aggregated, views.aggregation_anchor, views.clause_visual = model.aggregation(
        image, text, fused
    )
    views.clause_reference = tokens.reference * text.clause_mask[:, :, None]
    views.similarity_cutoffs = model.similarity_cutoffs
    masked_text = text_features(tokens, tokens.masked_report)
    views.token_logits, views.clause_reconstruction = model.masked_report(
        masked_text, image, tokens.masked_positions
    )
    views.token_targets = torch.zeros(len(views.token_logits), dtype=torch.int64)
    views.clause_target = model.clause_targets(text)
    views.counts = views.count()
    hidden = model.masked_volume(ImageFeatures(tokens=tokens.masked_image, grid=grid), text)
    context = StepContext(seed=0, epoch=0, step=0)
    losses = {each.name: each.forward(views, batch, context).loss for each in OBJECTIVES}
    return losses | {"masked_volume": hidden.square().mean()}


def text_features(tokens: Tokens, features: Tensor) -> TextFeatures:
    """As `encode_text` would give them."""
    clauses, clause_mask = clause_means(features, tokens.token_mask, tokens.clause_ids)
    return TextFeatures(
        tokens=features, token_mask=tokens.token_mask, clause_ids=tokens.clause_ids,
        clauses=clauses, clause_mask=clause_mask,
    )  # fmt: skip


def step(losses: Losses) -> None:
    """Forward and backward."""
    torch.stack([value.squeeze() for value in losses().values()]).sum().backward()


def errors(
    model: nn.Module, tokens: Tokens, ours: Losses, reference: Losses
) -> tuple[float, float]:
    """Largest relative difference of a loss, and of a gradient relative to its largest entry."""
    values, gradients = [], []
    leaves = {
        name: value
        for name, value in vars(tokens).items()
        if getattr(value, "requires_grad", False)
    } | dict(model.named_parameters())
    for side in (ours, reference):
        for leaf in leaves.values():
            leaf.grad = None
        losses = side()
        torch.stack([value.squeeze() for value in losses.values()]).sum().backward()
        values.append({name: value.detach().squeeze() for name, value in losses.items()})
        gradients.append({n: leaf.grad for n, leaf in leaves.items() if leaf.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    loss_error = max(float((values[0][n] / values[1][n] - 1).abs()) for n in values[0])
    gradient_error = 0.0
    for name, expected in gradients[1].items():
        if expected.abs().max() == 0:
            continue
        difference = (gradients[0][name] - expected).abs().max() / expected.abs().max()
        gradient_error = max(gradient_error, float(difference))
    return loss_error, gradient_error


if __name__ == "__main__":
    main()
