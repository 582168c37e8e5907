"""From cells to HU."""

import numpy as np
import pytest
from dicom_cases import cells, ct_slice, enhanced, set_cells, write

from mg3d.data.readers.dicom import pixels as dicom_pixels
from mg3d.data.readers.dicom.frame import frames_of
from mg3d.data.readers.dicom.pixels import PixelReader
from mg3d.data.scan_error import ScanError


def _frames(path, header):
    return frames_of(header, write(path, header))


def test_planes_and_their_types(tmp_path):
    header = ct_slice(0)
    header.RescaleSlope = 2
    (frame,) = _frames(tmp_path / "a", header)
    plane = PixelReader().plane(frame)
    assert plane.dtype == np.int32
    np.testing.assert_array_equal(plane, cells(0).astype(int) * 2 - 1024)
    header.RescaleSlope = 0.25
    (frame,) = _frames(tmp_path / "a", header)
    plane = PixelReader().plane(frame)
    assert plane.dtype == np.float32
    np.testing.assert_array_equal(plane, cells(0) * 0.25 - 1024)


def test_a_huge_slope_does_not_wrap(tmp_path):
    header = ct_slice(0)
    header.RescaleSlope = 2**20
    (frame,) = _frames(tmp_path / "a", header)
    np.testing.assert_allclose(PixelReader().plane(frame), cells(0) * 2.0**20 - 1024)


def test_a_file_of_many_frames_is_opened_once(tmp_path, monkeypatch):
    opened = []
    real = dicom_pixels.read_whole
    monkeypatch.setattr(dicom_pixels, "read_whole", lambda p: opened.append(p) or real(p))
    reader = PixelReader()
    frames = _frames(tmp_path / "many", enhanced(4))
    other = _frames(tmp_path / "other", ct_slice(0))
    for frame in (*frames, *other, *other):
        reader.plane(frame)
    assert [path.name for path in opened] == ["many", "other"]


def test_what_was_noticed(tmp_path):
    header = ct_slice(0)
    header.PhotometricInterpretation, header.LossyImageCompression = "MONOCHROME1", "01"
    header.add_new("PixelPaddingValue", "US", 0)
    values = cells(0) % 1000 + 10
    values[0, :2] = 0
    values[1, 1] = 5000
    set_cells(header, values.astype(np.uint16))
    reader = PixelReader()
    assert reader.faults == ()
    plane = reader.plane(_frames(tmp_path / "a", header)[0])
    assert (plane[0, :2] == -1000).all()
    assert plane[1, 1] == 5000 - 1024
    assert [kind for kind, _ in reader.faults] == [
        "dicom_bits", "dicom_lossy", "dicom_monochrome1", "dicom_padding",
    ]  # fmt: skip
    assert "2 padded pixels" in reader.faults[-1][1]


def test_a_file_that_vanished_or_changed(tmp_path):
    (frame,) = _frames(tmp_path / "a", ct_slice(0))
    header = ct_slice(0)
    set_cells(header, np.zeros((3, 3), np.uint16))
    write(tmp_path / "a", header)
    with pytest.raises(ScanError, match="changed") as caught:
        PixelReader().plane(frame)
    assert caught.value.kind == "dicom_pixels"
    (tmp_path / "a").unlink()
    with pytest.raises(ScanError, match="No such file"):
        PixelReader().plane(frame)
