"""Numbers in the bits of a frame."""

import numpy as np
import pytest
from dicom_cases import ct_slice

from mg3d.data.readers.dicom.coding import PixelCoding
from mg3d.data.scan_error import ScanError


def _coding(**elements: object) -> PixelCoding:
    header = ct_slice(0)
    for keyword, value in elements.items():
        setattr(header, keyword, value)
    return PixelCoding.of(header)


def _values(coding: PixelCoding, numbers: list[int]) -> list[int]:
    return coding.values(np.array(numbers).astype(np.uint16))[0].tolist()


def test_unsigned_and_signed_cells_of_16_bits():
    full = {"BitsStored": 16, "HighBit": 15}
    assert _values(_coding(**full), [0, 65535, 32768]) == [0, 65535, 32768]
    signed = _coding(**full, PixelRepresentation=1)
    assert _values(signed, [0, 65535, 32768]) == [0, -1, -32768]


@pytest.mark.parametrize("numbers", [[-2048, -1, 0, 2047], [0, 5, 7, 2047]])
def test_12_bits_signed_whether_or_not_the_sign_fills_the_cell(numbers):
    coding = _coding(PixelRepresentation=1)
    filled = np.array(numbers, dtype=np.int16).view(np.uint16)
    for cells in (filled, filled & 0x0FFF):
        found, beyond = coding.values(cells)
        assert found.tolist() == numbers
        assert not beyond


def test_values_beyond_the_stated_bits_are_kept_and_told():
    found, beyond = _coding().values(np.array([0, 4095, 5000], dtype=np.uint16))
    assert (found.tolist(), beyond) == ([0, 4095, 5000], True)
    cells = np.array([-1000, 3071], dtype=np.int16).view(np.uint16)
    found, beyond = _coding(PixelRepresentation=1).values(cells)
    assert (found.tolist(), beyond) == ([-1000, 3071], True)


def test_drawings_in_the_upper_bits_are_cleared():
    header = ct_slice(0)
    header.add_new(0x60000102, "US", 12)
    drawn = np.array([5, 4095], dtype=np.uint16) | 0x1000
    assert PixelCoding.of(header).values(drawn)[0].tolist() == [5, 4095]
    header[0x60000102].value = 0  # an overlay of its own, not in the cells
    assert PixelCoding.of(header).values(drawn)[0].tolist() == [4101, 8191]


def test_values_in_the_upper_bits_of_a_cell():
    coding = _coding(HighBit=15)
    assert _values(coding, [0x1230, 0xFFFF]) == [0x123, 0xFFF]


@pytest.mark.parametrize(
    ("representation", "value", "limit", "padded"),
    [
        (0, 63536, None, [63536]),
        (0, -2000, None, [63536]),
        (1, 63536, None, [63536]),
        (1, -2000, None, [63536]),
        (0, 0, 20, [0, 20]),
        (0, 20, 0, [0, 20]),
        (1, -2000, -1990, [63536, 63546]),
    ],
)
def test_padding_is_found_whatever_its_sign(representation, value, limit, padded):
    header = ct_slice(0)
    header.PixelRepresentation = representation
    for tag, number in ((0x00280120, value), (0x00280121, limit)):
        if number is not None:
            header.add_new(tag, "SS" if number < 0 else "US", number)
    cells = np.array([*padded, 1024, 63535, 63547], dtype=np.uint16)
    found = PixelCoding.of(header).padded(cells)
    assert found.tolist() == [True] * len(padded) + [False] * 3


def test_without_padding_nothing_is_padded():
    assert not _coding().padded(np.arange(9, dtype=np.uint16)).any()


@pytest.mark.parametrize(
    "elements",
    [
        {"BitsAllocated": 32}, {"BitsAllocated": 12}, {"BitsStored": 17}, {"HighBit": 16},
        {"HighBit": 3}, {"SamplesPerPixel": 3}, {"Rows": 0}, {"Rows": 65535, "Columns": 65535},
    ],
    ids=str,
)  # fmt: skip
def test_pixels_that_cannot_be(elements):
    with pytest.raises(ScanError) as caught:
        _coding(**elements)
    assert caught.value.kind == "dicom_pixels"
