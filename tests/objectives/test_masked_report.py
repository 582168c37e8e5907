import math

import pytest
import torch
from objective_cases import MIXED, VOCABULARY, apply, build_case, loss_and_gradients

from mg3d.errors import ConfigError
from mg3d.objectives.masked_report import MaskedReport, MaskedReportConfig

TOKENS_ONLY = MaskedReportConfig(clause_weight=0.0)


def test_no_opinion_costs_the_logarithm_of_the_vocabulary():
    case = build_case(MIXED)
    case.views.token_logits = torch.zeros_like(case.views.token_logits)
    loss = apply("masked_report", case, TOKENS_ONLY).loss.item()
    assert loss == pytest.approx(math.log(VOCABULARY), rel=1e-14)  # measured: 1.2e-16


@pytest.mark.parametrize(("sign", "distance"), [(1, 0.0), (-1, 2.0)])
def test_the_clause_term_is_one_minus_the_cosine(sign, distance):
    case = build_case(MIXED)
    case.views.clause_reconstruction = sign * 3 * case.views.clause_target
    output = apply("masked_report", case, MaskedReportConfig(clause_weight=0.5))
    assert output.metrics["clause_loss"].item() == pytest.approx(distance, abs=1e-14)
    expected = output.metrics["token_loss"].item() + 0.5 * distance
    assert output.loss.item() == pytest.approx(expected, rel=1e-14)


def test_the_target_gets_no_gradient():
    case = build_case(MIXED)
    case.views.clause_target.requires_grad_()
    apply("masked_report", case).loss.backward()
    assert case.views.clause_target.grad is None


def test_accuracy_counts_tokens():
    case = build_case(MIXED)
    right = torch.nn.functional.one_hot(case.views.token_targets, VOCABULARY).double()
    right[0] = right[0].roll(1)
    case.views.token_logits = right
    accuracy = apply("masked_report", case).metrics["accuracy"].item()
    assert accuracy == pytest.approx(1 - 1 / len(right))


def test_tokens_and_clauses_are_averaged_over_the_batch_not_over_studies():
    """A study with four masked tokens weighs four times one with a single one."""
    _, gradients = loss_and_gradients("masked_report", build_case(MIXED))
    views = build_case(MIXED).views
    probabilities = views.token_logits.detach().softmax(dim=1)
    wanted = torch.nn.functional.one_hot(views.token_targets, VOCABULARY)
    expected = (probabilities - wanted) / len(views.token_targets)
    torch.testing.assert_close(gradients["token_logits"], expected, rtol=1e-13, atol=1e-16)


@pytest.mark.parametrize("weight", [-0.1, math.inf, math.nan])
def test_impossible_clause_weights_are_refused(weight):
    with pytest.raises(ConfigError, match="clause_weight"):
        MaskedReport(MaskedReportConfig(clause_weight=weight))
