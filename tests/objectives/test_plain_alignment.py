import pytest
import torch
from objective_cases import MIXED, apply, build_case
from objective_references import top1


def test_the_temperature_is_learned_in_the_right_direction():
    """For pairs that are already right, a colder softmax lowers the loss."""
    case = build_case(MIXED)
    case.views.text_embedding = case.views.image_embedding.detach().clone().requires_grad_()
    loss = apply("plain_alignment", case).loss
    (gradient,) = torch.autograd.grad(loss, [case.views.logit_scale])
    assert gradient.shape == (1,)
    assert gradient.item() < 0


def test_it_aligns_image_with_text_and_says_how_often():
    case = build_case(MIXED, seed=3)
    expected = top1(case, case.views.image_embedding.detach(), case.views.text_embedding.detach())
    assert 0 < expected < 1
    metrics = apply("plain_alignment", case).metrics
    assert metrics.keys() == {"top1"}
    assert metrics["top1"].item() == pytest.approx(expected)
