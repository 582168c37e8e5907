import math

import pytest
import torch
from objective_cases import MIXED, apply, build_case, own


def without_opinion(studies):
    case = build_case(studies)
    with torch.no_grad():
        case.views.logit_scale.zero_()
        case.views.logit_bias.zero_()
    return case


def test_no_opinion_costs_ln2_for_each_pair_that_counts():
    four = tuple(own(i) for i in range(4))
    loss = apply("siglip", without_opinion(four)).loss.item()
    assert loss == pytest.approx(16 * math.log(2) / 4, rel=1e-14)  # measured: 1.6e-16


def test_related_pairs_are_neither_right_nor_wrong():
    # 7 of the 8 have a report; of their 49 pairs, 0-1, 0-2, 1-2 and 3-4 are related, both ways
    loss = apply("siglip", without_opinion(MIXED)).loss.item()
    assert loss == pytest.approx((49 - 8) * math.log(2) / 7, rel=1e-14)


def test_a_low_bias_fits_a_batch_in_which_most_pairs_are_wrong():
    case = build_case(MIXED)
    with torch.no_grad():
        case.views.logit_scale.zero_()
        case.views.logit_bias.zero_()
    (gradient,) = torch.autograd.grad(apply("siglip", case).loss, [case.views.logit_bias])
    assert gradient.item() > 0  # a descent step lowers it


def test_top1_is_that_of_the_same_space():
    case = build_case(MIXED, seed=3)
    assert torch.equal(
        apply("siglip", case).metrics["top1"], apply("plain_alignment", case).metrics["top1"]
    )
