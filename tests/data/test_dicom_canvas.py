"""The array that planes are put into."""

import numpy as np
import pytest

from mg3d.data.readers.dicom.canvas import Canvas
from mg3d.data.scan_error import ScanError


def _plane(low: int, high: int) -> np.ndarray:
    return np.linspace(low, high, 6).reshape(2, 3).astype(np.int32)


def test_planes_become_columns_rows_slices():
    canvas = Canvas((3, 2, 2), is_whole=True)
    canvas.put(0, _plane(0, 5))
    canvas.put(1, _plane(10, 15))
    array = canvas.volume_array()
    assert array.dtype == np.int16
    assert array.shape == (3, 2, 2)
    assert array[2, 0, 0] == 2  # third column of the first row
    assert array[0, 1, 1] == 13
    assert array.flags.f_contiguous  # as the other readers give theirs


def test_a_plane_beyond_16_bits_keeps_all_planes_exact():
    canvas = Canvas((3, 2, 3), is_whole=True)
    for index, high in enumerate((5, 40_000, 7)):
        canvas.put(index, _plane(0, high))
    array = canvas.volume_array()
    assert array.dtype == np.float32
    for index, high in enumerate((5, 40_000, 7)):
        np.testing.assert_array_equal(array[:, :, index].T, _plane(0, high))


def test_interpolated_planes_are_rounded_where_values_are_whole():
    plane = np.array([[0.4, 0.6], [-0.6, 32767.4]], dtype=np.float32)
    whole, fractions = Canvas((2, 2, 1), is_whole=True), Canvas((2, 2, 1), is_whole=False)
    whole.put(0, plane)
    fractions.put(0, plane)
    np.testing.assert_array_equal(whole.volume_array()[..., 0].T, [[0, 1], [-1, 32767]])
    np.testing.assert_array_equal(fractions.volume_array()[..., 0].T, plane)


def test_planes_of_another_size():
    with pytest.raises(ScanError) as caught:
        Canvas((3, 2, 1), is_whole=True).put(0, np.zeros((3, 2), np.int32))
    assert caught.value.kind == "dicom_mixed_slices"
