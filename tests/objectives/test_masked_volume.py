import pytest
import torch
from objective_cases import MIXED, apply, build_case, loss_and_gradients


def test_a_constant_error_costs_its_square():
    case = build_case(MIXED)
    case.views.reconstruction = case.batch.image - 0.3
    output = apply("masked_volume", case)
    assert output.loss.item() == pytest.approx(0.09, rel=1e-14)
    assert output.metrics["error_hu"].item() == pytest.approx(600, rel=1e-14)


def test_visible_voxels_are_neither_judged_nor_changed():
    case = build_case(MIXED)
    before = apply("masked_volume", case).loss.item()
    with torch.no_grad():
        case.views.reconstruction[~case.views.voxel_mask] = torch.nan
    assert apply("masked_volume", case).loss.item() == before
    _, gradients = loss_and_gradients("masked_volume", case)
    assert not gradients["reconstruction"][~case.views.voxel_mask].any()
    assert gradients["reconstruction"][case.views.voxel_mask].all()


def test_a_study_without_a_report_takes_part():
    case = build_case(MIXED)
    _, gradients = loss_and_gradients("masked_volume", case)
    assert not case.views.has_report[5]
    assert gradients["reconstruction"][5].any()


def test_nothing_hidden_is_no_loss_but_still_attached():
    case = build_case(MIXED)
    case.views.voxel_mask = torch.zeros_like(case.views.voxel_mask)
    loss, gradients = loss_and_gradients("masked_volume", case)
    assert loss == 0
    assert not gradients["reconstruction"].any()


def test_low_precision_reconstructions_are_judged_in_float32():
    case = build_case(MIXED)
    case.views.reconstruction = case.views.reconstruction.bfloat16()
    case.batch.image = case.batch.image.float()
    assert apply("masked_volume", case).loss.dtype == torch.float32
