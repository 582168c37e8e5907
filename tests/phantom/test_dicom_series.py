"""DICOM that the exporter writes, against what pydicom and SimpleITK read."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK

from mg3d.data.volume import Volume
from mg3d.phantom.export.dicom_series import SYNTAXES, SeriesIdentity, write_dicom_series

_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
AFFINE = np.array(
    [[0.7, 0.0, 0.0, -11.0], [0.0, 0.9, 0.0, 5.0], [0.0, 0.0, 2.5, 33.0], [0.0, 0.0, 0.0, 1.0]]
)


def _volume(low: int = -1000, high: int = 1500) -> Volume:
    rng = np.random.default_rng(3)
    return Volume(rng.integers(low, high, (13, 10, 4)).astype(np.int16), AFFINE)


def _itk(folder: Path) -> SimpleITK.Image:
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames([str(path) for path in sorted(folder.iterdir())])
    return reader.Execute()


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("range_hu", [(-1000, 1500), (-3024, 30000)])
def test_itk_reads_voxels_and_geometry(syntax, range_hu, tmp_path):
    volume = _volume(*range_hu)
    write_dicom_series(volume, tmp_path, syntax=syntax)
    image = _itk(tmp_path)
    np.testing.assert_array_equal(
        SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0), volume.array[::-1, ::-1]
    )
    assert image.GetSpacing() == pytest.approx((0.7, 0.9, 2.5), abs=1e-9)
    corner = volume.affine @ [12, 9, 0, 1]  # the voxel that lies most to the left and back
    assert image.GetOrigin() == pytest.approx((-corner[0], -corner[1], corner[2]), abs=1e-9)
    written = pydicom.dcmread(tmp_path / "IM00001").file_meta.TransferSyntaxUID
    assert written == SYNTAXES[syntax]


def test_a_tilted_stack_keeps_its_positions(tmp_path):
    affine = AFFINE.copy()
    affine[1, 2] = 0.5  # each slice 0.5 mm further to the front
    write_dicom_series(Volume(_volume().array, affine), tmp_path)
    headers = [pydicom.dcmread(path) for path in sorted(tmp_path.iterdir())]
    steps = np.diff([header.ImagePositionPatient for header in headers], axis=0)
    np.testing.assert_allclose(steps, [[0, -0.5, 2.5]] * 3, atol=1e-9)
    assert float(headers[0].SliceThickness) == pytest.approx(2.5)


def test_names_and_uids_come_from_the_identity_alone(tmp_path):
    identity = SeriesIdentity(patient_id="P1", study_id="S1", series_number=2)
    for folder in ("a", "b"):
        uid = write_dicom_series(_volume(), tmp_path / folder, identity=identity)
    first, second = ((tmp_path / f / "IM00002").read_bytes() for f in "ab")
    assert first == second
    header = pydicom.dcmread(tmp_path / "a/IM00002")
    assert (header.PatientID, header.AccessionNumber, header.InstanceNumber) == ("P1", "S1", 2)
    assert header.SeriesInstanceUID == uid == identity.series_uid
    other = SeriesIdentity(patient_id="P1", study_id="S1", series_number=3)
    assert other.study_uid == identity.study_uid
    assert other.series_uid != identity.series_uid
    assert all(pydicom.uid.UID(header[name].value).is_valid for name in _UIDS)


def test_fractions_are_rounded(tmp_path):
    array = np.full((3, 4, 2), -0.6, dtype=np.float32)
    write_dicom_series(Volume(array, AFFINE), tmp_path)
    assert (SimpleITK.GetArrayFromImage(_itk(tmp_path)) == -1).all()
