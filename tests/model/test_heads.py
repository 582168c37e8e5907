"""Heads: unit length, whitening, temperatures, masked tokens."""

import math

import pytest
import torch
import torch.nn.functional as F

from mg3d.errors import DataError
from mg3d.model.heads import ContrastiveScale, EmbeddingHead, MaskedTokenHead, MlpHead


def features(count: int, dim: int) -> torch.Tensor:
    """Vectors with a large common part and few strong directions, as fresh encoders give."""
    torch.manual_seed(7)
    strength = torch.logspace(0, -2, dim).double()
    return 3 * torch.randn(dim).double() + torch.randn(count, dim).double() * strength


def test_embeddings_have_length_one_in_float32_or_better() -> None:
    head = EmbeddingHead(8, 5)
    assert head(torch.randn(2, 3, 8)).norm(dim=-1).sub(1).abs().max() < 1e-6  # measured 2e-7
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert head(torch.randn(2, 8)).dtype == torch.float32
    assert head.double()(torch.zeros(1, 8).double()).dtype == torch.float64


def test_whitening_centres_and_levels_the_samples() -> None:
    samples, head = features(600, 16), EmbeddingHead(16, 16).double()
    before = head(samples) @ head(samples).T
    head.whiten_(samples, shrinkage=1e-6)
    projected = head.project(head.norm(samples))
    covariance = projected.T @ projected / len(samples)
    assert projected.mean(dim=0).abs().max() < 1e-10  # measured 5e-13
    # LayerNorm takes one direction out (features sum to 0), so 15 of 16 can be levelled.
    # Measured 6e-4 off, which is what the shrinkage leaves of the weakest.
    torch.testing.assert_close(covariance[:15, :15], torch.eye(15).double(), rtol=0, atol=0.05)
    after = head(samples) @ head(samples).T
    assert before.mean() > 0.9  # measured 0.98
    assert after.mean().abs() < 0.05  # measured 0.001


def test_whitening_keeps_the_strongest_directions_first() -> None:
    samples, wide, narrow = features(600, 16), EmbeddingHead(16, 16), EmbeddingHead(16, 4)
    wide.double().whiten_(samples)
    narrow.double().whiten_(samples)
    # eigenvectors have a free sign, but the same call gives the same one
    torch.testing.assert_close(narrow.project.weight, wide.project.weight[:4])
    spread = wide.project(wide.norm(samples)).var(dim=0)
    assert (spread[:-1] >= spread[1:] - 1e-9).all()


def test_whitening_fewer_samples_or_features_than_dimensions_stays_bounded() -> None:
    head = EmbeddingHead(16, 24).double()
    head.whiten_(features(5, 16))
    weight = head.project.weight
    assert torch.isfinite(weight).all()
    assert not weight[16:].any()
    unseen = head.project(head.norm(features(200, 16)))
    assert unseen.abs().max() < 30  # measured 15: shrinkage keeps unseen directions small
    embedded = head(features(3, 16))
    (embedded * torch.randn_like(embedded)).sum().backward()
    assert weight.grad is not None
    assert (weight.grad.abs().amax(dim=1) > 0).all()


def test_whitening_without_studies_says_what_to_do() -> None:
    with pytest.raises(DataError, match="got 1 usable studies and needs 2"):
        EmbeddingHead(4, 4).whiten_(torch.randn(1, 4))


def test_whitening_does_not_touch_the_graph() -> None:
    head = EmbeddingHead(4, 4)
    head.whiten_(features(20, 4).requires_grad_())
    assert all(p.requires_grad and p.grad_fn is None for p in head.parameters())


def test_scale_starts_at_clip_stops_at_100_and_can_come_down() -> None:
    temperature = ContrastiveScale()
    assert temperature().shape == (1,)
    assert temperature().item() == pytest.approx(1 / 0.07)
    assert temperature.bias is None
    with torch.no_grad():
        temperature.log_scale.fill_(math.log(250))
    scale = temperature()
    assert scale.item() == pytest.approx(100)
    scale.sum().backward()
    assert temperature.log_scale.grad is not None
    assert temperature.log_scale.grad.item() == pytest.approx(100)  # d exp(s) / d s, not cut off


def test_siglip_starts_with_its_own_scale_and_offset() -> None:
    temperature = ContrastiveScale(scale=10.0, bias=-10.0)
    assert temperature().item() == pytest.approx(10)
    assert temperature.bias is not None
    assert temperature.bias.tolist() == [-10.0]


@pytest.mark.parametrize("tied", [False, True])
def test_masked_token_head_equals_its_formula(tied: bool) -> None:
    head = MaskedTokenHead(6, 11, tied_features=4 if tied else None).double()
    table = torch.randn(11, 4).double().requires_grad_()
    tokens = torch.randn(3, 6).double()
    hidden = F.gelu(tokens @ head.dense.weight.T + head.dense.bias)
    hidden = (hidden - hidden.mean(-1, keepdim=True)) / (
        hidden.var(-1, False, keepdim=True) + 1e-5
    ).sqrt()
    weight = table if head.decoder is None else head.decoder.weight
    torch.testing.assert_close(
        head(tokens, table), hidden @ weight.T + head.bias, rtol=0, atol=1e-13
    )
    assert (head.decoder is None) == tied


@pytest.mark.parametrize("tied", [False, True])
def test_no_masked_token_still_reaches_every_parameter(tied: bool) -> None:
    head = MaskedTokenHead(6, 11, tied_features=4 if tied else None)
    logits = head(torch.zeros(0, 6), torch.randn(11, 4))
    assert logits.shape == (0, 11)
    (logits.sum() * 0).backward()
    assert all(p.grad is not None and not p.grad.any() for p in head.parameters())


def test_mlp_head_maps_the_last_axis() -> None:
    head = MlpHead(6, 3, 5)
    assert head(torch.randn(2, 4, 6)).shape == (2, 4, 5)
    with pytest.raises(RuntimeError):
        head(torch.randn(2, 4, 5))
