"""Elements of headers: what was asked for, or nothing."""

import pydicom
import pytest
from pydicom.dataset import Dataset

from mg3d.data.readers.dicom.elements import items, number, numbers, whole, word, words
from mg3d.data.readers.dicom.files import silent


def _header(keyword: str, value: object, vr: str = "LO") -> Dataset:
    header = Dataset()
    with silent():
        tag = pydicom.datadict.tag_for_keyword(keyword)
        header[tag] = pydicom.DataElement(tag, vr, value)
    return header


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (["0.5", "0.7"], (0.5, 0.7)), ([" 1 ", "2e1"], (1.0, 20.0)), (["1"], None),
        (["1", "2", "3"], None), (["a", "1"], None), (["1", "nan"], None), (["1", "inf"], None),
        (["0,5", "0,7"], None), (None, None), ("", None),
    ],
)  # fmt: skip
def test_numbers(stored, expected):
    assert numbers(_header("PixelSpacing", stored), "PixelSpacing", 2) == expected


def test_single_numbers():
    assert number(_header("SliceThickness", "1.25"), "SliceThickness") == 1.25
    assert number(_header("SliceThickness", ["1", "2"]), "SliceThickness") is None
    assert number(Dataset(), "SliceThickness") is None
    assert whole(_header("Rows", 512, "US"), "Rows") == 512
    assert whole(_header("Rows", "512.5"), "Rows") is None


def test_words():
    assert word(_header("Modality", " CT \0"), "Modality") == "CT"
    assert word(_header("Modality", None), "Modality") == ""
    assert word(Dataset(), "Modality") == ""
    assert words(_header("ImageType", ["original", "", "AXIAL "]), "ImageType") == (
        "ORIGINAL",
        "AXIAL",
    )
    assert words(_header("ImageType", "LOCALIZER"), "ImageType") == ("LOCALIZER",)
    assert words(Dataset(), "ImageType") == ()


def test_items():
    header = Dataset()
    header.PixelMeasuresSequence = [Dataset(), Dataset()]
    assert len(items(header, "PixelMeasuresSequence")) == 2
    assert items(header, "PlanePositionSequence") == ()
    assert items(_header("PixelMeasuresSequence", "text"), "PixelMeasuresSequence") == ()
