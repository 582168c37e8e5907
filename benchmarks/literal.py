"""Fusion and objectives written down literally: one study, one token, one pair at a time.

The reference of `fusion.py` and `step.py`. It reads the weights of our own model, so both sides
compute the same function; only the way differs. Nothing here is batched over studies, tokens
(queries), clauses or pairs. Layers act on one token at a time, as the equations are written, or,
where `Layers.of_a_study` is chosen, on all tokens of one study at once, as in the authors' public
code, which loops over scores only. Written before the batched form was tuned.

Axes: n and m tokens, N image tokens, L report tokens, S clauses, D features, E embedding.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mg3d.batch import StudyBatch
from mg3d.model import linear
from mg3d.model.aggregation import GateAggregation
from mg3d.model.fusion import FusionStack, GateBlock
from mg3d.model.pooling import AttentionPool
from mg3d.model.vlm import VisionLanguageModel

GRID_OF_TOKENS = (4, 3, 4)


@contextmanager
def plain_layers() -> Iterator[None]:
    """Within the block every linear layer is `nn.Linear` as PyTorch ships it."""
    threshold = linear._WORTHWHILE
    linear._WORTHWHILE = math.inf  # type: ignore[assignment]
    try:
        yield
    finally:
        linear._WORTHWHILE = threshold


class Layers:
    """How linear layers, norms and MLPs are applied to the tokens of one study."""

    of_a_study = False

    @classmethod
    def apply(cls, layer: nn.Module, x_nD: Tensor) -> Tensor:
        """(n, D) -> (n, D')."""
        if cls.of_a_study:
            whole_nD: Tensor = layer(x_nD)
            return whole_nD
        return torch.stack([layer(x_D) for x_D in x_nD])


@dataclass(kw_only=True)
class Tokens:
    """What the encoders give the fusion, for a whole batch; both sides start from it."""

    image: Tensor
    """(B, N, D)."""
    masked_image: Tensor
    """(B, N, D), of the volumes with hidden blocks."""
    report: Tensor
    """(B, L, D)."""
    masked_report: Tensor
    """(B, L, D), of the reports with hidden words."""
    token_mask: Tensor
    """(B, L) bool."""
    clause_ids: Tensor
    """(B, L), 0 = no clause."""
    masked_positions: Tensor
    """(B, L) bool."""
    targets: Tensor
    """(B, L) int64, the words as they were."""
    reference: Tensor
    """(B, S, H), frozen features of the clauses."""
    rebuilt_loss: Callable[[list[Tensor]], Tensor]
    """Loss of the rebuilt volumes, one tensor a study."""


@dataclass(kw_only=True)
class Study:
    """One study on its way through."""

    image: Tensor
    """(N, D)."""
    clauses: Tensor
    """(S, D)."""
    report_vector: Tensor
    """(D,)."""
    volume_vector: Tensor
    """(D,)."""


def losses(model: VisionLanguageModel, tokens: Tokens, batch: StudyBatch) -> dict[str, Tensor]:
    """Every term, with layers as PyTorch ships them."""
    with plain_layers():
        return _losses(model, tokens, batch)


def _losses(model: VisionLanguageModel, tokens: Tokens, batch: StudyBatch) -> dict[str, Tensor]:
    studies = [_study(model, tokens, row) for row in range(len(batch))]
    return {
        "plain_alignment": plain_alignment(model, studies, batch),
        "masked_report": masked_report(model, tokens, studies),
        "masked_volume": masked_volume(model, tokens, studies),
        **fused_terms(model, tokens, studies, batch),
    }


def _study(model: VisionLanguageModel, tokens: Tokens, row: int) -> Study:
    clauses_SD = clause_means(tokens.report[row], tokens, row)
    return Study(
        image=tokens.image[row],
        clauses=clauses_SD,
        report_vector=attention_pool(model.report_pool, clauses_SD),
        volume_vector=attention_pool(
            model.volume_pool.pool, tokens.image[row] + model.volume_pool.positions
        ),
    )


def clause_means(report_LD: Tensor, tokens: Tokens, row: int) -> Tensor:
    """(S, D)."""
    ids_L, mask_L = tokens.clause_ids[row], tokens.token_mask[row]
    means = []
    for clause in range(1, int(ids_L.max()) + 1):
        members = [
            report_LD[place]
            for place in range(len(ids_L))
            if mask_L[place] and ids_L[place] == clause
        ]
        means.append(torch.stack(members).mean(dim=0))
    return torch.stack(means)


def masked_report(model: VisionLanguageModel, tokens: Tokens, studies: list[Study]) -> Tensor:
    """Cross-entropy of hidden words, and the cosine distance of reconstructed clauses."""
    word_losses, distances = [], []
    table_VH = model.text_encoder.token_embedding.weight
    for row, study in enumerate(studies):
        inside_L = tokens.token_mask[row]
        fused_LD = torch.zeros_like(tokens.masked_report[row])
        words_LD = tokens.masked_report[row][inside_L]
        fused_LD[inside_L] = fuse(model.report_fusion, words_LD, study.image)[0]
        for place in range(len(fused_LD)):
            if tokens.masked_positions[row, place]:
                logits_V = model.token_head(fused_LD[place][None], table_VH)[0]
                told = logits_V[tokens.targets[row, place]]
                word_losses.append(torch.logsumexp(logits_V, dim=0) - told)
        guesses_SD = clause_means(fused_LD, tokens, row)
        for guess_D, clause_D in zip(guesses_SD, study.clauses, strict=True):
            target_D = F.layer_norm(clause_D.detach(), clause_D.shape)
            rebuilt_D = model.reconstruction_head(guess_D)
            distances.append(1 - F.cosine_similarity(rebuilt_D, target_D, dim=0))
    return torch.stack(word_losses).mean() + 0.1 * torch.stack(distances).mean()


def masked_volume(model: VisionLanguageModel, tokens: Tokens, studies: list[Study]) -> Tensor:
    """Loss of hidden volumes, rebuilt one study at a time."""
    rebuilt = []
    for row, study in enumerate(studies):
        fused_ND, _ = fuse(model.image_fusion, tokens.masked_image[row], study.clauses)
        rebuilt.append(model.decoder(fused_ND[None], GRID_OF_TOKENS)[0])
    return tokens.rebuilt_loss(rebuilt)


def fused_terms(
    model: VisionLanguageModel, tokens: Tokens, studies: list[Study], batch: StudyBatch
) -> dict[str, Tensor]:
    """global_alignment, aggregation_contrast and sentence_similarity."""
    fused_pairs, plain_pairs, aggregated, anchors, visual = [], [], [], [], []
    for study in studies:
        image_ND, clauses_SD = fuse(model.image_fusion, study.image, study.clauses)
        fused_report_D = attention_pool(model.fused_report_pool, clauses_SD)
        positions_ND = model.fused_volume_pool.positions
        fused_volume_D = attention_pool(model.fused_volume_pool.pool, image_ND + positions_ND)
        fused_pairs.append(model.fused_pair_head(torch.cat([fused_report_D, fused_volume_D])))
        plain = torch.cat([study.report_vector, study.volume_vector])
        plain_pairs.append(model.plain_pair_head(plain))
        x_SD, y_D = aggregate(model, study)
        aggregated.append(model.aggregated_head(y_D))
        gated = isinstance(model.aggregator, GateAggregation)
        anchors.append(model.anchor_head(fused_volume_D if gated else study.report_vector))
        visual.append([model.clause_head(x_D) for x_D in x_SD])
    return {
        "global_alignment": info_nce(fused_pairs, plain_pairs, batch, 10.0),
        "aggregation_contrast": info_nce(aggregated, anchors, batch, 10.0),
        "sentence_similarity": sentence_similarity(model, visual, tokens.reference, batch),
    }


def fuse(stack: FusionStack, first_nD: Tensor, second_mD: Tensor) -> tuple[Tensor, Tensor]:
    """Both sides of one study after all layers."""
    for layer, first_block in enumerate(stack.first_blocks):
        updated_nD = block(first_block, first_nD, second_mD)
        if layer < len(stack.second_blocks):
            second_mD = block(stack.second_blocks[layer], second_mD, first_nD)
        first_nD = updated_nD
    return first_nD, second_mD


def block(module: nn.Module, x_nD: Tensor, y_mD: Tensor) -> Tensor:
    """One layer on one side of one study."""
    if isinstance(module, GateBlock):
        return gate(module, x_nD, y_mD)
    found_nD = attention(
        Layers.apply(nn.Sequential(module.norm_query, module.query), x_nD),
        Layers.apply(nn.Sequential(module.norm_context, module.key), y_mD),
        Layers.apply(nn.Sequential(module.norm_context, module.value), y_mD),
        module.heads,
    )
    x_nD = x_nD + Layers.apply(module.out, found_nD)
    return x_nD + Layers.apply(nn.Sequential(module.norm_mlp, module.mlp), x_nD)


def gate(module: GateBlock, x_nD: Tensor, y_mD: Tensor) -> Tensor:
    """``x_i <- mean_j sigmoid(<q(x_i), k(y_j)> / sqrt(D)) v(x_i)``, a token at a time."""
    query_nD, value_nD = Layers.apply(module.query, x_nD), Layers.apply(module.value, x_nD)
    key_mD = Layers.apply(module.key, y_mD)
    rows = []
    for query_D, value_D in zip(query_nD, value_nD, strict=True):
        scores_m = (query_D * key_mD).sum(dim=1) / math.sqrt(len(query_D))
        rows.append((torch.sigmoid(scores_m)[:, None] * value_D).mean(dim=0))
    return torch.stack(rows)


def attention(query_nD: Tensor, key_mD: Tensor, value_mD: Tensor, heads: int) -> Tensor:
    """Softmax attention, a head and a query at a time."""
    rows = []
    for query_D in query_nD:
        found = []
        for query_d, key_md, value_md in zip(
            query_D.chunk(heads), key_mD.chunk(heads, dim=1), value_mD.chunk(heads, dim=1),
            strict=True,
        ):  # fmt: skip
            share_m = torch.softmax((key_md @ query_d) / math.sqrt(len(query_d)), dim=0)
            found.append((share_m[:, None] * value_md).sum(dim=0))
        rows.append(torch.cat(found))
    return torch.stack(rows)


def attention_pool(module: AttentionPool, tokens_ND: Tensor) -> Tensor:
    """(D,) of one study."""
    keys_ND = Layers.apply(nn.Sequential(module.norm, module.key), tokens_ND)
    values_ND = Layers.apply(nn.Sequential(module.norm, module.value), tokens_ND)
    found_QD = attention(module.query_tokens, keys_ND, values_ND, module.heads)
    return module.out(found_QD.flatten())


def aggregate(model: VisionLanguageModel, study: Study) -> tuple[Tensor, Tensor]:
    """x (S, D) and y (D,) of one study."""
    module = model.aggregator
    if not isinstance(module, GateAggregation):
        x_SD = attention(
            Layers.apply(module.query, study.clauses),
            Layers.apply(module.key, study.image),
            Layers.apply(module.value, study.image),
            module.heads,
        )
        return x_SD, torch.tanh(module.summary(x_SD.mean(dim=0)))
    clauses, y_D = list(study.clauses), study.volume_vector
    for query, key, value in zip(module.queries, module.keys, module.values, strict=True):
        question_D = query(y_D)
        clauses = [
            torch.sigmoid((question_D * key(x_D)).sum() / math.sqrt(len(x_D))) * value(x_D)
            for x_D in clauses
        ]
        y_D = torch.tanh(module.summary(torch.stack(clauses).mean(dim=0)))
    return torch.stack(clauses), y_D


def plain_alignment(model: VisionLanguageModel, studies: list[Study], batch: StudyBatch) -> Tensor:
    """InfoNCE of the two plain embeddings at the learned temperature."""
    images = [model.image_head(study.volume_vector) for study in studies]
    texts = [model.text_head(study.report_vector) for study in studies]
    return info_nce(images, texts, batch, model.logit_scale).squeeze()


def info_nce(
    left: list[Tensor], right: list[Tensor], batch: StudyBatch, scale: Tensor | float
) -> Tensor:
    """Symmetric InfoNCE, a pair at a time; related studies are no negatives."""
    total = []
    for i in range(len(left)):
        for queries, keys in ((left, right), (right, left)):
            logits = [
                scale * (queries[i] * keys[j]).sum()
                for j in range(len(keys))
                if j == i or not related(batch, i, j)
            ]
            own = scale * (queries[i] * keys[i]).sum()
            total.append(torch.logsumexp(torch.stack(logits), dim=0) - own)
    return torch.stack(total).mean()


def related(batch: StudyBatch, i: int, j: int) -> bool:
    """The two share a study, a patient or a report."""
    same_report = batch.report_ids[i] != "" and batch.report_ids[i] == batch.report_ids[j]
    return (
        batch.study_ids[i] == batch.study_ids[j]
        or batch.patient_ids[i] == batch.patient_ids[j]
        or same_report
    )


def sentence_similarity(
    model: VisionLanguageModel,
    visual: list[list[Tensor]],
    reference_BSH: Tensor,
    batch: StudyBatch,
) -> Tensor:
    """Every ordered pair of clauses of different patients, one at a time."""
    cutoffs = model.similarity_cutoffs
    assert cutoffs is not None
    below, above = cutoffs
    clauses = [(row, s) for row, study in enumerate(visual) for s in range(len(study))]
    total = []
    for i, s in clauses:
        for j, t in clauses:
            if batch.patient_ids[i] == batch.patient_ids[j]:
                continue
            text = F.cosine_similarity(reference_BSH[i, s], reference_BSH[j, t], dim=0)
            if text >= above:
                target: Tensor | float = text
            elif text <= below and not related(batch, i, j):
                target = 0.0
            else:
                continue
            seen = F.cosine_similarity(visual[i][s], visual[j][t], dim=0)
            total.append((seen - target).abs())
    return torch.stack(total).mean()
