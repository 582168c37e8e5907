"""In which order a block reads its tokens, and how many at a time.

The tokens of a box stand together, and boxes of one shape do, so that a few boxes at a time are a
slice of memory: a chunk. A chunk may end in the middle of a group and go on with the next, so that
grids of many small groups are not computed in many small steps; only attention has to tell apart
the groups within a chunk, its runs.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mg3d.model.window_boxes import BoxGroup


class Run(NamedTuple):
    """Consecutive boxes of one group."""

    group: int
    """Which of the groups."""
    num_boxes: int
    tokens: slice
    """Within the chunk."""


class Chunk(NamedTuple):
    """Tokens that are computed at a time."""

    tokens: slice
    """Within the order of boxes."""
    runs: tuple[Run, ...]


def box_order(groups: Sequence[BoxGroup], num_volumes: int) -> Tensor:
    """Tokens of all volumes, box after box and group after group, as indices into their grids.

    Args:
        groups: All boxes of one volume.
        num_volumes: Volumes whose grids lie one behind the other.

    Returns:
        (num_volumes * tokens of a volume,) int64: a permutation.
    """
    tokens_per_volume = sum(group.token_index.numel() for group in groups)
    device = groups[0].token_index.device
    first_W11 = torch.arange(num_volumes, device=device)[:, None, None] * tokens_per_volume
    return torch.cat([(first_W11 + group.token_index).flatten() for group in groups])


def cut_chunks(groups: Sequence[BoxGroup], num_volumes: int, max_tokens: int) -> tuple[Chunk, ...]:
    """Cut the order of boxes into chunks of at most ``max_tokens``, but at least a box, each."""
    chunks: list[Chunk] = []
    runs: list[Run] = []
    begin = used = 0
    for number, group in enumerate(groups):
        num_boxes, size = group.token_index.shape
        missing = num_boxes * num_volumes
        while missing:
            if runs and used + size > max_tokens:
                chunks.append(Chunk(slice(begin, begin + used), tuple(runs)))
                begin, used, runs = begin + used, 0, []
            taken = min(missing, max(1, (max_tokens - used) // size))
            runs.append(Run(number, taken, slice(used, used + taken * size)))
            used += taken * size
            missing -= taken
    return (*chunks, Chunk(slice(begin, begin + used), tuple(runs)))
