"""Syntaxes, geometry and folders, one test a trap, and real series against independent readers."""

import os
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
from dicom_answers import kinds, read, refused
from dicom_cases import (
    COLUMN_MM,
    COLUMNS,
    CORNER,
    ROW_MM,
    ROWS,
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
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from mg3d.data.reading import read_scan, read_volume, source_files
from mg3d.data.scan import ScanSource, Stated
from mg3d.data.scan_error import ScanError
from mg3d.data.volume import Volume
from mg3d.phantom.export.dicom_series import SYNTAXES, write_dicom_series

DATA = Path(os.environ.get("MG3D_TEST_DATA", Path(__file__).parents[3] / "shared/data"))
ABDOMEN = DATA / "totalsegmentator/example_ct_dicom"
CHEST = DATA / "lung_pet_ct_dx/dicom"


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
    scan = read(ABDOMEN)
    assert scan.volume.spacing_mm == pytest.approx((0.9765625, 0.9765625, 2.0))
    assert kinds(scan) == ["dicom_thickness"]
    assert "3 mm" in scan.faults[0][1]
    assert "2 mm" in scan.faults[0][1]


@pytest.mark.real_data
@pytest.mark.skipif(not ABDOMEN.exists(), reason="no real data")
def test_a_segmentation_made_from_the_series_lies_on_it():
    """Made by another program from the same files: its grid is ours, whatever its axes."""
    volume = read(ABDOMEN).volume.reorient_ras()
    mask = nibabel.as_closest_canonical(nibabel.load(ABDOMEN.parent / "example_seg_dicom.nii.gz"))
    assert mask.shape == volume.shape
    np.testing.assert_allclose(mask.affine, volume.affine, atol=1e-4)  # float32 in the NIfTI


@pytest.mark.real_data
@pytest.mark.skipif(not CHEST.exists(), reason="no real data")
def test_a_real_series_without_surprises_has_no_faults():
    assert read(CHEST).faults == ()


# --- syntaxes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("low", [-1000, -3024])
def test_a_volume_comes_back_from_every_lossless_syntax(syntax, low, tmp_path):
    array = np.random.default_rng(1).integers(low, 1500, (13, 10, 4)).astype(np.int16)
    affine = np.array([[0.7, 0, 0, -11], [0, 0.9, 0, 5], [0, 0, 2.5, 33], [0, 0, 0, 1]])
    write_dicom_series(Volume(array, affine), tmp_path, syntax=syntax)
    scan = read(tmp_path)
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
    np.testing.assert_array_equal(read(tmp_path).volume.array, hu())


def test_files_from_before_part_10_have_no_preamble(tmp_path):
    for index in range(SLICES):
        content = write(tmp_path / f"{index}", ct_slice(index), ImplicitVRLittleEndian).read_bytes()
        meta = pydicom.dcmread(tmp_path / f"{index}").file_meta
        start = 128 + 4 + 12 + meta.FileMetaInformationGroupLength
        (tmp_path / f"{index}").write_bytes(content[start:])
    np.testing.assert_array_equal(read(tmp_path).volume.array, hu())


def test_an_enhanced_file_holds_its_facts_in_functional_groups(tmp_path):
    path = write(tmp_path / "multi.dcm", enhanced())
    scan = read(path)
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
    assert refused(tmp_path) == "dicom_syntax"


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
    np.testing.assert_array_equal(read(tmp_path).volume.array, hu())


# --- geometry ----------------------------------------------------------------------------------


def test_order_spacing_and_directions_come_from_positions_and_cosines(tmp_path):
    """Instance numbers run against the positions; rows and columns differ in size and distance."""
    scan = read(write_series(tmp_path))
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

    volume = read(write_series(tmp_path, edit=turn)).volume
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
    assert refused(tmp_path) == "geometry_no_spacing"
    scan = read(tmp_path, stated=Stated(spacing_mm=(COLUMN_MM, ROW_MM, 1.0)))
    np.testing.assert_allclose(scan.volume.affine, lps_affine(), atol=1e-12)
    assert "geometry_stated" in kinds(scan)


@pytest.mark.parametrize("junk", [["0.7"], ["0", "0.7"], ["-0.7", "0.7"], ["x", "0.7"], ["nan", 1]])
def test_junk_in_decimal_strings(junk, tmp_path):
    def edit(_: int, header: pydicom.Dataset) -> None:
        with pydicom.config.disable_value_validation():
            element = pydicom.DataElement("PixelSpacing", "LO", [str(each) for each in junk])
            header["PixelSpacing"] = element

    write_series(tmp_path, edit=edit)
    assert refused(tmp_path) in ("geometry_no_spacing", "geometry_zero_spacing")


def test_slices_without_position(tmp_path):
    def edit(_: int, header: pydicom.Dataset) -> None:
        del header.ImagePositionPatient
        header.SliceLocation = 3

    assert refused(write_series(tmp_path, edit=edit)) == "dicom_no_position"


def test_many_frames_without_functional_groups(tmp_path):
    header = ct_slice(0)
    header.NumberOfFrames = 3
    set_cells(header, np.stack([cells(index) for index in range(3)]))
    assert refused(write(tmp_path / "a.dcm", header)) == "dicom_no_position"


def test_a_single_slice_is_no_volume(tmp_path):
    write_series(tmp_path, [0])
    assert refused(tmp_path) == "dicom_too_few_slices"
    assert refused(tmp_path / "IM000") == "dicom_too_few_slices"


def test_slices_in_mixed_directions(tmp_path):
    def turn(index: int, header: pydicom.Dataset) -> None:
        if index >= SLICES:
            header.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]

    write_series(tmp_path, range(SLICES + 4), turn)
    assert refused(tmp_path) == "dicom_mixed_slices"


def test_an_unmarked_localizer_in_the_series_is_left_out(tmp_path):
    def turn(index: int, header: pydicom.Dataset) -> None:
        if index == SLICES:
            header.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
            set_cells(header, np.zeros((20, 30), np.uint16))

    scan = read(write_series(tmp_path, range(SLICES + 1), turn))
    np.testing.assert_array_equal(scan.volume.array, hu())
    assert kinds(scan) == ["dicom_left_out"]


def test_another_frame_of_reference_is_another_stack(tmp_path):
    def move(index: int, header: pydicom.Dataset) -> None:
        header.FrameOfReferenceUID = "1.2.3.9" if index < 5 else "1.2.3.10"

    assert refused(write_series(tmp_path, range(10), move)) == "dicom_mixed_slices"


# --- folders -----------------------------------------------------------------------------------


def test_nested_folders_and_foreign_files(tmp_path):
    for index in range(SLICES):
        write(tmp_path / f"S{index % 2}" / "deep" / f"{index}", ct_slice(index))
    (tmp_path / "report.txt").write_text("not DICOM")
    (tmp_path / "preview.jpg").write_bytes(b"\xff\xd8")
    (tmp_path / "S0" / "notes").write_bytes(b"neither")
    scan = read(tmp_path)
    np.testing.assert_array_equal(scan.volume.array, hu())
    assert scan.faults == ()
    assert len(source_files(ScanSource(path=tmp_path))) == SLICES


def test_a_folder_without_dicom(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 200)
    assert refused(tmp_path) == "dicom_no_series"


def test_pictures_of_a_viewer_do_not_make_a_folder_one_of_pictures(tmp_path):
    write_series(tmp_path)
    (tmp_path / "thumbnail.jpg").write_bytes(b"\xff\xd8\xff")
    np.testing.assert_array_equal(read_volume(tmp_path).array, hu())


def test_a_damaged_file_beside_the_series_is_counted(tmp_path):
    write_series(tmp_path)
    whole = (tmp_path / "IM003").read_bytes()
    (tmp_path / "early").write_bytes(whole[:400])  # ends before it says what it is
    (tmp_path / "late").write_bytes(whole[: whole.index(b"MONOCHROME2")])  # a CT without pixels
    scan = read(tmp_path)
    np.testing.assert_array_equal(scan.volume.array, hu())
    assert scan.faults == (("dicom_damaged_files", "2 damaged file(s) left out"),)


def test_a_file_that_cannot_be_opened_stops_the_series(tmp_path):
    """It may be a slice; a linked archive that is not there must not shorten a scan."""
    write_series(tmp_path)
    (tmp_path / "IM999").symlink_to(tmp_path / "not fetched")
    with pytest.raises(ScanError, match="No such file"):
        read(tmp_path)


def test_truncated_pixels(tmp_path):
    write_series(tmp_path)
    content = (tmp_path / "IM002").read_bytes()
    (tmp_path / "IM002").write_bytes(content[:-40])
    assert refused(tmp_path) == "dicom_pixels"
