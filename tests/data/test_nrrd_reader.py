"""NRRD against SimpleITK, which reads and writes it independently; and what it must refuse."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK

from mg3d.data.reading import read_scan, read_volume, source_files
from mg3d.data.scan import ScanSource, Stated
from mg3d.data.scan_error import ScanError

TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def itk_image(array: np.ndarray, *, turned: bool = True) -> Any:
    image = SimpleITK.GetImageFromArray(array.T)
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((-90.5, 40.25, 7))
    if turned:  # oblique, and left-handed by the last sign
        angle = 0.3
        c, s = np.cos(angle), np.sin(angle)
        image.SetDirection((c, -s, 0, s, c, 0, 0, 0, -1))
    return image


def itk_affine(image: Any) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return TO_RAS @ affine


def _array(dtype: Any = np.int16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 100, (5, 6, 7)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.uint16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("ending", [".nrrd", ".nhdr"])
def test_it_reads_what_itk_writes(tmp_path: Path, dtype: Any, compress: bool, ending: str) -> None:
    image = itk_image(_array(dtype))
    path = tmp_path / f"ct{ending}"
    SimpleITK.WriteImage(image, str(path), useCompression=compress)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, _array(dtype))
    again = SimpleITK.ReadImage(str(path))
    np.testing.assert_allclose(volume.affine, itk_affine(again), atol=1e-9)  # measured 1e-15
    assert volume.array.dtype == (np.float32 if np.dtype(dtype).kind == "f" else np.int16)
    beside = [found for found in tmp_path.iterdir() if found != path]
    assert source_files(ScanSource(path=path)) == (path, *beside)


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["lung1_image.nrrd", "lung1_label.nrrd"])
def test_real_files_are_read_as_itk_reads_them(real_folder: Path, name: str) -> None:
    path = real_folder / "pyradiomics_lung1" / name
    volume, reference = read_volume(path), SimpleITK.ReadImage(str(path))
    np.testing.assert_array_equal(volume.array, SimpleITK.GetArrayFromImage(reference).T)
    np.testing.assert_allclose(volume.affine, itk_affine(reference), atol=1e-9)
    assert volume.axes == "LPS"


HEADER = {
    "type": "short", "dimension": "3", "space": "right-anterior-superior", "sizes": "2 3 4",
    "space directions": "(1,0,0) (0,1,0) (0,0,2)", "space origin": "(5,6,7)", "endian": "little",
    "encoding": "raw",
}  # fmt: skip
VOXELS = np.arange(24, dtype="<i2").tobytes()


def _write(path: Path, voxels: bytes = VOXELS, **fields: str | None) -> Path:
    named = {name.replace("_", " "): value for name, value in fields.items()}
    lines = [f"{name}: {value}" for name, value in (HEADER | named).items() if value is not None]
    path.write_bytes("\n".join(["NRRD0005", "# made by hand", *lines]).encode() + b"\n\n" + voxels)
    return path


@pytest.mark.parametrize(
    ("space", "signs"),
    [("RAS", (1, 1, 1)), ("left-anterior-superior", (-1, 1, 1)), ("LPS", (-1, -1, 1))],
)
def test_every_known_space_becomes_ras(tmp_path: Path, space: str, signs: tuple[int, ...]) -> None:
    volume = read_volume(_write(tmp_path / "ct.nrrd", space=space))
    expected = np.array([[1, 0, 0, 5], [0, 1, 0, 6], [0, 0, 2, 7], [0, 0, 0, 1.0]])
    expected[:3] *= np.array(signs)[:, None]
    np.testing.assert_array_equal(volume.affine, expected)


def test_units_other_than_millimetres_are_converted_and_said(tmp_path: Path) -> None:
    units = '"cm" "cm" "cm"'
    scan = read_scan(ScanSource(path=_write(tmp_path / "ct.nrrd", space_units=units)))
    assert scan.volume.spacing_mm == (10, 10, 20)
    np.testing.assert_array_equal(scan.volume.affine[:3, 3], (50, 60, 70))
    assert [kind for kind, _ in scan.faults] == ["geometry_unit"]
    millimetres = _write(tmp_path / "mm.nrrd", space_units='"mm" "mm" "mm"')
    assert read_scan(ScanSource(path=millimetres)).faults == ()


def test_big_endian_skips_and_detached_gzip(tmp_path: Path) -> None:
    swapped = np.arange(24, dtype=">i2").tobytes()
    volume = read_volume(_write(tmp_path / "big.nrrd", swapped, endian="big"))
    assert volume.array.ravel(order="F").tolist() == list(range(24))
    skipped = _write(tmp_path / "skip.nrrd", b"xyz" + VOXELS, byte_skip="3")
    np.testing.assert_array_equal(read_volume(skipped).array, volume.array)
    last = _write(tmp_path / "last.nrrd", b"any length" + VOXELS, byte_skip="-1")
    np.testing.assert_array_equal(read_volume(last).array, volume.array)
    (tmp_path / "voxels.raw.gz").write_bytes(gzip.compress(b"ab" + VOXELS))
    header = _write(
        tmp_path / "ct.nhdr", b"", encoding="gzip", data_file="voxels.raw.gz", byte_skip="2"
    )
    np.testing.assert_array_equal(read_volume(header).array, volume.array)


@pytest.mark.parametrize(
    ("fields", "kind", "message"),
    [
        ({"space": "scanner-xyz"}, "geometry_no_orientation", "left and right are unknown"),
        ({"space": None}, "geometry_no_orientation", "left and right"),
        ({"space_directions": None}, "geometry_no_orientation", "left and right"),
        ({"space_directions": "(1,0,0) (0,1,0) (0,0,0)"}, "geometry_zero_spacing", "a zero"),
        ({"space_directions": "(1,0,0) (0,1,0)"}, "geometry_damaged", "three dimensions"),
        ({"dimension": "4", "sizes": "2 3 2 2"}, "geometry_not_3d", "three axes"),
        ({"sizes": "2 3 -4"}, "geometry_not_3d", "below 1"),
        ({"dimension": "2"}, "unreadable", "do not agree"),
        ({"type": "block"}, "file_colour", "no number"),
        ({"encoding": "hex"}, "file_format", "raw and gzip"),
        ({"line_skip": "2"}, "file_format", "lines to skip"),
        ({"endian": None}, "unreadable", "which byte"),
        ({"sizes": "2 3 4000"}, "unreadable", "the file holds at most"),
        ({"sizes": "2 3 x"}, "unreadable", "ValueError"),
        ({"data_file": "LIST"}, "file_format", "several files"),
        ({"data_file": "slice%03d.raw 1 4 1"}, "file_format", "several files"),
        ({"data_file": "../../secret.raw"}, "missing_file", "outside its own folder"),
        ({"data_file": "gone.raw"}, "missing_file", "missing"),
    ],
)
def test_what_cannot_be_a_ct_is_refused_by_name(
    tmp_path: Path, fields: dict[str, str | None], kind: str, message: str
) -> None:
    with pytest.raises(ScanError, match=message) as caught:
        read_volume(_write(tmp_path / "ct.nrrd", **fields))
    assert caught.value.kind == kind


def test_what_is_stated_helps_a_header_without_a_space(tmp_path: Path) -> None:
    stated = Stated(axes="LPS", spacing_mm=(1.0, 1.0, 2.0))
    scan = read_scan(ScanSource(path=_write(tmp_path / "ct.nrrd", space=None), stated=stated))
    assert scan.volume.axes == "LPS"
    assert dict(scan.faults).keys() == {"geometry_stated"}


def test_damage_is_a_scan_error(tmp_path: Path) -> None:
    path = _write(tmp_path / "ct.nrrd")
    whole = path.read_bytes()
    for content in (b"", b"NRRD0005", whole[:60], whole[:-1], b"PNG" + whole):
        path.write_bytes(content)
        with pytest.raises(ScanError):
            read_volume(path)
