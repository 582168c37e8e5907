"""Which tokens attend to each other: the boxes of (shifted) window attention on a 3D grid.

Rolling the grid, padding it, cutting windows and masking the pairs that were not neighbours
before the roll is the same as cutting the *unrolled* grid at shifted places: along an axis of
``n`` tokens, window ``w`` and shift ``s``, the cuts are 0, s, s + w, s + 2w, ... and every box
between cuts attends within itself only. So nothing is rolled or masked here; boxes of equal shape
form a group that is computed together.

A box that sticks out of the grid holds padding. Padded tokens are zeros after the normalisation, so
as keys they all equal the bias of the key projection; they differ in their position only, of which
`BoxGroup.bias_rows` tells. As queries nobody reads them and they are left out.

Invariant: over all groups, `BoxGroup.token_index` names every token of the grid exactly once.
"""

import itertools
import math
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Triple = tuple[int, int, int]
RelativePositions = Literal["correct", "truncated"]


@dataclass(frozen=True, eq=False)
class BoxGroup:
    """All boxes of one shape: W boxes of n tokens, and p padded places in each."""

    token_index: Tensor
    """(W, n) int64: tokens of each box, as indices into the flattened grid (z fastest)."""
    bias_rows: Tensor
    """(n, n + p) int64: relative position of a token to each one of its box, padded ones last, as a
    row of the bias table; p may be 0."""

    @property
    def num_tokens(self) -> int:
        """Tokens of a box, n."""
        return len(self.bias_rows)

    @property
    def is_padded(self) -> bool:
        """Whether the boxes reach beyond the grid."""
        return self.bias_rows.shape[1] > self.num_tokens


class _Segment(NamedTuple):
    """One box along one axis."""

    start: int
    length: int
    """Tokens inside the grid, at least 1."""
    padded_length: int
    """Tokens including the padding behind the grid's end."""
    offset: int
    """Where the segment begins within its window."""


def effective_window(grid: Triple, window: Triple) -> Triple:
    """The window on a grid that may be smaller than it: it shrinks to the grid."""
    return (min(grid[0], window[0]), min(grid[1], window[1]), min(grid[2], window[2]))


def num_relative_positions(window: Triple) -> int:
    """Rows of a bias table: the differences of two positions in the window."""
    return math.prod(2 * size - 1 for size in window)


def zero_relative_position(window: Triple) -> int:
    """The row of the bias table that belongs to a token and itself."""
    return (num_relative_positions(window) - 1) // 2


@lru_cache(maxsize=128)
def box_groups(
    grid: Triple,
    window: Triple,
    shifted: bool,
    relative_positions: RelativePositions,
    device: torch.device,
) -> tuple[BoxGroup, ...]:
    """Cut a grid into boxes and group them by shape.

    Args:
        grid: Tokens along (x, y, z).
        window: Nominal window, as in the configuration.
        shifted: Move the cuts by half a window; axes on which the window covers the grid stay.
        relative_positions: "correct", or "truncated" for MONAI's index on shrunken windows.
        device: Where the indices shall live.

    Returns:
        Groups, largest boxes not necessarily first.
    """
    cut = effective_window(grid, window)
    shift = tuple(w // 2 if shifted and n > w else 0 for n, w in zip(grid, window, strict=True))
    positions_move = relative_positions == "truncated" and cut != window
    members: defaultdict[tuple[tuple[int, int, int], ...], list[list[int]]] = defaultdict(list)
    axes = [_segments(n, w, s) for n, w, s in zip(grid, cut, shift, strict=True)]
    for box in itertools.product(*axes):
        # Relative positions do not depend on the offset, except where the index is truncated.
        shape = tuple((s.length, s.padded_length, s.offset * positions_move) for s in box)
        members[shape].append([s.start for s in box])
    return tuple(
        _group(shape, starts, grid, cut, window, relative_positions, device)
        for shape, starts in members.items()
    )


def _segments(size: int, window: int, shift: int) -> list[_Segment]:
    """Cut ``size`` tokens, padded to whole windows, at ``shift + k * window``."""
    end = math.ceil(size / window) * window
    cuts = sorted({0, *range(shift, end, window), end})
    segments = []
    for start, stop in itertools.pairwise(cuts):
        if start < size:
            offset = window - (stop - start) if start == 0 else 0
            segments.append(_Segment(start, min(stop, size) - start, stop - start, offset))
    return segments


def _group(
    shape: tuple[tuple[int, int, int], ...],
    starts: list[list[int]],
    grid: Triple,
    cut: Triple,
    window: Triple,
    relative_positions: RelativePositions,
    device: torch.device,
) -> BoxGroup:
    lengths, padded, offsets = (torch.tensor(part) for part in zip(*shape, strict=True))
    places = torch.cartesian_prod(*(torch.arange(int(n)) for n in padded)).reshape(-1, 3)
    inside = (places < lengths).all(dim=1)
    code = _position_code(places + offsets, cut, window, relative_positions)
    rows = code[inside][:, None] - torch.cat([code[inside], code[~inside]])
    strides = torch.tensor([grid[1] * grid[2], grid[2], 1])
    tokens = torch.tensor(starts)[:, None, :] + places[inside]
    return BoxGroup(
        token_index=(tokens * strides).sum(-1).to(device),
        bias_rows=(rows + zero_relative_position(window)).to(device),
    )


def _position_code(
    places: Tensor, cut: Triple, window: Triple, relative_positions: RelativePositions
) -> Tensor:
    """Number places so that (difference + centre) is a row of the bias table, (n, 3) -> (n,).

    MONAI and the authors' code read the table of the nominal window at the *flat* index of a place
    in the shrunken one, so places beyond the first row get another place's bias ("truncated").
    """
    if relative_positions == "truncated":
        flat = (places * torch.tensor([cut[1] * cut[2], cut[2], 1])).sum(-1)
        x, rest = flat // (window[1] * window[2]), flat % (window[1] * window[2])
        places = torch.stack([x, rest // window[2], rest % window[2]], dim=-1)
    rows_z = 2 * window[2] - 1
    rows_y = 2 * window[1] - 1
    return (places * torch.tensor([rows_y * rows_z, rows_z, 1])).sum(-1)
