"""No text of a header shows in faults, errors, warnings or logs."""

import traceback
import warnings
from collections.abc import Iterable

import pydicom
import pytest
from dicom_answers import read
from dicom_cases import SERIES, ct_slice, write, write_series
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from mg3d.data.readers.dicom.index import index_dicom
from mg3d.data.scan_error import ScanError

_SECRET = "ZZSECRET"


def _plant(header: pydicom.Dataset, keywords: Iterable[str]) -> None:
    """Put the secret where the standard has a text, a number in words, a date, a code or a UID."""
    for keyword in keywords:
        tag = pydicom.datadict.tag_for_keyword(keyword)
        if pydicom.datadict.dictionary_VR(tag) in _TEXTS:
            header[tag] = pydicom.DataElement(tag, "LO", _SECRET)


_TEXTS = ("PN", "LO", "SH", "LT", "ST", "UT", "UC", "CS", "AE", "DS", "IS", "UI", "DA", "TM", "DT")
_NEEDED = tuple(element.keyword for element in ct_slice(0))
_ALL = tuple(
    facts[4]
    for tag, facts in pydicom.datadict.DicomDictionary.items()
    if tag >> 16 > 2 and facts[4] and facts[4] not in _NEEDED
)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("junk", [None, *_NEEDED])
def test_no_header_text_shows_anywhere(junk, syntax, tmp_path, caplog, capfd):
    """Everywhere but in what is needed, then in each needed element too."""
    with pydicom.config.disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for index in range(2):
            header = ct_slice(index)
            _plant(header, _ALL if junk is None else (junk, "PatientName", "PatientID"))
            write(tmp_path / f"{index}", header, syntax)
    caplog.clear()  # of what the writer said
    with warnings.catch_warnings(record=True) as noticed, caplog.at_level("DEBUG"):
        warnings.simplefilter("always")
        try:
            shown = [repr(read(tmp_path).faults)]
        except ScanError as error:
            shown = traceback.format_exception(error)
        shown += [repr(index_dicom(tmp_path)[0]).replace(str(tmp_path), "")]
    shown += [str(each.message) for each in noticed] + [caplog.text, *capfd.readouterr()]
    assert not [text for text in shown if _SECRET.lower() in text.lower()]


def test_uids_and_names_do_not_show_when_a_series_is_absent(tmp_path):
    write_series(tmp_path)
    with pytest.raises(ScanError) as caught:
        read(tmp_path, series_uid="1.2.840.99")
    assert "1.2.840.99" not in str(caught.value)
    assert SERIES not in str(caught.value)
