"""Chunks cover the order of boxes once, and the order all tokens."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mg3d.model.box_chunks import box_order, cut_chunks
from mg3d.model.window_boxes import BoxGroup, box_groups

CPU = torch.device("cpu")


def groups_of(grid: tuple[int, int, int], shifted: bool) -> tuple[BoxGroup, ...]:
    return box_groups(grid, (3, 2, 4), shifted, "correct", CPU)


@pytest.mark.parametrize("shifted", [False, True])
def test_the_order_names_each_token_of_each_volume_once_and_boxes_stand_together(
    shifted: bool,
) -> None:
    groups = groups_of((7, 4, 5), shifted)
    order = box_order(groups, 3)
    assert torch.equal(order.sort().values, torch.arange(3 * 7 * 4 * 5))
    first = groups[0].token_index
    assert torch.equal(order[: first.numel()].view_as(first), first)
    assert torch.equal(order[first.numel() : 2 * first.numel()].view_as(first), first + 7 * 4 * 5)


@settings(max_examples=60, deadline=None)
@given(
    grid=st.tuples(*[st.integers(1, 9)] * 3),
    shifted=st.booleans(),
    num_volumes=st.integers(1, 3),
    max_tokens=st.integers(1, 400),
)
def test_chunks_are_slices_of_whole_boxes(
    grid: tuple[int, int, int], shifted: bool, num_volumes: int, max_tokens: int
) -> None:
    groups = groups_of(grid, shifted)
    chunks = cut_chunks(groups, num_volumes, max_tokens)
    sizes = [group.token_index.shape[1] for group in groups]
    boxes = [0] * len(groups)
    end = 0
    for chunk in chunks:
        assert chunk.tokens.start == end
        end = chunk.tokens.stop
        within = 0
        for run in chunk.runs:
            assert run.tokens.start == within
            within = run.tokens.stop
            assert within - run.tokens.start == run.num_boxes * sizes[run.group] > 0
            boxes[run.group] += run.num_boxes
        assert within == end - chunk.tokens.start
        only_box = len(chunk.runs) == 1 and chunk.runs[0].num_boxes == 1
        assert within <= max_tokens or only_box
        assert [run.group for run in chunk.runs] == sorted({run.group for run in chunk.runs})
    assert boxes == [num_volumes * len(group.token_index) for group in groups]
    assert end == num_volumes * grid[0] * grid[1] * grid[2]


def test_a_chunk_goes_on_with_the_next_group() -> None:
    groups = groups_of((4, 2, 4), False)  # of 3 x 2 x 4 tokens and of 1 x 2 x 4
    (whole,) = cut_chunks(groups, 1, 32)
    assert [run.group for run in whole.runs] == [0, 1]
    assert [len(chunk.runs) for chunk in cut_chunks(groups, 1, 31)] == [1, 1]
