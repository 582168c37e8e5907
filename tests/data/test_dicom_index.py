"""The index of a folder of DICOM."""

import pytest
from dicom_cases import SERIES, SLICES, STUDY, ct_slice, write, write_series

from mg3d.data.readers.dicom.index import index_dicom


@pytest.fixture
def tree(tmp_path):
    write_series(tmp_path / "p1" / "ct", range(4))
    write_series(tmp_path / "p1" / "ct" / "more", range(4, SLICES))

    def scout(_, header):
        header.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    write_series(tmp_path / "p1" / "scout", range(2), scout, series="1.2.8")
    report = ct_slice(0, "1.2.7")
    report.Modality, report.SOPClassUID = "SR", "1.2.840.10008.5.1.4.1.1.88.11"
    del report.PixelData, report.Rows, report.Columns
    write(tmp_path / "p1" / "sr", report)
    (tmp_path / "notes.txt").write_text("x")
    return tmp_path


@pytest.mark.parametrize("num_workers", [1, 2])
def test_one_entry_a_series(tree, num_workers):
    sr, ct, scout = index_dicom(tree, num_workers=num_workers)
    assert (ct.path, ct.num_slices, len(ct.files)) == (tree / "p1" / "ct", SLICES, SLICES)
    assert (ct.series_uid, ct.study_uid) == (SERIES, STUDY)
    assert (ct.patient_id, ct.accession_number) == ("PAT1", "ACC1")
    assert (ct.modality, ct.is_image) == ("CT", True)
    assert (scout.modality, scout.is_image, scout.num_slices) == ("CT", False, 0)
    assert (sr.modality, sr.is_image, sr.path) == ("SR", False, tree / "p1")


def test_ids_do_not_show(tree):
    shown = repr(index_dicom(tree)).replace(str(tree), "")
    for secret in ("PAT1", "ACC1", STUDY, SERIES):
        assert secret not in shown


def test_ids_are_those_of_most_files(tmp_path):
    def edit(index, header):
        header.AccessionNumber = "" if index == 0 else "ACC2"

    write_series(tmp_path, edit=edit)
    (entry,) = index_dicom(tmp_path)
    assert entry.accession_number == "ACC2"


def test_damaged_files_are_told(tree):
    whole = (tree / "p1/ct/IM000").read_bytes()
    (tree / "broken").write_bytes(whole[:400])
    told = []
    entries = index_dicom(tree, on_damage=lambda path, error: told.append((path, error.kind)))
    assert told == [(tree / "broken", "unreadable")]
    assert entries == index_dicom(tree)


def test_a_folder_without_dicom(tmp_path):
    assert index_dicom(tmp_path) == ()
