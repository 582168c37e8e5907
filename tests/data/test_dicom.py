"""The DICOM reader as a whole, one test a trap, and real series against independent readers."""

import os
import traceback
import warnings
from collections.abc import Iterable
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
from dicom_cases import (
    COLUMN_MM,
    COLUMNS,
    CORNER,
    ROW_MM,
    ROWS,
    SERIES,
    SLICES,
    STEP_MM,
    cells,
    ct_slice,
    enhanced,
    hu,
    lps_affine,
    set_cells,
    write,
    write_series,
)
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from mg3d.data.readers.dicom.index import index_dicom
from mg3d.data.reading import read_scan, read_volume, source_files
from mg3d.data.scan import Scan, ScanSource, Stated
from mg3d.data.scan_error import ScanError
from mg3d.data.volume import Volume
from mg3d.phantom.export.dicom_series import SYNTAXES, write_dicom_series

DATA = Path(os.environ.get("MG3D_TEST_DATA", Path(__file__).parents[3] / "shared/data"))
ABDOMEN = DATA / "totalsegmentator/example_ct_dicom"
CHEST = DATA / "lung_pet_ct_dx/dicom"


def _read(path: Path, **facts: object) -> Scan:
    return read_scan(ScanSource(path=path, **facts))


def _kinds(scan: Scan) -> list[str]:
    return [kind for kind, _ in scan.faults]


def _refused(path: Path, **facts: object) -> str:
    with pytest.raises(ScanError) as caught:
        _read(path, **facts)
    return caught.value.kind


# --- real series -------------------------------------------------------------------------------


@pytest.mark.real_data
@pytest.mark.parametrize("folder", [ABDOMEN, CHEST], ids=["jpeg2000", "explicit"])
def test_real_series_are_what_pydicom_and_itk_read(folder):
    if not folder.exists():
        pytest.skip("no real data")
    scan = read_scan(ScanSource(path=folder))
    headers = sorted(
        (pydicom.dcmread(path) for path in folder.iterdir()),
        key=lambda header: float(header.ImagePositionPatient[2]),
    )
    by_hand = np.stack([header.pixel_array for header in headers], axis=-1).astype(int)
    by_hand = by_hand.transpose(1, 0, 2) + int(headers[0].RescaleIntercept)
    assert scan.volume.array.dtype == np.int16
    np.testing.assert_array_equal(scan.volume.array, by_hand)

    reader = SimpleITK.ImageSeriesReader()
    paths = sorted(folder.iterdir(), key=lambda path: float(_z(path)))
    reader.SetFileNames([str(path) for path in paths])
    image = reader.Execute()
    np.testing.assert_array_equal(
        scan.volume.array, SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0)
    )
    expected = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    expected[:3, :3] = direction * np.array(image.GetSpacing())
    expected[:3, 3] = image.GetOrigin()
    # measured: equal to the last bit
    np.testing.assert_allclose(scan.volume.affine, np.diag([-1, -1, 1, 1]) @ expected, atol=1e-9)
    assert scan.volume.axes == "LPS"


def _z(path: Path) -> float:
    return float(pydicom.dcmread(path, stop_before_pixels=True).ImagePositionPatient[2])


@pytest.mark.real_data
@pytest.mark.skipif(not ABDOMEN.exists(), reason="no real data")
def test_positions_win_over_slice_thickness():
    scan = _read(ABDOMEN)
    assert scan.volume.spacing_mm == pytest.approx((0.9765625, 0.9765625, 2.0))
    assert _kinds(scan) == ["dicom_thickness"]
    assert "3 mm" in scan.faults[0][1]
    assert "2 mm" in scan.faults[0][1]


@pytest.mark.real_data
@pytest.mark.skipif(not ABDOMEN.exists(), reason="no real data")
def test_a_segmentation_made_from_the_series_lies_on_it():
    """Made by another program from the same files: its grid is ours, whatever its axes."""
    volume = _read(ABDOMEN).volume.reorient_ras()
    mask = nibabel.as_closest_canonical(nibabel.load(ABDOMEN.parent / "example_seg_dicom.nii.gz"))
    assert mask.shape == volume.shape
    np.testing.assert_allclose(mask.affine, volume.affine, atol=1e-4)  # float32 in the NIfTI


@pytest.mark.real_data
@pytest.mark.skipif(not CHEST.exists(), reason="no real data")
def test_a_real_series_without_surprises_has_no_faults():
    assert _read(CHEST).faults == ()


# --- syntaxes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("low", [-1000, -3024])
def test_a_volume_comes_back_from_every_lossless_syntax(syntax, low, tmp_path):
    array = np.random.default_rng(1).integers(low, 1500, (13, 10, 4)).astype(np.int16)
    affine = np.array([[0.7, 0, 0, -11], [0, 0.9, 0, 5], [0, 0, 2.5, 33], [0, 0, 0, 1]])
    write_dicom_series(Volume(array, affine), tmp_path, syntax=syntax)
    scan = _read(tmp_path)
    volume = scan.volume.reorient_ras()
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-9)
    assert scan.faults == ()
    assert volume.array.dtype == np.int16


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_syntaxes_of_another_writer(syntax, tmp_path):
    for index in range(SLICES):
        header = ct_slice(index)
        if syntax == ExplicitVRBigEndian:
            header.add_new("PixelData", "OW", cells(index).astype(">u2").tobytes())
        write(tmp_path / f"{index}.dcm", header, syntax)
    np.testing.assert_array_equal(_read(tmp_path).volume.array, hu())


def test_files_from_before_part_10_have_no_preamble(tmp_path):
    for index in range(SLICES):
        content = write(tmp_path / f"{index}", ct_slice(index), ImplicitVRLittleEndian).read_bytes()
        meta = pydicom.dcmread(tmp_path / f"{index}").file_meta
        start = 128 + 4 + 12 + meta.FileMetaInformationGroupLength
        (tmp_path / f"{index}").write_bytes(content[start:])
    np.testing.assert_array_equal(_read(tmp_path).volume.array, hu())


def test_an_enhanced_file_holds_its_facts_in_functional_groups(tmp_path):
    path = write(tmp_path / "multi.dcm", enhanced())
    scan = _read(path)
    np.testing.assert_array_equal(scan.volume.array, hu())
    np.testing.assert_allclose(scan.volume.affine, lps_affine(), atol=1e-12)
    assert scan.faults == ()
    assert source_files(ScanSource(path=path)) == (path,)


def test_a_syntax_that_no_decoder_knows_is_named(tmp_path):
    header = ct_slice(0)
    header.add_new("PixelData", "OB", b"\xfe\xff\x00\xe0\x00\x00\x00\x00")
    header["PixelData"].is_undefined_length = True
    for index in range(2):
        header.ImagePositionPatient = [*CORNER[:2], index]
        header.SOPInstanceUID = f"1.2.{index + 1}"
        write(tmp_path / f"{index}", header, "1.2.840.10008.1.2.4.100")  # MPEG2
    assert _refused(tmp_path) == "dicom_syntax"


# --- geometry ----------------------------------------------------------------------------------


def test_order_spacing_and_directions_come_from_positions_and_cosines(tmp_path):
    """Instance numbers run against the positions; rows and columns differ in size and distance."""
    scan = _read(write_series(tmp_path))
    np.testing.assert_array_equal(scan.volume.array, hu())
    np.testing.assert_allclose(scan.volume.affine, lps_affine(), atol=1e-12)
    assert scan.volume.spacing_mm == (COLUMN_MM, ROW_MM, STEP_MM)
    assert scan.volume.shape == (COLUMNS, ROWS, SLICES)


@pytest.mark.parametrize(
    ("orientation", "axes"),
    [([0, 1, 0, 0, 0, -1], "PIR"), ([1, 0, 0, 0, 0, -1], "LIP"), ([-1, 0, 0, 0, 1, 0], "RPI")],
)
def test_planes_of_any_direction(orientation, axes, tmp_path):
    normal = np.cross(orientation[:3], orientation[3:])

    def turn(index: int, header: pydicom.Dataset) -> None:
        header.ImageOrientationPatient = orientation
        header.ImagePositionPatient = (np.array(CORNER) + index * STEP_MM * normal).tolist()

    volume = _read(write_series(tmp_path, edit=turn)).volume
    np.testing.assert_array_equal(volume.array, hu())
    # the letters of Volume count to the right where DICOM counts to the left
    assert volume.axes == axes
    # the world position of a voxel, by the equation of PS3.3 C.7.6.2.1.1
    column, row, index = 3, 5, 2
    position = np.array(CORNER) + index * STEP_MM * normal
    position += np.array(orientation[:3]) * COLUMN_MM * column
    position += np.array(orientation[3:]) * ROW_MM * row
    found = volume.affine @ [column, row, index, 1]
    np.testing.assert_allclose(found[:3], position * (-1, -1, 1), atol=1e-9)


def test_missing_pixel_spacing_is_refused_unless_a_table_states_it(tmp_path):
    def detector(_: int, header: pydicom.Dataset) -> None:
        del header.PixelSpacing
        header.ImagerPixelSpacing = [1, 1]

    write_series(tmp_path, edit=detector)
    assert _refused(tmp_path) == "geometry_no_spacing"
    scan = _read(tmp_path, stated=Stated(spacing_mm=(COLUMN_MM, ROW_MM, 1.0)))
    np.testing.assert_allclose(scan.volume.affine, lps_affine(), atol=1e-12)
    assert "geometry_stated" in _kinds(scan)


@pytest.mark.parametrize("junk", [["0.7"], ["0", "0.7"], ["-0.7", "0.7"], ["x", "0.7"], ["nan", 1]])
def test_junk_in_decimal_strings(junk, tmp_path):
    def edit(_: int, header: pydicom.Dataset) -> None:
        with pydicom.config.disable_value_validation():
            element = pydicom.DataElement("PixelSpacing", "LO", [str(each) for each in junk])
            header["PixelSpacing"] = element

    write_series(tmp_path, edit=edit)
    assert _refused(tmp_path) in ("geometry_no_spacing", "geometry_zero_spacing")


def test_slices_without_position(tmp_path):
    def edit(_: int, header: pydicom.Dataset) -> None:
        del header.ImagePositionPatient
        header.SliceLocation = 3

    assert _refused(write_series(tmp_path, edit=edit)) == "dicom_no_position"


def test_many_frames_without_functional_groups(tmp_path):
    header = ct_slice(0)
    header.NumberOfFrames = 3
    set_cells(header, np.stack([cells(index) for index in range(3)]))
    assert _refused(write(tmp_path / "a.dcm", header)) == "dicom_no_position"


def test_a_single_slice_is_no_volume(tmp_path):
    write_series(tmp_path, [0])
    assert _refused(tmp_path) == "dicom_too_few_slices"
    assert _refused(tmp_path / "IM000") == "dicom_too_few_slices"


def test_slices_in_mixed_directions(tmp_path):
    def turn(index: int, header: pydicom.Dataset) -> None:
        if index >= SLICES:
            header.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]

    write_series(tmp_path, range(SLICES + 4), turn)
    assert _refused(tmp_path) == "dicom_mixed_slices"


def test_an_unmarked_localizer_in_the_series_is_left_out(tmp_path):
    def turn(index: int, header: pydicom.Dataset) -> None:
        if index == SLICES:
            header.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
            set_cells(header, np.zeros((20, 30), np.uint16))

    scan = _read(write_series(tmp_path, range(SLICES + 1), turn))
    np.testing.assert_array_equal(scan.volume.array, hu())
    assert _kinds(scan) == ["dicom_left_out"]


def test_another_frame_of_reference_is_another_stack(tmp_path):
    def move(index: int, header: pydicom.Dataset) -> None:
        header.FrameOfReferenceUID = "1.2.3.9" if index < 5 else "1.2.3.10"

    assert _refused(write_series(tmp_path, range(10), move)) == "dicom_mixed_slices"


# --- folders -----------------------------------------------------------------------------------


def test_nested_folders_and_foreign_files(tmp_path):
    for index in range(SLICES):
        write(tmp_path / f"S{index % 2}" / "deep" / f"{index}", ct_slice(index))
    (tmp_path / "report.txt").write_text("not DICOM")
    (tmp_path / "preview.jpg").write_bytes(b"\xff\xd8")
    (tmp_path / "S0" / "notes").write_bytes(b"neither")
    scan = _read(tmp_path)
    np.testing.assert_array_equal(scan.volume.array, hu())
    assert scan.faults == ()
    assert len(source_files(ScanSource(path=tmp_path))) == SLICES


def test_a_folder_without_dicom(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 200)
    assert _refused(tmp_path) == "dicom_no_series"


def test_pictures_of_a_viewer_do_not_make_a_folder_one_of_pictures(tmp_path):
    write_series(tmp_path)
    (tmp_path / "thumbnail.jpg").write_bytes(b"\xff\xd8\xff")
    np.testing.assert_array_equal(read_volume(tmp_path).array, hu())


def test_a_damaged_file_beside_the_series_is_counted(tmp_path):
    write_series(tmp_path)
    whole = (tmp_path / "IM003").read_bytes()
    (tmp_path / "early").write_bytes(whole[:400])  # ends before it says what it is
    (tmp_path / "late").write_bytes(whole[: whole.index(b"MONOCHROME2")])  # a CT without pixels
    scan = _read(tmp_path)
    np.testing.assert_array_equal(scan.volume.array, hu())
    assert scan.faults == (("dicom_damaged_files", "2 damaged file(s) left out"),)


def test_a_file_that_cannot_be_opened_stops_the_series(tmp_path):
    """It may be a slice; a linked archive that is not there must not shorten a scan."""
    write_series(tmp_path)
    (tmp_path / "IM999").symlink_to(tmp_path / "not fetched")
    with pytest.raises(ScanError, match="No such file"):
        _read(tmp_path)


def test_truncated_pixels(tmp_path):
    write_series(tmp_path)
    content = (tmp_path / "IM002").read_bytes()
    (tmp_path / "IM002").write_bytes(content[:-40])
    assert _refused(tmp_path) == "dicom_pixels"


# --- choice ------------------------------------------------------------------------------------


def _thick(_: int, header: pydicom.Dataset) -> None:
    header.ImagePositionPatient[2] = CORNER[2] + 2 * (header.ImagePositionPatient[2] - CORNER[2])
    header.SliceThickness = 2 * STEP_MM


def test_the_thinnest_of_the_long_series_is_taken_and_the_others_are_told(tmp_path):
    write_series(tmp_path / "thin", range(9), series="1.2.9")
    write_series(tmp_path / "thick", range(5), _thick, series="1.2.1")
    write_series(tmp_path / "part", range(3), series="1.2.0")
    scan = _read(tmp_path)
    assert scan.volume.shape[2] == 9
    assert _kinds(scan) == ["dicom_other_series"]
    assert "2 other CT series with 5, 3 slices" in scan.faults[0][1]
    assert _read(tmp_path, series_uid="1.2.1").volume.shape[2] == 5
    assert _read(tmp_path, series_uid="1.2.0").volume.shape[2] == 3
    assert _refused(tmp_path, series_uid="1.2.7") == "dicom_series_absent"
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
    scan = _read(tmp_path)
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

    assert _refused(write_series(tmp_path, edit=scout)) == "dicom_no_series"


def test_another_modality_is_no_series(tmp_path):
    def positron(_: int, header: pydicom.Dataset) -> None:
        header.Modality = "PT"

    assert _refused(write_series(tmp_path, edit=positron)) == "dicom_no_series"


def test_derived_slices_alone_are_read_with_a_warning(tmp_path):
    def derived(_: int, header: pydicom.Dataset) -> None:
        header.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]

    scan = _read(write_series(tmp_path, edit=derived))
    np.testing.assert_array_equal(scan.volume.array, hu())
    assert _kinds(scan) == ["dicom_derived"]


def test_a_series_whose_uids_were_emptied_is_one_series_a_folder(tmp_path):
    def anonymous(_: int, header: pydicom.Dataset) -> None:
        header.SeriesInstanceUID = header.StudyInstanceUID = header.SOPClassUID = ""

    write_series(tmp_path / "a", edit=anonymous)
    write_series(tmp_path / "b", range(3), anonymous)
    scan = _read(tmp_path)
    np.testing.assert_array_equal(scan.volume.array, hu())
    assert _kinds(scan) == ["dicom_other_series"]


# --- repeats and phases ------------------------------------------------------------------------


def test_slices_stored_twice_are_used_once(tmp_path):
    write_series(tmp_path)
    write_series(tmp_path / "copy", [1, 4])
    scan = _read(tmp_path)
    np.testing.assert_array_equal(scan.volume.array, hu())
    assert scan.faults == (("dicom_duplicate_slices", "2 slice(s) stored twice, used once"),)


def test_different_slices_at_one_position_are_refused(tmp_path):
    write_series(tmp_path)

    def change(index: int, header: pydicom.Dataset) -> None:
        set_cells(header, cells(index, seed=1))

    write_series(tmp_path / "other", [1], change)
    assert _refused(tmp_path) == "dicom_same_position"


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
    scan = _read(tmp_path)
    np.testing.assert_array_equal(scan.volume.array, hu())  # phase 2: seed 0, one slice more
    assert _kinds(scan) == ["dicom_several_phases"]


# --- values ------------------------------------------------------------------------------------


def test_slope_and_intercept_are_those_of_each_slice(tmp_path):
    def rescale(index: int, header: pydicom.Dataset) -> None:
        header.RescaleIntercept = -1024 + index
        header.RescaleSlope = 1 + index % 2

    array = _read(write_series(tmp_path, edit=rescale)).volume.array
    for index in range(SLICES):
        expected = cells(index).astype(int) * (1 + index % 2) - 1024 + index
        np.testing.assert_array_equal(array[:, :, index], expected.T)
    assert array.dtype == np.int16


def test_fractional_slopes_give_fractions(tmp_path):
    def rescale(_: int, header: pydicom.Dataset) -> None:
        header.RescaleSlope = 0.5

    array = _read(write_series(tmp_path, edit=rescale)).volume.array
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array[:, :, 0], cells(0).T * 0.5 - 1024)


def test_values_beyond_16_bits_become_floats(tmp_path):
    def rescale(index: int, header: pydicom.Dataset) -> None:
        header.RescaleSlope = 20 if index == 3 else 1

    array = _read(write_series(tmp_path, edit=rescale)).volume.array
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

    scan = _read(write_series(tmp_path, edit=pad))
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

    scan = _read(write_series(tmp_path, edit=pad))
    np.testing.assert_array_equal(scan.volume.array[:4, 0, 0], [-1000, -1000, -1000, 41 - 1024])


def test_padding_in_the_range_of_tissue_is_not_trusted(tmp_path):
    def pad(_: int, header: pydicom.Dataset) -> None:
        header.add_new("PixelPaddingValue", "US", 1024)  # 0 HU, water

    scan = _read(write_series(tmp_path, edit=pad))
    np.testing.assert_array_equal(scan.volume.array, hu())
    assert _kinds(scan) == ["dicom_padding_in_tissue"]


@pytest.mark.parametrize("quantity", ["US", "BLUE"])
def test_a_quantity_that_is_not_stated_warns(quantity, tmp_path):
    def edit(_: int, header: pydicom.Dataset) -> None:
        header.RescaleType = quantity

    scan = _read(write_series(tmp_path, edit=edit))
    np.testing.assert_array_equal(scan.volume.array, hu())
    assert _kinds(scan) == ["dicom_quantity_unknown"]


def test_another_quantity_is_refused(tmp_path):
    def edit(_: int, header: pydicom.Dataset) -> None:
        header.RescaleType = "Z_EFF"

    assert _refused(write_series(tmp_path, edit=edit)) == "dicom_quantity"


def test_without_slope_and_intercept_values_are_as_stored_or_as_a_table_states(tmp_path):
    soft = np.random.default_rng(0).integers(-100, 100, (SLICES, ROWS, COLUMNS))
    soft[:, :3] = -1000

    def edit(index: int, header: pydicom.Dataset) -> None:
        del header.RescaleSlope, header.RescaleIntercept, header.RescaleType
        set_cells(header, (soft[index] + 1024).astype(np.uint16))

    write_series(tmp_path, edit=edit)
    scan = _read(tmp_path)
    np.testing.assert_array_equal(scan.volume.array, soft.transpose(2, 1, 0) + 1024)
    assert _kinds(scan) == ["dicom_rescale_missing"]
    scan = _read(tmp_path, stated=Stated(rescale=(1.0, -1024.0)))
    np.testing.assert_array_equal(scan.volume.array, soft.transpose(2, 1, 0))
    assert _kinds(scan) == ["hu_stated_rescale"]


def test_a_slope_without_intercept_is_told(tmp_path):
    def edit(_: int, header: pydicom.Dataset) -> None:
        del header.RescaleIntercept

    scan = _read(write_series(tmp_path, edit=edit))
    np.testing.assert_array_equal(scan.volume.array, hu() + 1024)
    assert _kinds(scan) == ["dicom_rescale_missing"]


def test_an_inverted_display_changes_no_value(tmp_path):
    def edit(_: int, header: pydicom.Dataset) -> None:
        header.PhotometricInterpretation = "MONOCHROME1"

    scan = _read(write_series(tmp_path, edit=edit))
    np.testing.assert_array_equal(scan.volume.array, hu())
    assert _kinds(scan) == ["dicom_monochrome1"]


def test_private_elements_of_any_kind_are_passed_over(tmp_path):
    def edit(_: int, header: pydicom.Dataset) -> None:
        header.add_new(0x00091001, "UN", b"\x01\x02\x03\x04\x05")  # no creator, odd length
        header.add_new(0x00190010, "LO", "ACME")
        header.add_new(0x00191001, "LO", "text of an unknown type")
        header.add_new(0x00291010, "UN", b"\xfe\xff\x00\xe0\xff\xff\xff\xff")  # as if a sequence

    write_series(tmp_path, edit=edit)
    for path in tmp_path.iterdir():
        content = path.read_bytes()
        assert content.count(b"\x19\x00\x01\x10LO") == 1
        path.write_bytes(content.replace(b"\x19\x00\x01\x10LO", b"\x19\x00\x01\x10ZZ"))
    np.testing.assert_array_equal(_read(tmp_path).volume.array, hu())


# --- privacy -----------------------------------------------------------------------------------

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
            shown = [repr(_read(tmp_path).faults)]
        except ScanError as error:
            shown = traceback.format_exception(error)
        shown += [repr(index_dicom(tmp_path)[0]).replace(str(tmp_path), "")]
    shown += [str(each.message) for each in noticed] + [caplog.text, *capfd.readouterr()]
    assert not [text for text in shown if _SECRET.lower() in text.lower()]


def test_uids_and_names_do_not_show_when_a_series_is_absent(tmp_path):
    write_series(tmp_path)
    with pytest.raises(ScanError) as caught:
        _read(tmp_path, series_uid="1.2.840.99")
    assert "1.2.840.99" not in str(caught.value)
    assert SERIES not in str(caught.value)
