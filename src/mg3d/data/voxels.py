"""Voxels as they lie in a file: a run of numbers that becomes an array slab by slab.

The formats of the field differ in their headers and agree on the rest, so the rest is here: types,
byte order, scaling, decompression, and no more memory than the result and one slab.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mg3d.data.scan_error import ScanError
from mg3d.data.streams import DEFLATE_MOST, Stream

_SLAB_BYTES = 16 * 2**20
_INT16 = np.iinfo(np.int16)


@dataclass(frozen=True, kw_only=True)
class VoxelRun:
    """Numbers one after the other, the first axis fastest, and how they become HU."""

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    slope: float = 1.0
    intercept: float = 0.0

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise ScanError(
                f"size {self.shape} voxels: a volume has three axes, none of them below 1. Give "
                "one 3D image a row, or copy the file again if its header is damaged.",
                "geometry_not_3d",
            )
        if self.dtype.fields is not None or self.dtype.kind not in "iuf":
            raise ScanError(
                f"voxels of type {self.dtype.kind!r}: a CT holds one number each. Give the CT.",
                "file_colour",
            )
        if not (math.isfinite(self.slope) and math.isfinite(self.intercept)) or self.slope == 0:
            raise ScanError(
                f"rescale slope {self.slope} and intercept {self.intercept} make no values. "
                "Correct the header.",
                "hu_rescale",
            )

    @property
    def num_bytes(self) -> int:
        """What the numbers take, decompressed."""
        return math.prod(self.shape) * self.dtype.itemsize

    def check_length(self, stored_bytes: int, *, compressed: bool) -> None:
        """Stop before memory is set aside for more voxels than a file can hold.

        Raises:
            ScanError: If that many bytes cannot hold the run.
        """
        most = stored_bytes * (DEFLATE_MOST if compressed else 1)
        if self.num_bytes > most:
            raise ScanError(
                f"{self.shape} voxels need {self.num_bytes:,} bytes, the file holds at most "
                f"{most:,}: truncated or damaged. Copy or export the file again."
            )

    def read(self, stream: Stream) -> npt.NDArray[Any]:
        """Read the run.

        Args:
            stream: Stands at the first number.

        Returns:
            (X, Y, Z) in Fortran order: int16 where all values are whole and fit, else float32.

        Raises:
            ScanError: If the stream ends too early.
        """
        x, y, z = self.shape
        whole = self.dtype.kind in "iu" and self._scaling_is_whole
        out = np.empty(self.shape, np.int16 if whole else np.float32, order="F")
        num = max(1, _SLAB_BYTES // (x * y * self.dtype.itemsize))
        buffer = bytearray(min(num, z) * x * y * self.dtype.itemsize)
        for first in range(0, z, num):
            last = min(z, first + num)
            part = memoryview(buffer)[: (last - first) * x * y * self.dtype.itemsize]
            _fill(stream, part)
            slab = self._scaled(np.frombuffer(part, self.dtype))
            if out.dtype == np.int16 and not _fits(slab):
                out = out.astype(np.float32)
            with np.errstate(over="ignore", invalid="ignore"):
                out[:, :, first:last] = slab.reshape(x, y, last - first, order="F")
        return out

    @property
    def _scaling_is_whole(self) -> bool:
        return float(self.slope).is_integer() and float(self.intercept).is_integer()

    def _scaled(self, slab: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if (self.slope, self.intercept) == (1, 0):
            return slab
        with np.errstate(over="ignore", invalid="ignore"):
            scaled: npt.NDArray[Any] = slab.astype(np.float64)
            scaled *= self.slope
            scaled += self.intercept
        return scaled


def _fits(slab: npt.NDArray[Any]) -> bool:
    if slab.dtype.kind in "iu" and np.can_cast(slab.dtype, np.int16):
        return True
    return bool(slab.min() >= _INT16.min and slab.max() <= _INT16.max)


def _fill(stream: Stream, part: memoryview) -> None:
    done = 0
    while done < len(part):
        if not (count := stream.readinto(part[done:])):
            raise ScanError(
                f"the voxels end {len(part) - done:,} bytes too early: truncated. Copy or export "
                "the file again."
            )
        done += count
