"""The boxes are exactly the groups of tokens that rolling, padding, cutting and masking leave."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mg3d.model.window_boxes import (
    BoxGroup,
    RelativePositions,
    Triple,
    box_groups,
    effective_window,
    num_relative_positions,
    zero_relative_position,
)

sides = st.integers(1, 9)
triples = st.tuples(sides, sides, sides)
CPU = torch.device("cpu")


def cut(
    grid: Triple, window: Triple, shifted: bool, index: RelativePositions = "correct"
) -> tuple[BoxGroup, ...]:
    return box_groups(grid, window, shifted, index, CPU)


def box_numbers(groups: tuple[BoxGroup, ...], grid: Triple) -> Tensor:
    """(X, Y, Z): which box each token is in, -1 for none."""
    numbers = torch.full((math.prod(grid),), -1)
    count = 0
    for group in groups:
        for tokens in group.token_index:
            assert (numbers[tokens] == -1).all(), "a token in two boxes"
            numbers[tokens] = count
            count += 1
    return numbers.view(grid)


@settings(max_examples=60, deadline=None)
@given(grid=triples, window=triples, shifted=st.booleans())
def test_boxes_are_the_unmasked_pairs_of_rolled_windows(
    grid: Triple, window: Triple, shifted: bool
) -> None:
    numbers = box_numbers(cut(grid, window, shifted), grid)
    assert (numbers >= 0).all()
    for axis, (size, nominal) in enumerate(zip(grid, window, strict=True)):
        actual = min(size, nominal)
        shift = nominal // 2 if shifted and size > nominal else 0
        padded = math.ceil(size / actual) * actual
        rolled = [(place - shift) % padded for place in range(size)]
        # the same window, and on the same side of the seam where the grid was rolled around
        together = [
            [
                a // actual == b // actual and (a >= padded - shift) == (b >= padded - shift)
                for b in rolled
            ]
            for a in rolled
        ]
        line = numbers.movedim(axis, 0).flatten(1)
        same = (line[:, None, :] == line[None, :, :]).all(-1)
        assert same.tolist() == together


@settings(max_examples=40, deadline=None)
@given(grid=triples, window=triples, shifted=st.booleans())
def test_positions_give_the_relative_position(grid: Triple, window: Triple, shifted: bool) -> None:
    rows = [2 * side - 1 for side in window]
    for group in cut(grid, window, shifted):
        places = torch.stack(torch.unravel_index(group.token_index[0], grid), dim=-1)
        difference = places[:, None] - places[None, :] + torch.tensor(window) - 1
        expected = (difference[..., 0] * rows[1] + difference[..., 1]) * rows[2] + difference[
            ..., 2
        ]
        assert torch.equal(group.bias_rows[:, : group.num_tokens], expected)


@settings(max_examples=40, deadline=None)
@given(grid=triples, window=triples)
def test_padding_completes_every_unshifted_window(grid: Triple, window: Triple) -> None:
    for group in cut(grid, window, shifted=False):
        size = math.prod(effective_window(grid, window))
        assert group.bias_rows.shape == (group.token_index.shape[1], size)
        assert all(len(row.unique()) == size for row in group.bias_rows)
        assert group.is_padded == (group.num_tokens < size)


def test_every_relative_position_stays_in_the_table() -> None:
    window = (4, 3, 2)
    for index in ("correct", "truncated"):
        for group in cut((3, 7, 9), window, True, index):
            assert group.bias_rows.min() >= 0
            assert group.bias_rows.max() < num_relative_positions(window)


def test_truncated_reads_the_flat_index_of_the_nominal_window() -> None:
    (group,) = cut((2, 3, 2), (7, 7, 7), False, "truncated")
    # twelve tokens take the first twelve places of the nominal window: one row of 7 and 5 more
    rows_y = rows_z = 13
    expected = [*range(7), *range(rows_z, rows_z + 5)]
    to_first = group.bias_rows[:, 0] - zero_relative_position((7, 7, 7))
    assert to_first.tolist() == expected
    (right,) = cut((2, 3, 2), (7, 7, 7), False, "correct")
    places = [(x * rows_y + y) * rows_z + z for x in range(2) for y in range(3) for z in range(2)]
    assert (right.bias_rows[:, 0] - zero_relative_position((7, 7, 7))).tolist() == places


@pytest.mark.parametrize(("shifted", "count"), [(False, 1), (True, 12)])
def test_equal_boxes_are_computed_together(shifted: bool, count: int) -> None:
    # a shift of (2, 1, 2) cuts lengths {2, 4}, {1, 2, 3} and {2, 4}
    groups = cut((16, 12, 16), (4, 3, 4), shifted)
    assert len(groups) == count
    assert not any(group.is_padded for group in groups)
