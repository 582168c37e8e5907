"""MetaImage against SimpleITK, which reads and writes it independently; and what it must refuse."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK

from mg3d.data.reading import read_scan, read_volume, source_files
from mg3d.data.scan import ScanSource, Stated
from mg3d.data.scan_error import ScanError

TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def _itk_affine(image: Any) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return TO_RAS @ affine


def _array(dtype: Any = np.int16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 100, (5, 6, 7)).astype(dtype)


@pytest.mark.parametrize(
    "dtype", [np.int8, np.int16, np.uint8, np.uint16, np.int32, np.int64, np.float32, np.float64]
)
@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("ending", [".mha", ".mhd"])
def test_it_reads_what_itk_writes(tmp_path: Path, dtype: Any, compress: bool, ending: str) -> None:
    image = SimpleITK.GetImageFromArray(_array(dtype).T)
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((-90.5, 40.25, 7))
    c, s = np.cos(0.3), np.sin(0.3)
    image.SetDirection((c, -s, 0, s, c, 0, 0, 0, -1))  # oblique and left-handed
    path = tmp_path / f"ct{ending}"
    SimpleITK.WriteImage(image, str(path), useCompression=compress)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, _array(dtype))
    again = SimpleITK.ReadImage(str(path))
    np.testing.assert_allclose(volume.affine, _itk_affine(again), atol=1e-9)  # measured 1e-15
    beside = [found for found in tmp_path.iterdir() if found != path]
    assert source_files(ScanSource(path=path)) == (path, *beside)


@pytest.mark.real_data
def test_a_real_file_is_read_as_itk_reads_it(real_folder: Path) -> None:
    path = real_folder / "elastix_lung/3DCT_lung_baseline_small.mha"
    volume, reference = read_volume(path), SimpleITK.ReadImage(str(path))
    np.testing.assert_array_equal(volume.array, SimpleITK.GetArrayFromImage(reference).T)
    np.testing.assert_allclose(volume.affine, _itk_affine(reference), atol=1e-9)
    assert (volume.axes, volume.shape) == ("LPS", (57, 78, 64))


HEADER = {
    "ObjectType": "Image", "NDims": "3", "BinaryData": "True", "BinaryDataByteOrderMSB": "False",
    "TransformMatrix": "1 0 0 0 1 0 0 0 1", "Offset": "5 6 7", "ElementSpacing": "1 1 2",
    "DimSize": "2 3 4", "ElementType": "MET_SHORT", "ElementDataFile": "LOCAL",
}  # fmt: skip
VOXELS = np.arange(24, dtype="<i2").tobytes()


def _write(path: Path, voxels: bytes = VOXELS, **fields: str | None) -> Path:
    lines = [f"{name} = {value}\n" for name, value in (HEADER | fields).items() if value]
    lines.sort(key=lambda line: line.startswith("ElementDataFile"))
    path.write_bytes("".join(lines).encode() + voxels)
    return path


def test_big_endian_and_headers_of_the_voxel_file(tmp_path: Path) -> None:
    swapped = np.arange(24, dtype=">i2").tobytes()
    big = read_volume(_write(tmp_path / "big.mha", swapped, BinaryDataByteOrderMSB="True"))
    assert big.array.ravel(order="F").tolist() == list(range(24))
    (tmp_path / "ct.raw").write_bytes(b"some header" + VOXELS)
    for size in ("-1", "11"):
        path = _write(tmp_path / "ct.mhd", b"", HeaderSize=size, ElementDataFile="ct.raw")
        np.testing.assert_array_equal(read_volume(path).array, big.array)


@pytest.mark.parametrize(
    ("fields", "kind", "message"),
    [
        ({"TransformMatrix": None}, "geometry_no_orientation", "left and right are unknown"),
        ({"TransformMatrix": "1 0 0 1"}, "geometry_damaged", "4 numbers of geometry in place of 9"),
        ({"TransformMatrix": "1 0 0 1 0 0 0 0 1"}, "geometry_not_invertible", "same way"),
        ({"ElementSpacing": "1 1 0"}, "geometry_zero_spacing", "a zero"),
        ({"ElementSpacing": "1 1 500"}, "geometry_spacing_range", "outside"),
        ({"NDims": "4", "DimSize": "2 3 2 2"}, "geometry_not_3d", "three axes"),
        ({"NDims": "2"}, "unreadable", "do not agree"),
        ({"ElementNumberOfChannels": "3"}, "file_colour", "several numbers"),
        ({"ElementType": "MET_LONG"}, "file_colour", "known width"),
        ({"BinaryData": "False"}, "file_format", "as text"),
        ({"DimSize": "2 3 4000"}, "unreadable", "the file holds at most"),
        ({"DimSize": "2 3 x"}, "unreadable", "ValueError"),
        ({"CompressedData": "True"}, "unreadable", "truncated or damaged"),
        ({"ElementDataFile": "LIST"}, "file_format", "several files"),
        ({"ElementDataFile": "/etc/hostname"}, "missing_file", "outside its own folder"),
    ],
)
def test_what_cannot_be_a_ct_is_refused_by_name(
    tmp_path: Path, fields: dict[str, str | None], kind: str, message: str
) -> None:
    with pytest.raises(ScanError, match=message) as caught:
        read_volume(_write(tmp_path / "ct.mha", **fields))
    assert caught.value.kind == kind


def test_what_is_stated_helps_a_header_without_orientation(tmp_path: Path) -> None:
    stated = Stated(axes="LPS", spacing_mm=(1.0, 1.0, 2.0))
    path = _write(tmp_path / "ct.mha", TransformMatrix=None)
    scan = read_scan(ScanSource(path=path, stated=stated))
    assert dict(scan.faults).keys() == {"geometry_stated"}
    assert scan.volume.spacing_mm == (1, 1, 2)


def test_damage_is_a_scan_error(tmp_path: Path) -> None:
    path = _write(tmp_path / "ct.mha")
    whole = path.read_bytes()
    for content in (b"", b"ObjectType", whole[:60], whole[:-1], b"PNG" + whole[20:]):
        path.write_bytes(content)
        with pytest.raises(ScanError):
            read_volume(path)
