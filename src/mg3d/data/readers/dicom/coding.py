"""PixelCoding: how numbers lie in the bits of a DICOM frame, and which of them are padding."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from mg3d.data.readers.dicom.elements import whole
from mg3d.data.scan_error import ScanError

_MOST_PIXELS = 4096 * 4096
"""Of a slice; the finest scanners make 2048 x 2048."""
_OVERLAY_GROUPS = range(0x6000, 0x6020, 2)
_OVERLAY_BIT_POSITION = 0x0102


@dataclass(frozen=True, kw_only=True)
class PixelCoding:
    """The image pixel module of one file, checked."""

    rows: int
    columns: int
    allocated: int
    """Bits of a cell, 8 or 16."""
    stored: int
    """Bits of a value."""
    high_bit: int
    """Of the value in its cell, counted from 0."""
    is_signed: bool
    has_overlays: bool
    """Whether drawings lie in the bits beside the value, as was usual once."""
    padding: tuple[int, int] | None
    """Least and greatest padding value, as numbers of the cell."""

    @classmethod
    def of(cls, header: Dataset) -> Self:
        """The coding of a file.

        Raises:
            ScanError: Colour, more than 16 bits, too large, or contradictory.
        """
        facts = {
            name: whole(header, name)
            for name in (
                "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
            )
        }  # fmt: skip
        rows, columns = facts["Rows"] or 0, facts["Columns"] or 0
        allocated = facts["BitsAllocated"] or 0
        stored = facts["BitsStored"] or allocated
        high_bit = facts["HighBit"] if facts["HighBit"] is not None else stored - 1
        samples = whole(header, "SamplesPerPixel") or 1
        if not (rows > 0 and columns > 0 and rows * columns <= _MOST_PIXELS):
            raise _contradiction(f"{rows} x {columns} pixels, at most {_MOST_PIXELS:,} in all")
        if samples != 1 or allocated not in (8, 16):
            raise _contradiction(f"{samples} sample(s) of {allocated} bits, a CT has 1 of 8 or 16")
        if not stored - 1 <= high_bit < allocated or not 0 < stored <= allocated:
            raise _contradiction(f"{stored} bits up to bit {high_bit} of {allocated}")
        return cls(
            rows=rows,
            columns=columns,
            allocated=allocated,
            stored=stored,
            high_bit=high_bit,
            is_signed=facts["PixelRepresentation"] == 1,
            has_overlays=any(_draws_in_cells(header, group) for group in _OVERLAY_GROUPS),
            padding=_padding(header, allocated, facts["PixelRepresentation"] == 1),
        )

    def values(self, cells: npt.NDArray[np.unsignedinteger]) -> tuple[npt.NDArray[np.int32], bool]:
        """Numbers from cells as stored, and whether some exceed their stated bits.

        Bits beside the value are cleared where they are known to hold something else. Programs
        that state 12 bits and store larger numbers exist; those numbers are kept.
        """
        if self.stored == self.allocated:
            return self._cell_numbers(cells).astype(np.int32), False
        shift = self.high_bit + 1 - self.stored
        if shift or self.has_overlays:
            kept = (cells >> shift) & ((1 << self.stored) - 1)
            return self._extended(kept.astype(np.int32)), False
        found = self._cell_numbers(cells).astype(np.int32)
        least, most = (
            (-(1 << self.stored - 1), 1 << self.stored - 1)
            if self.is_signed
            else (0, 1 << self.stored)
        )
        if self.is_signed and found.min() >= 0 and found.max() < 2 * most:
            return self._extended(found), False  # the sign stands in the highest stored bit alone
        return found, bool(found.min() < least or found.max() >= most)

    def padded(self, cells: npt.NDArray[np.unsignedinteger]) -> npt.NDArray[np.bool_]:
        """Where cells hold a padding value. Compared before bits are cleared: -2000 is stored in
        16 bits even by scanners that state 12."""
        if self.padding is None:
            return np.zeros(cells.shape, dtype=np.bool_)
        numbers, (low, high) = self._cell_numbers(cells), self.padding
        return (numbers >= low) & (numbers <= high)

    def _cell_numbers(self, cells: npt.NDArray[np.unsignedinteger]) -> npt.NDArray[np.integer]:
        return cells.view(f"i{cells.dtype.itemsize}") if self.is_signed else cells

    def _extended(self, values: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        if not self.is_signed:
            return values
        sign = np.int32(1 << self.stored - 1)
        return (values ^ sign) - sign


def _draws_in_cells(header: Dataset, group: int) -> bool:
    """Whether an overlay lies in the cells of the pixels: its bit is not the first."""
    element = header.get((group, _OVERLAY_BIT_POSITION))
    return element is not None and element.value not in (0, None)


def _padding(header: Dataset, allocated: int, is_signed: bool) -> tuple[int, int] | None:
    """PixelPaddingValue, up to PixelPaddingRangeLimit where there is one."""
    value = whole(header, "PixelPaddingValue")
    if value is None:
        return None
    limit = whole(header, "PixelPaddingRangeLimit")
    first, last = (
        _wrap(each, allocated, is_signed) for each in (value, value if limit is None else limit)
    )
    return min(first, last), max(first, last)


def _wrap(value: int, allocated: int, is_signed: bool) -> int:
    """The number of a cell, where a header gives it with or without sign against the pixels."""
    value %= 1 << allocated
    return value - (1 << allocated) if is_signed and value >= 1 << allocated - 1 else value


def _contradiction(reason: str) -> ScanError:
    return ScanError(
        f"the header describes pixels that cannot be: {reason}. Export the series again.",
        "dicom_pixels",
    )
