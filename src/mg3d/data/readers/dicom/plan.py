"""ResamplingPlan: slices that are uneven or drift sideways become an even, upright stack.

Each slice is shifted within its plane to where it truly lies, then even slices are interpolated
between neighbours, both linearly. Slices pass one by one; two of them are held at a time.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mg3d.data.hounsfield import AIR_HU

_ON_A_SLICE = 1e-3
"""Part of a distance within which a position counts as that of a stored slice."""


def even_positions(distances: npt.NDArray[np.float64], step: float) -> npt.NDArray[np.float64]:
    """Even positions from the first to the last of ``distances``, as near to ``step`` as fits."""
    return np.linspace(0, distances[-1], max(2, round(distances[-1] / step) + 1))


@dataclass(frozen=True, eq=False, kw_only=True)
class ResamplingPlan:
    """What becomes of a pile of slices."""

    shape: tuple[int, int]
    """Columns and rows of a stored slice."""
    distances: npt.NDArray[np.float64]
    """(N,) mm of the slices along their normal, from 0, growing."""
    targets: npt.NDArray[np.float64]
    """(M,) mm of the slices to make, from 0 to the last distance."""
    shifts: npt.NDArray[np.float64]
    """(N, 2) pixels by which slices lie further along rows and columns than the first."""

    @property
    def corner(self) -> npt.NDArray[np.float64]:
        """(2,) pixels from the first slice's corner to that of the new stack."""
        least: npt.NDArray[np.float64] = self.shifts.min(axis=0)
        return least

    @property
    def num_slices(self) -> int:
        """Slices of the new stack."""
        return len(self.targets)

    @property
    def new_shape(self) -> tuple[int, int, int]:
        """Columns, rows and slices of the new stack."""
        columns, rows = (
            size + int(extra)
            for size, extra in zip(self.shape, np.ceil(np.ptp(self.shifts, axis=0)), strict=True)
        )
        return columns, rows, self.num_slices

    def run(
        self,
        read_slice: Callable[[int], npt.NDArray[np.generic]],
        write_slice: Callable[[int, npt.NDArray[np.float32]], None],
    ) -> None:
        """Make the new stack.

        Args:
            read_slice: Gives the (rows, columns) HU of a stored slice; called once for each, in
                order.
            write_slice: Takes number and (rows, columns) float32 HU of each new slice, in order.
        """
        below = above = self._shifted(read_slice(0), 0)
        index = 0
        for number, target in enumerate(self.targets):
            while self.distances[index] < target and index + 1 < len(self.distances):
                index += 1
                below, above = above, self._shifted(read_slice(index), index)
            gap = self.distances[index] - self.distances[max(index - 1, 0)]
            part = 1 - (self.distances[index] - target) / gap if gap > 0 else 1.0
            if part > 1 - _ON_A_SLICE:
                write_slice(number, above)
            elif part < _ON_A_SLICE:
                write_slice(number, below)
            else:
                write_slice(number, (1 - np.float32(part)) * below + np.float32(part) * above)

    def _shifted(self, plane: npt.NDArray[np.generic], index: int) -> npt.NDArray[np.float32]:
        values = plane.astype(np.float32)
        columns, rows, _ = self.new_shape
        across, down = self.shifts[index] - self.corner
        return _shift(_shift(values, across, columns).T, down, rows).T


def _shift(values: npt.NDArray[np.float32], by: float, size: int) -> npt.NDArray[np.float32]:
    """Move values to higher indices of their last axis, linearly; air comes in at both ends."""
    whole = int(np.floor(by))
    part = np.float32(by - whole)
    if part > 1 - _ON_A_SLICE:
        whole, part = whole + 1, np.float32(0)
    moved = np.full((*values.shape[:-1], size), AIR_HU, dtype=np.float32)
    width = values.shape[-1]
    moved[..., whole : whole + width] = values
    if part < _ON_A_SLICE:
        return moved
    shifted = moved.copy()
    shifted[..., 1:] = (1 - part) * moved[..., 1:] + part * moved[..., :-1]
    shifted[..., 0] = (1 - part) * moved[..., 0] + part * AIR_HU
    return shifted
