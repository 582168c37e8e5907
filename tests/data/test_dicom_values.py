"""From stored values to HU: slopes, padding, quantities."""

import numpy as np
import pydicom
import pytest
from dicom_answers import kinds, read, refused
from dicom_cases import COLUMNS, ROWS, SLICES, cells, hu, set_cells, write_series

from mg3d.data.scan import Stated


def test_slope_and_intercept_are_those_of_each_slice(tmp_path):
    def rescale(index: int, header: pydicom.Dataset) -> None:
        header.RescaleIntercept = -1024 + index
        header.RescaleSlope = 1 + index % 2

    array = read(write_series(tmp_path, edit=rescale)).volume.array
    for index in range(SLICES):
        expected = cells(index).astype(int) * (1 + index % 2) - 1024 + index
        np.testing.assert_array_equal(array[:, :, index], expected.T)
    assert array.dtype == np.int16


def test_fractional_slopes_give_fractions(tmp_path):
    def rescale(_: int, header: pydicom.Dataset) -> None:
        header.RescaleSlope = 0.5

    array = read(write_series(tmp_path, edit=rescale)).volume.array
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array[:, :, 0], cells(0).T * 0.5 - 1024)


def test_values_beyond_16_bits_become_floats(tmp_path):
    def rescale(index: int, header: pydicom.Dataset) -> None:
        header.RescaleSlope = 20 if index == 3 else 1

    array = read(write_series(tmp_path, edit=rescale)).volume.array
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array[:, :, 3], cells(3).T * 20.0 - 1024)
    np.testing.assert_array_equal(array[:, :, 2], hu()[:, :, 2])


def test_padding_becomes_air(tmp_path):
    def pad(index: int, header: pydicom.Dataset) -> None:
        values = cells(index).astype(np.int16) % 2000
        values[0, :3] = -2000
        header.PixelRepresentation, header.BitsStored, header.HighBit = 1, 16, 15
        header.RescaleIntercept = 0
        header.add_new("PixelPaddingValue", "US", 63536)  # -2000, of the wrong sign
        set_cells(header, values)

    scan = read(write_series(tmp_path, edit=pad))
    assert (scan.volume.array[:3, 0] == -1000).all()
    assert scan.volume.array.min() == -1000
    assert scan.faults == (("dicom_padding", f"{3 * SLICES} padded pixels, now -1000 HU"),)


def test_padding_up_to_a_limit(tmp_path):
    def pad(index: int, header: pydicom.Dataset) -> None:
        values = cells(index) % 1000 + 200
        values[0, :4] = 0, 20, 40, 41
        header.add_new("PixelPaddingValue", "US", 0)
        header.add_new("PixelPaddingRangeLimit", "US", 40)
        set_cells(header, values.astype(np.uint16))

    scan = read(write_series(tmp_path, edit=pad))
    np.testing.assert_array_equal(scan.volume.array[:4, 0, 0], [-1000, -1000, -1000, 41 - 1024])


def test_padding_in_the_range_of_tissue_is_not_trusted(tmp_path):
    def pad(_: int, header: pydicom.Dataset) -> None:
        header.add_new("PixelPaddingValue", "US", 1024)  # 0 HU, water

    scan = read(write_series(tmp_path, edit=pad))
    np.testing.assert_array_equal(scan.volume.array, hu())
    assert kinds(scan) == ["dicom_padding_in_tissue"]


@pytest.mark.parametrize("quantity", ["US", "BLUE"])
def test_a_quantity_that_is_not_stated_warns(quantity, tmp_path):
    def edit(_: int, header: pydicom.Dataset) -> None:
        header.RescaleType = quantity

    scan = read(write_series(tmp_path, edit=edit))
    np.testing.assert_array_equal(scan.volume.array, hu())
    assert kinds(scan) == ["dicom_quantity_unknown"]


def test_another_quantity_is_refused(tmp_path):
    def edit(_: int, header: pydicom.Dataset) -> None:
        header.RescaleType = "Z_EFF"

    assert refused(write_series(tmp_path, edit=edit)) == "dicom_quantity"


def test_without_slope_and_intercept_values_are_as_stored_or_as_a_table_states(tmp_path):
    soft = np.random.default_rng(0).integers(-100, 100, (SLICES, ROWS, COLUMNS))
    soft[:, :3] = -1000

    def edit(index: int, header: pydicom.Dataset) -> None:
        del header.RescaleSlope, header.RescaleIntercept, header.RescaleType
        set_cells(header, (soft[index] + 1024).astype(np.uint16))

    write_series(tmp_path, edit=edit)
    scan = read(tmp_path)
    np.testing.assert_array_equal(scan.volume.array, soft.transpose(2, 1, 0) + 1024)
    assert kinds(scan) == ["dicom_rescale_missing"]
    scan = read(tmp_path, stated=Stated(rescale=(1.0, -1024.0)))
    np.testing.assert_array_equal(scan.volume.array, soft.transpose(2, 1, 0))
    assert kinds(scan) == ["hu_stated_rescale"]


def test_a_slope_without_intercept_is_told(tmp_path):
    def edit(_: int, header: pydicom.Dataset) -> None:
        del header.RescaleIntercept

    scan = read(write_series(tmp_path, edit=edit))
    np.testing.assert_array_equal(scan.volume.array, hu() + 1024)
    assert kinds(scan) == ["dicom_rescale_missing"]


def test_an_inverted_display_changes_no_value(tmp_path):
    def edit(_: int, header: pydicom.Dataset) -> None:
        header.PhotometricInterpretation = "MONOCHROME1"

    scan = read(write_series(tmp_path, edit=edit))
    np.testing.assert_array_equal(scan.volume.array, hu())
    assert kinds(scan) == ["dicom_monochrome1"]
