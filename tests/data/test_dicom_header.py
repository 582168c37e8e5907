"""Headers of whole files."""

import pytest
from dicom_cases import SERIES, STUDY, ct_slice, write

from mg3d.data.readers.dicom.header import read_file_header
from mg3d.data.scan_error import ScanError


def test_what_a_file_says(tmp_path):
    header = read_file_header(write(tmp_path / "a", ct_slice(2)))
    assert (header.patient_id, header.accession_number) == ("PAT1", "ACC1")
    assert (header.study_uid, header.series_uid) == (STUDY, SERIES)
    assert (header.modality, len(header.frames)) == ("CT", 1)
    assert header.series_key == (STUDY, SERIES)


def test_nothing_personal_shows(tmp_path):
    shown = repr(read_file_header(write(tmp_path / "a", ct_slice(0))))
    for secret in ("PAT1", "ACC1", "Doe", STUDY, SERIES):
        assert secret not in shown.replace(str(tmp_path), "")


def test_files_without_series_uid_belong_together_by_folder_and_number(tmp_path):
    keys = []
    for name, number in (("x/a", 1), ("x/b", 1), ("x/c", 2), ("y/a", 1)):
        header = ct_slice(0)
        header.SeriesInstanceUID, header.SeriesNumber = "", number
        keys.append(read_file_header(write(tmp_path / name, header)).series_key)
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


@pytest.mark.parametrize("modality", ["DOE JANE", "", "XX"])
def test_only_usual_codes_are_shown(modality, tmp_path):
    header = ct_slice(0)
    header.Modality = modality
    assert read_file_header(write(tmp_path / "a", header)).modality == ""


def test_every_early_end_of_a_file_is_noticed_or_leaves_its_header_whole(tmp_path):
    content = write(tmp_path / "a", ct_slice(0)).read_bytes()
    whole = read_file_header(tmp_path / "a")
    start_of_pixels = content.rindex(b"\xe0\x7f\x10\x00")
    for length in range(132, len(content), 23):
        (tmp_path / "a").write_bytes(content[:length])
        try:
            found = read_file_header(tmp_path / "a")
        except ScanError:
            assert length < start_of_pixels
            continue
        if length >= start_of_pixels:
            assert found == whole
