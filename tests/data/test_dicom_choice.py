"""Which slices of a folder make the volume: series, kinds of slices, repeats and phases."""

import numpy as np
import pydicom
import pytest
from dicom_answers import kinds, read, refused
from dicom_cases import CORNER, SLICES, STEP_MM, cells, ct_slice, hu, set_cells, write, write_series

from mg3d.data.reading import source_files
from mg3d.data.scan import ScanSource


def _thick(_: int, header: pydicom.Dataset) -> None:
    header.ImagePositionPatient[2] = CORNER[2] + 2 * (header.ImagePositionPatient[2] - CORNER[2])
    header.SliceThickness = 2 * STEP_MM


def test_the_thinnest_of_the_long_series_is_taken_and_the_others_are_told(tmp_path):
    write_series(tmp_path / "thin", range(9), series="1.2.9")
    write_series(tmp_path / "thick", range(5), _thick, series="1.2.1")
    write_series(tmp_path / "part", range(3), series="1.2.0")
    scan = read(tmp_path)
    assert scan.volume.shape[2] == 9
    assert kinds(scan) == ["dicom_other_series"]
    assert "2 other CT series with 5, 3 slices" in scan.faults[0][1]
    assert read(tmp_path, series_uid="1.2.1").volume.shape[2] == 5
    assert read(tmp_path, series_uid="1.2.0").volume.shape[2] == 3
    assert refused(tmp_path, series_uid="1.2.7") == "dicom_series_absent"
    named = source_files(ScanSource(path=tmp_path, series_uid="1.2.1"))
    assert {path.parent.name for path in named} == {"thick"}


def test_localizers_captures_reports_and_other_modalities_are_left_out(tmp_path):
    write_series(tmp_path)
    extra = {
        "scout": {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
        "summary": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"},
        "screen": {"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]},
        "mip": {"ImageType": ["DERIVED", "SECONDARY", "AXIAL", "MIP"]},
        "derived": {"ImageType": ["DERIVED", "PRIMARY", "AXIAL"]},
        "magnetic": {"Modality": "MR", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"},
    }
    for number, (name, changes) in enumerate(extra.items()):
        header = ct_slice(30 + number)
        for keyword, value in changes.items():
            setattr(header, keyword, value)
        write(tmp_path / name, header)
    dose = ct_slice(50, "1.2.77")
    dose.SOPClassUID, dose.Modality = "1.2.840.10008.5.1.4.1.1.88.67", "SR"
    del dose.PixelData, dose.Rows, dose.Columns
    write(tmp_path / "dose", dose)
    scan = read(tmp_path)
    np.testing.assert_array_equal(scan.volume.array, hu())
    assert scan.faults == (
        (
            "dicom_left_out",
            "1 localizer(s), 1 projection(s), 2 picture(s) of a screen, 1 derived slice(s), "
            "2 of another modality or kind",
        ),
    )


def test_only_localizers_is_no_series(tmp_path):
    def scout(_: int, header: pydicom.Dataset) -> None:
        header.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    assert refused(write_series(tmp_path, edit=scout)) == "dicom_no_series"


def test_another_modality_is_no_series(tmp_path):
    def positron(_: int, header: pydicom.Dataset) -> None:
        header.Modality = "PT"

    assert refused(write_series(tmp_path, edit=positron)) == "dicom_no_series"


def test_derived_slices_alone_are_read_with_a_warning(tmp_path):
    def derived(_: int, header: pydicom.Dataset) -> None:
        header.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]

    scan = read(write_series(tmp_path, edit=derived))
    np.testing.assert_array_equal(scan.volume.array, hu())
    assert kinds(scan) == ["dicom_derived"]


def test_a_series_whose_uids_were_emptied_is_one_series_a_folder(tmp_path):
    def anonymous(_: int, header: pydicom.Dataset) -> None:
        header.SeriesInstanceUID = header.StudyInstanceUID = header.SOPClassUID = ""

    write_series(tmp_path / "a", edit=anonymous)
    write_series(tmp_path / "b", range(3), anonymous)
    scan = read(tmp_path)
    np.testing.assert_array_equal(scan.volume.array, hu())
    assert kinds(scan) == ["dicom_other_series"]


# --- repeats and phases ------------------------------------------------------------------------


def test_slices_stored_twice_are_used_once(tmp_path):
    write_series(tmp_path)
    write_series(tmp_path / "copy", [1, 4])
    scan = read(tmp_path)
    np.testing.assert_array_equal(scan.volume.array, hu())
    assert scan.faults == (("dicom_duplicate_slices", "2 slice(s) stored twice, used once"),)


def test_different_slices_at_one_position_are_refused(tmp_path):
    write_series(tmp_path)

    def change(index: int, header: pydicom.Dataset) -> None:
        set_cells(header, cells(index, seed=1))

    write_series(tmp_path / "other", [1], change)
    assert refused(tmp_path) == "dicom_same_position"


@pytest.mark.parametrize(
    "keyword",
    ["TemporalPositionIdentifier", "AcquisitionNumber", "NominalPercentageOfCardiacPhase"],
)
def test_of_several_phases_the_first_whole_one_is_taken(keyword, tmp_path):
    for phase in (1, 2, 3):

        def mark(index: int, header: pydicom.Dataset, phase: int = phase) -> None:
            setattr(header, keyword, phase)
            set_cells(header, cells(index, seed=abs(phase - 2)))

        write_series(tmp_path / str(phase), range(SLICES - (phase == 1)), mark)
    scan = read(tmp_path)
    np.testing.assert_array_equal(scan.volume.array, hu())  # phase 2: seed 0, one slice more
    assert kinds(scan) == ["dicom_several_phases"]
