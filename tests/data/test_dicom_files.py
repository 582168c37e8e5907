"""Finding DICOM among files, and reading headers without quoting them."""

import logging
import traceback

import pydicom
import pytest
from dicom_cases import cells, ct_slice, encode, write
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from mg3d.data.readers.dicom.files import find_files, is_dicom, read_header, read_whole, silent
from mg3d.data.scan_error import ScanError


def _bare(syntax):
    """Without preamble and group 2."""
    header = ct_slice(0)
    if syntax == ExplicitVRBigEndian:
        header.add_new("PixelData", "OW", cells(0).astype(">u2").tobytes())
    content = encode(header, syntax)
    length = int.from_bytes(content[140:144], "little")
    return content[144 + length :]


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]
)
def test_files_with_and_without_preamble_are_dicom(syntax, tmp_path):
    whole = write(tmp_path / "whole", ct_slice(0), ExplicitVRLittleEndian)
    (tmp_path / "bare").write_bytes(_bare(syntax))
    assert is_dicom(whole)
    assert is_dicom(tmp_path / "bare")
    header = read_header(tmp_path / "bare", ("Rows", "Modality"))
    assert (header.Rows, header.Modality) == (8, "CT")
    assert "PatientName" not in header  # only what was asked for


@pytest.mark.parametrize(
    "content",
    [b"", b"short", b"\x08", b"%PDF-1.4" + bytes(200), b"\x1f\x8b" + bytes(200), bytes(400),
     b"\x5c\x01\x00\x00" + bytes(348), b"PK\x03\x04" + bytes(200), b"{}" * 99, b"\xff" * 300],
)  # fmt: skip
def test_other_files_are_not(content, tmp_path):
    (tmp_path / "a").write_bytes(content)
    assert not is_dicom(tmp_path / "a")
    assert read_header(tmp_path / "a", ("Rows",)) is None
    with pytest.raises(ScanError, match="not a DICOM file"):
        read_whole(tmp_path / "a")


def test_files_are_found_in_a_stable_order(tmp_path):
    for name in ("b/2", "b/10", "a/x.dcm", "a/deep/I1", "c.1.2.3", "DICOMDIR", "b/.hidden",
                 ".git/x", "a/report.PDF", "table.csv"):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = [path.relative_to(tmp_path).as_posix() for path in find_files(tmp_path)]
    assert found == ["c.1.2.3", "a/x.dcm", "a/deep/I1", "b/10", "b/2"]


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(ScanError):
        list(find_files(tmp_path / "absent"))
    with pytest.raises(ScanError):
        is_dicom(tmp_path / "absent")


def test_silence_ends_where_it_should(caplog):
    before = logging.getLogger("pydicom").level, pydicom.config.settings.reading_validation_mode
    with silent():
        logging.getLogger("pydicom.pixels.decoders.base").error("Doe")
    with pytest.raises(ValueError), silent():
        raise ValueError("Doe")
    assert "Doe" not in caplog.text
    after = logging.getLogger("pydicom").level, pydicom.config.settings.reading_validation_mode
    assert before == after


def test_a_damaged_file_is_an_error_without_its_words(tmp_path):
    content = write(tmp_path / "a", ct_slice(0), ExplicitVRLittleEndian).read_bytes()
    # The length of the first element is a multiple of 4; pydicom's message quotes what follows.
    (tmp_path / "a").write_bytes(content[:138] + b"\x97\x00Doe^Jane" + content[140:])
    for reader in (read_whole, lambda path: read_header(path, ("PatientName",))):
        with pytest.raises(ScanError) as caught:
            reader(tmp_path / "a")
        assert "Doe" not in "".join(traceback.format_exception(caught.value))
