"""Canonical correlation against an eigenproblem, known correlations, and the space it starts."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from mg3d.errors import DataError
from mg3d.model.canonical import CanonicalPairs, canonical_pairs
from mg3d.model.pooling import PoolingConfig
from mg3d.model.swin3d import SwinConfig
from mg3d.model.text import TextConfig
from mg3d.model.vlm import ModelConfig, VisionLanguageModel

KNOWN = (0.9, 0.6, 0.3)


def views(count: int, left: int = 5, right: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two mixed views that share three directions, correlated as `KNOWN` says."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    x, y = normal(count, left), normal(count, right)
    for place, correlation in enumerate(KNOWN):
        y[:, place] = correlation * x[:, place] + (1 - correlation**2) ** 0.5 * y[:, place]
    return x @ normal(left, left) + normal(left), y @ normal(right, right) + normal(right)


def fit(x: Tensor, y: Tensor, ridge: float = 0.0, components: int = 100) -> CanonicalPairs:
    return canonical_pairs(x, y, num_components=components, left_ridge=ridge, right_ridge=ridge)


def by_eigenproblem(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Correlations as the eigenvalues of [0 Sxy; Syx 0] w = r [Sxx 0; 0 Syy] w."""
    x, y = x - x.mean(0), y - y.mean(0)
    between = np.zeros((x.shape[1] + y.shape[1],) * 2)
    between[: x.shape[1], x.shape[1] :] = x.T @ y
    between += between.T
    within = scipy.linalg.block_diag(x.T @ x, y.T @ y)
    found = scipy.linalg.eigh(between, within, eigvals_only=True)[::-1]
    return found[: min(x.shape[1], y.shape[1])].copy()


def test_correlations_are_those_of_the_generalised_eigenproblem() -> None:
    x, y = views(60)
    found = fit(x, y).correlations
    expected = torch.from_numpy(by_eigenproblem(x.numpy(), y.numpy()))
    # The floor of 1.2e-7 of the mean variance keeps them apart: 4.4e-7 measured.
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_correlations_of_a_known_law_are_found_again() -> None:
    found = fit(*views(20_000)).correlations
    # Standard errors are (1 - r^2) / sqrt(20,000), at most 0.007; measured 0.007 off.
    torch.testing.assert_close(found[:3], torch.tensor(KNOWN).double(), rtol=0, atol=0.03)
    assert found[3] < 0.03


def test_outputs_are_centred_of_unit_variance_and_correlated_pair_by_pair() -> None:
    x, y = views(80)
    pairs = fit(x, y)
    left = x @ pairs.left.weight.T + pairs.left.bias
    right = y @ pairs.right.weight.T + pairs.right.bias
    for outputs in (left, right):
        assert outputs.mean(dim=0).abs().max() < 1e-10
        torch.testing.assert_close(
            outputs.T @ outputs / 80, torch.eye(4).double(), rtol=0, atol=1e-4
        )
    torch.testing.assert_close(left.T @ right / 80, pairs.correlations.diag(), rtol=0, atol=1e-4)


def test_how_features_are_mixed_does_not_matter() -> None:
    x, y = views(60)
    mixing = torch.randn(5, 5, generator=torch.Generator().manual_seed(3)).double()
    torch.testing.assert_close(
        fit(x @ mixing - 4, y).correlations, fit(x, y).correlations, rtol=0, atol=1e-4
    )


def test_every_ridge_lowers_every_correlation() -> None:
    x, y = views(60)
    found = torch.stack([fit(x, y, ridge).correlations for ridge in (0.0, 0.01, 0.1, 1.0)])
    assert (found[1:] < found[:-1]).all()
    assert (found > 0).all()


def test_more_features_than_studies_stays_finite_and_is_fitted_less_with_fewer_components() -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(10, 40, generator=generator)
    y = torch.randn(10, 30, generator=generator)
    overfitted, held = fit(x, y), fit(x, y, components=3)
    assert overfitted.correlations.shape == (9,)
    assert overfitted.correlations.min() > 0.999  # pure noise, explained entirely
    assert held.correlations.shape == (3,)
    assert held.correlations.max() < 0.9
    for pairs in (overfitted, held, fit(x, y, ridge=0.1)):
        assert pairs.correlations.max() <= 1 + 1e-9
        for side in (pairs.left, pairs.right):
            assert torch.isfinite(side.weight).all()
            assert torch.isfinite(side.bias).all()


def test_too_few_studies_say_what_is_needed() -> None:
    with pytest.raises(DataError, match="got 1 studies with a report and needs 2"):
        fit(torch.randn(1, 3), torch.randn(1, 3))


# The plain space that starts from it

MODEL = ModelConfig(
    grid=(16, 16, 16),
    parts=("plain_alignment",),
    dim=16,
    embedding_dim=12,
    image=SwinConfig(patch_size=4, embed_dim=4, depths=(1,), num_heads=(2,), window=(2, 2, 2)),
    text=TextConfig(
        vocabulary_size=40, hidden_size=8, num_layers=1, num_heads=2, intermediate_size=16
    ),
    pooling=PoolingConfig(num_queries=2, heads=2, token_channels=2),
)
POOLINGS = (("attention", "attention"), ("positional", "mean"))


def aligned(kind: str, report_kind: str) -> tuple[VisionLanguageModel, CanonicalPairs, list]:
    """A model whose plain space starts from 9 studies, the pairs found, and these studies."""
    torch.manual_seed(0)
    pooling = replace(MODEL.pooling, kind=kind, report_kind=report_kind)
    model = VisionLanguageModel(replace(MODEL, pooling=pooling)).double()
    ids = torch.randint(5, 40, (9, 12))
    clause_ids = (torch.arange(12) // 4 + 1).expand(9, -1)
    studies = [torch.rand(9, 1, 16, 16, 16).double(), ids, ids > 0, clause_ids]
    text = model.encode_text(*studies[1:])
    volumes, reports = model.read_pools(model.encode_image(studies[0]), text)
    pairs = canonical_pairs(volumes, reports, num_components=6, left_ridge=0.1, right_ridge=0.01)
    model.align_plain_space_(pairs)
    return model, pairs, [*studies, volumes, reports]


def closed_form(samples: Tensor, weight: Tensor, bias: Tensor, pairs: CanonicalPairs) -> Tensor:
    """Canonical outputs, normalised over all dim features, weighed, of length 1."""
    outputs = np.zeros((len(samples), MODEL.dim))
    outputs[:, : len(bias)] = samples.numpy() @ weight.numpy().T + bias.numpy()
    centred = outputs - outputs.mean(axis=1, keepdims=True)
    normed = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5)
    weighed = normed[:, : len(bias)] * pairs.correlations.numpy()
    return torch.from_numpy(weighed / np.linalg.norm(weighed, axis=1, keepdims=True))


@pytest.mark.parametrize(("kind", "report_kind"), POOLINGS)
def test_plain_cosines_start_as_those_of_the_closed_form(kind: str, report_kind: str) -> None:
    model, pairs, (images, ids, mask, clause_ids, volumes, reports) = aligned(kind, report_kind)
    found = model.embed_image(images) @ model.embed_text(ids, mask, clause_ids).T
    expected = (
        closed_form(volumes.detach(), pairs.left.weight, pairs.left.bias, pairs)
        @ closed_form(reports.detach(), pairs.right.weight, pairs.right.bias, pairs).T
    )
    # Outputs beyond the pairs are scaled by 1.2e-7, not cut off: 1.2e-7 measured.
    torch.testing.assert_close(found.detach(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("kind", "report_kind"), POOLINGS)
def test_outputs_beyond_the_pairs_are_silent_but_can_be_trained(
    kind: str, report_kind: str
) -> None:
    model, pairs, (images, ids, mask, clause_ids, *_) = aligned(kind, report_kind)
    kept = len(pairs.correlations)
    assert kept == 6
    image, text = model.embed_image(images), model.embed_text(ids, mask, clause_ids)
    for embedding in (image, text):
        assert embedding[:, kept:].abs().max() < 1e-5
        assert embedding[:, :kept].abs().amax(dim=0).min() > 1e-3
    ((image * torch.randn_like(image)).sum() + (text * torch.randn_like(text)).sum()).backward()
    for name, parameter in model.named_parameters():
        if name == "temperature.log_scale":
            continue  # no part of an embedding
        assert parameter.grad is not None, name
        assert name.endswith("key.bias") or parameter.grad.abs().max() > 0, name
    for layer in (model.image_head.project, model.text_head.project):
        assert (layer.weight.grad.abs().amax(dim=1) > 1e-6).all()  # every silent row as well
