"""Canvas: the array that planes of HU are put into, in 16 bits as long as they fit."""

import numpy as np
import numpy.typing as npt

from mg3d.data.readers.dicom.pixels import Plane
from mg3d.data.scan_error import ScanError

Array = npt.NDArray[np.int16] | npt.NDArray[np.float32]

_INT16 = np.iinfo(np.int16)


class Canvas:
    """A volume in the making: int16 while all its values are whole and fit, then float32."""

    def __init__(self, shape: tuple[int, int, int], *, is_whole: bool) -> None:
        """Set memory aside.

        Args:
            shape: Columns, rows, slices.
            is_whole: Whether to keep whole values, rounding those that were interpolated.
        """
        columns, rows, slices = shape
        self._is_whole = is_whole
        order = slices, rows, columns
        self._array: Array = np.empty(order, np.int16) if is_whole else np.empty(order, np.float32)

    def put(self, index: int, plane: Plane) -> None:
        """Fill a slice with (rows, columns) HU."""
        if plane.shape != self._array.shape[1:]:
            raise ScanError("slices of one series differ in size", "dicom_mixed_slices")
        fits = _INT16.min <= plane.min() and plane.max() <= _INT16.max
        if self._array.dtype == np.int16 and not fits:
            self._array = self._array.astype(np.float32)
        self._array[index] = np.rint(plane) if self._is_whole else plane

    def volume_array(self) -> Array:
        """(columns, rows, slices), a view."""
        return self._array.transpose(2, 1, 0)
