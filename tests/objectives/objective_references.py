"""Every objective again, literally from its equation: float64 scalars, Python loops, no masks.

Nothing here is shared with the package. Sums are over torch scalars so that autograd also gives
the gradient of the literal formula.
"""

import torch
from objective_cases import Case
from torch import Tensor

ZERO = torch.zeros((), dtype=torch.float64)


def with_report(case: Case) -> list[int]:
    return [row for row, study in enumerate(case.studies) if study.num_clauses > 0]


def are_related(case: Case, i: int, j: int) -> bool:
    one, two = case.studies[i], case.studies[j]
    same_report = one.report != "" and one.report == two.report
    return one.study == two.study or one.patient == two.patient or same_report


def cosine(x: Tensor, y: Tensor) -> Tensor:
    return (x * y).sum() / ((x * x).sum().sqrt() * (y * y).sum().sqrt())


def info_nce(case: Case, left: Tensor, right: Tensor, scale: Tensor | float) -> Tensor:
    rows, total = with_report(case), ZERO
    for i in rows:
        choices = [j for j in rows if j == i or not are_related(case, i, j)]
        for query, keys in ((left, right), (right, left)):
            exponentials = {j: torch.exp(scale * (query[i] * keys[j]).sum()) for j in choices}
            total = total - torch.log(exponentials[i] / sum(exponentials.values()))
    return (total / (2 * max(len(rows), 1))).sum()


def top1(case: Case, left: Tensor, right: Tensor) -> float:
    rows, right_answers, questions = with_report(case), 0, 0
    for i in rows:
        rivals = [j for j in rows if not are_related(case, i, j)]
        if not rivals:
            continue
        for query, keys in ((left, right), (right, left)):
            questions += 1
            best = max(float((query[i] * keys[j]).sum()) for j in rivals)
            right_answers += float((query[i] * keys[i]).sum()) > best
    return right_answers / max(questions, 1)


def plain_alignment(case: Case) -> Tensor:
    v = case.views
    return info_nce(case, v.image_embedding, v.text_embedding, v.logit_scale)


def global_alignment(case: Case) -> Tensor:
    return info_nce(case, case.views.fused_pair, case.views.plain_pair, 1 / 0.1)


def aggregation_contrast(case: Case) -> Tensor:
    return info_nce(case, case.views.aggregated, case.views.aggregation_anchor, 1 / 0.1)


def siglip(case: Case) -> Tensor:
    v, rows, total = case.views, with_report(case), ZERO
    for i in rows:
        for j in rows:
            if i != j and are_related(case, i, j):
                continue
            product = (v.image_embedding[i] * v.text_embedding[j]).sum()
            logit = v.logit_scale * product + v.logit_bias
            z = 1 if i == j else -1
            total = total - torch.log(1 / (1 + torch.exp(-z * logit)))
    return (total / max(len(rows), 1)).sum()


def clause_pairs(case: Case) -> list[tuple[Tensor, Tensor, bool]]:
    """(P, Q, may repel) of every ordered pair of clauses of different patients."""
    v, pairs = case.views, []
    clauses = [(i, s) for i, study in enumerate(case.studies) for s in range(study.num_clauses)]
    for i, s in clauses:
        for j, t in clauses:
            if case.studies[i].patient == case.studies[j].patient:
                continue
            visual = cosine(v.clause_visual[i, s], v.clause_visual[j, t])
            text = cosine(v.clause_reference[i, s], v.clause_reference[j, t])
            pairs.append((visual, text, not are_related(case, i, j)))
    return pairs


def sentence_similarity(case: Case) -> Tensor:
    below, above = case.views.similarity_cutoffs
    total, count = ZERO, 0
    for visual, text, may_repel in clause_pairs(case):
        if text >= above:
            total, count = total + (visual - text).abs(), count + 1
        elif text <= below and may_repel:
            total, count = total + visual.abs(), count + 1
    return total / max(count, 1)


def masked_report(case: Case) -> Tensor:
    v, tokens, clauses, num_clauses = case.views, ZERO, ZERO, 0
    for m in range(len(v.token_targets)):
        exponentials = torch.exp(v.token_logits[m])
        tokens = tokens - torch.log(exponentials[v.token_targets[m]] / exponentials.sum())
    for i, study in enumerate(case.studies):
        for s in range(study.num_clauses):
            clauses = clauses + 1 - cosine(v.clause_reconstruction[i, s], v.clause_target[i, s])
            num_clauses += 1
    return tokens / max(len(v.token_targets), 1) + 0.1 * clauses / max(num_clauses, 1)


def masked_volume(case: Case) -> Tensor:
    v, total, count = case.views, ZERO, 0
    for index in v.voxel_mask.nonzero().tolist():
        total = total + (v.reconstruction[tuple(index)] - case.batch.image[tuple(index)]) ** 2
        count += 1
    return total / max(count, 1)


REFERENCES = {
    "masked_report": masked_report,
    "masked_volume": masked_volume,
    "plain_alignment": plain_alignment,
    "global_alignment": global_alignment,
    "aggregation_contrast": aggregation_contrast,
    "sentence_similarity": sentence_similarity,
    "clip": plain_alignment,
    "siglip": siglip,
}
