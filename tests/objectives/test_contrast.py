import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from objective_cases import MIXED, build_case, own
from objective_references import top1

from mg3d.errors import ConfigError
from mg3d.objectives.contrast import (
    info_nce_share,
    inverse_temperature,
    pair_cosines,
    related,
    top1_share,
)


def strangers(count):
    """Identities of rows that have nothing in common."""
    return torch.arange(3 * count).reshape(count, 3)


def pairs_of(left, right, identities=None):
    identities = strangers(len(left)) if identities is None else identities
    return pair_cosines(left, right, torch.ones(len(left), dtype=torch.bool), identities)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_equal_embeddings_give_the_logarithm_of_the_count(count):
    same = torch.nn.functional.normalize(torch.ones(count, 4, dtype=torch.float64), dim=1)
    loss = info_nce_share(pairs_of(same, same), 10.0)
    assert loss.item() == pytest.approx(math.log(count), abs=1e-14)  # measured: 4.5e-16


def test_separated_pairs_give_no_loss_and_swapped_pairs_the_scale():
    axes = torch.eye(4, dtype=torch.float64)
    assert info_nce_share(pairs_of(axes, axes), 100.0).item() == pytest.approx(0, abs=1e-40)
    swapped = info_nce_share(pairs_of(axes[:2], axes[[1, 0]]), 100.0)
    assert swapped.item() == pytest.approx(100, rel=1e-15)


@pytest.mark.parametrize("column", [0, 1, 2], ids=["study", "patient", "report"])
def test_related_rows_are_no_negatives(column):
    identities = strangers(3)
    identities[2, column] = identities[0, column]
    same = torch.nn.functional.normalize(torch.ones(3, 4, dtype=torch.float64), dim=1)
    loss = info_nce_share(pairs_of(same, same, identities), 1.0)
    # rows 0 and 2 choose between themselves and row 1, row 1 among all three
    assert loss.item() == pytest.approx((2 * math.log(2) + math.log(3)) / 3, abs=1e-14)
    expected = torch.tensor([[1, 0, 1], [0, 1, 0], [1, 0, 1]], dtype=torch.bool)
    assert torch.equal(related(identities, identities), expected)


def test_related_compares_like_with_like():
    """The number of a patient may be that of somebody's report without making them related."""
    assert not related(torch.tensor([[1, 2, 3]]), torch.tensor([[2, 3, 1]])).any()


def test_a_low_precision_model_gets_a_full_precision_loss():
    torch.manual_seed(0)
    left, right = (torch.nn.functional.normalize(torch.randn(8, 64), dim=1) for _ in range(2))
    left, right = left.bfloat16(), right.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        pairs = pairs_of(left, right)
        loss = info_nce_share(pairs, 100.0)
    exact = left.double() @ right.double().T
    assert loss.dtype == pairs.left_to_right.dtype == torch.float32
    # measured: 6e-8; 1.4e-3 if autocast is left on
    torch.testing.assert_close(pairs.left_to_right.double(), exact, rtol=0, atol=1e-6)


def test_top1_counts_both_directions():
    left = torch.eye(3)
    right = torch.eye(3)[[0, 2, 1]]
    assert top1_share(pairs_of(left, right)).item() == pytest.approx(1 / 3)
    # report 1 is close to image 0 as well: image 0 -> report is a tie, report 0 -> image is right
    leaning = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert top1_share(pairs_of(torch.eye(2), leaning)).item() == pytest.approx(1 / 4)


def test_top1_of_collapsed_embeddings_is_nothing():
    same = torch.ones(5, 1)
    assert top1_share(pairs_of(same, same)).item() == 0


def test_top1_leaves_out_rows_without_negatives():
    one_patient = strangers(2)
    one_patient[1, 1] = one_patient[0, 1]
    assert top1_share(pairs_of(torch.eye(2), torch.eye(2), one_patient)).item() == 0
    assert top1_share(pairs_of(torch.eye(1), torch.eye(1))).item() == 0


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(0, 1000))
def test_top1_equals_its_definition(seed):
    case = build_case((*MIXED, own(8), own(9)), seed, num_features=2)
    left, right = case.views.image_embedding, case.views.text_embedding
    pairs = pair_cosines(left, right, case.views.has_report, case.batch.identities())
    assert top1_share(pairs).item() == pytest.approx(top1(case, left.detach(), right.detach()))


@pytest.mark.parametrize("temperature", [0.0, -0.1, math.inf, math.nan])
def test_impossible_temperatures_are_refused(temperature):
    with pytest.raises(ConfigError, match=r"objectives\.global_alignment\.temperature is"):
        inverse_temperature("global_alignment", temperature)
