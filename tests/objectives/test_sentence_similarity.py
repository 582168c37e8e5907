from dataclasses import replace

import pytest
import torch
from objective_cases import MIXED, apply, build_case, own
from objective_references import clause_pairs, sentence_similarity

from mg3d.errors import ConfigError
from mg3d.objectives.sentence_similarity import SentenceSimilarityConfig

TWO = (own(0, num_clauses=1), own(1, num_clauses=1))


def facing(cosine, visual, studies=TWO):
    """Two clauses whose texts have this cosine and whose visual features that one."""
    case = build_case(studies, num_features=2)
    for name, value in (("clause_reference", cosine), ("clause_visual", visual)):
        second = [value, (1 - value**2) ** 0.5]
        rows = torch.tensor([[[1.0, 0.0]], [second]], dtype=torch.float64)
        setattr(case.views, name, rows.requires_grad_(name == "clause_visual"))
    return case


@pytest.mark.parametrize(
    ("text", "visual", "expected"),
    [
        (0.9, 0.9, 0.0),
        (0.9, 0.2, 0.7),
        (0.31, -0.5, 0.81),  # just above the upper cut-off
        (0.29, -0.5, 0.0),  # just below it: ignored
        (-0.19, 0.4, 0.0),
        (-0.21, 0.4, 0.4),  # just below the lower one: the target is 0, not -0.21
        (-0.7, -0.6, 0.6),
    ],
)
def test_two_clauses_cost_what_the_rule_says(text, visual, expected):
    assert apply("sentence_similarity", facing(text, visual)).loss.item() == pytest.approx(
        expected, abs=1e-14
    )


def test_the_cut_offs_themselves_count():
    """Of clauses told twice, in words that are alike or have nothing in common."""
    case = facing(1.0, 0.2)
    case.views.similarity_cutoffs = (0.0, 1.0)
    assert apply("sentence_similarity", case).loss.item() == pytest.approx(0.8, rel=1e-14)
    case = facing(0.0, 0.2)
    case.views.similarity_cutoffs = (0.0, 1.0)
    assert apply("sentence_similarity", case).loss.item() == pytest.approx(0.2, rel=1e-14)


def test_the_scale_of_features_does_not_matter():
    case = build_case(MIXED)
    before = apply("sentence_similarity", case).loss.item()
    case.views.clause_visual = (case.views.clause_visual.detach() * 17).requires_grad_()
    case.views.clause_reference = case.views.clause_reference * 0.01
    assert apply("sentence_similarity", case).loss.item() == pytest.approx(before, rel=1e-13)


def test_clauses_of_one_patient_are_no_pair():
    one_patient = (TWO[0], replace(TWO[1], patient=TWO[0].patient))
    output = apply("sentence_similarity", facing(0.9, 0.2, one_patient))
    assert output.loss.item() == 0
    assert not any(output.metrics.values())


def test_equal_reports_attract_but_never_repel():
    one_report = (TWO[0], replace(TWO[1], report=TWO[0].report))
    alike = apply("sentence_similarity", facing(0.9, 0.2, one_report)).loss.item()
    unlike = apply("sentence_similarity", facing(-0.9, 0.2, one_report)).loss.item()
    assert alike == pytest.approx(0.7, rel=1e-14)
    assert unlike == 0


def test_the_reference_gets_no_gradient():
    case = build_case(MIXED)
    case.views.clause_reference.requires_grad_()
    apply("sentence_similarity", case).loss.backward()
    assert case.views.clause_reference.grad is None
    assert case.views.clause_visual.grad.abs().sum() > 0


def test_the_shares_of_kept_pairs_are_logged():
    case = build_case(MIXED)
    pairs = clause_pairs(case)
    metrics = apply("sentence_similarity", case).metrics
    positive = sum(text.item() >= 0.3 for _, text, _ in pairs)
    negative = sum(text.item() <= -0.2 and may_repel for _, text, may_repel in pairs)
    assert 0 < positive < len(pairs) > negative > 0
    assert metrics["positive_pairs"].item() == pytest.approx(positive / len(pairs))
    assert metrics["negative_pairs"].item() == pytest.approx(negative / len(pairs))


def test_given_cutoffs_win_over_those_of_the_corpus():
    case = build_case(MIXED)
    settings = SentenceSimilarityConfig(similar_above=0.8, dissimilar_below=0.1)
    measured = apply("sentence_similarity", case, settings).loss.item()
    case.views.similarity_cutoffs = (0.1, 0.8)
    assert measured == pytest.approx(sentence_similarity(case).item(), rel=1e-13)
    only_upper = apply("sentence_similarity", case, SentenceSimilarityConfig(similar_above=0.9))
    case.views.similarity_cutoffs = (0.1, 0.9)
    assert only_upper.loss.item() == pytest.approx(sentence_similarity(case).item(), rel=1e-13)


@pytest.mark.parametrize(
    ("of_corpus", "settings"),
    [
        (None, SentenceSimilarityConfig()),
        (None, SentenceSimilarityConfig(similar_above=0.9)),
        ((0.6, 0.9), SentenceSimilarityConfig(similar_above=0.5)),
        ((0.6, 0.6), SentenceSimilarityConfig()),
    ],
)
def test_missing_or_crossed_cutoffs_are_refused(of_corpus, settings):
    case = build_case(MIXED)
    case.views.similarity_cutoffs = of_corpus
    with pytest.raises(ConfigError, match=r"dissimilar_below is .* similar_above is"):
        apply("sentence_similarity", case, settings)
