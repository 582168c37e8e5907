"""Patch merging: which sub-grids are read, in which order, and what happens at odd sizes."""

import itertools

import pytest
import torch

from mg3d.errors import ConfigError
from mg3d.model.patch_merging import MERGING_ORDERS, Merging, PatchMerging

SUB_GRIDS = list(itertools.product((0, 1), repeat=3))


def sub_grids_without_gradient(merging: Merging) -> list[tuple[int, ...]]:
    torch.manual_seed(0)
    layer = PatchMerging(6, merging)
    x = torch.randn(1, 4, 6, 8, 6, requires_grad=True)
    result = layer(x)
    result.backward(torch.randn_like(result))
    return [(i, j, k) for i, j, k in SUB_GRIDS if not x.grad[:, i::2, j::2, k::2].any()]


@pytest.mark.parametrize("merging", ["canonical", "monai"])
def test_each_of_the_eight_sub_grids_gets_a_gradient(merging: Merging) -> None:
    assert sub_grids_without_gradient(merging) == []


def test_legacy_leaves_exactly_two_sub_grids_without_a_gradient() -> None:
    assert sub_grids_without_gradient("legacy") == [(0, 1, 1), (1, 1, 0)]


@pytest.mark.parametrize("merging", list(MERGING_ORDERS))
def test_channels_are_concatenated_in_the_stated_order(merging: Merging) -> None:
    layer = PatchMerging(1, merging).double()
    layer.norm = torch.nn.Identity()
    layer.reduction = torch.nn.Identity()
    x = torch.arange(2 * 4 * 2, dtype=torch.float64).view(1, 2, 4, 2, 1)
    merged = layer(x)
    assert merged.shape == (1, 1, 2, 1, 8)
    for y in range(2):
        cell = x[0, :, 2 * y : 2 * y + 2, :, 0]
        expected = [cell[SUB_GRIDS[place]].item() for place in MERGING_ORDERS[merging]]
        assert merged[0, 0, y, 0].tolist() == expected


def test_canonical_and_monai_are_one_function_up_to_the_order_of_weights() -> None:
    torch.manual_seed(0)
    canonical, monai = (PatchMerging(4, name).double() for name in ("canonical", "monai"))
    order = torch.tensor(MERGING_ORDERS["monai"])
    weight = torch.randn(8, 8, 4, dtype=torch.float64)
    with torch.no_grad():
        canonical.reduction.weight.copy_(weight.flatten(1))
        monai.reduction.weight.copy_(weight[:, order].flatten(1))
    x = torch.randn(1, 3, 4, 5, 4, dtype=torch.float64)
    torch.testing.assert_close(monai(x), canonical(x), rtol=0, atol=1e-13)  # measured 5.3e-15


def test_odd_sizes_are_padded_at_the_end() -> None:
    torch.manual_seed(0)
    layer = PatchMerging(2, "canonical")
    x = torch.randn(1, 3, 4, 5, 2)
    padded = torch.zeros(1, 4, 4, 6, 2)
    padded[:, :3, :, :5] = x
    assert torch.equal(layer(x), layer(padded))


def test_legacy_refuses_what_never_worked() -> None:
    with pytest.raises(ConfigError, match=r"\(3, 4, 4\) tokens.*all even or all odd.*canonical"):
        PatchMerging(2, "legacy")(torch.zeros(1, 3, 4, 4, 2))
