"""Reading NIfTI: scaling, orientation and types come through; damage is named, never guessed."""

import errno
import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from mg3d.data.reading import read_scan, read_volume
from mg3d.data.scan import ScanSource
from mg3d.data.scan_error import ScanError

AFFINE = np.array([[-0.7, 0, 0, 90], [0, 0.8, 0, -40], [0, 0, 2.5, 7], [0, 0, 0, 1.0]])


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".NII.GZ"])
@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.int32, np.float32, np.float64])
def test_values_and_affine_come_through(
    ending: str, dtype: Any, tmp_path: Path, write_nifti: Callable[..., Path]
) -> None:
    array = np.random.default_rng(0).integers(0, 100, (5, 6, 7)).astype(dtype)
    volume = read_volume(write_nifti(tmp_path / f"ct{ending}", array, AFFINE))
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_allclose(volume.affine, AFFINE, rtol=1e-6)
    assert volume.array.dtype == (np.float32 if np.dtype(dtype).kind == "f" else np.int16)


def test_slope_and_intercept_are_applied_once(tmp_path: Path) -> None:
    stored = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    image = nibabel.Nifti1Image(stored, AFFINE)
    image.to_filename(tmp_path / "ct.nii")
    raw = bytearray((tmp_path / "ct.nii").read_bytes())
    raw[112:120] = np.array([2, -1024], "<f4").tobytes()  # scl_slope, scl_inter
    raw[352:] = stored.ravel(order="F").tobytes()
    (tmp_path / "ct.nii").write_bytes(raw)
    np.testing.assert_array_equal(read_volume(tmp_path / "ct.nii").array, stored * 2.0 - 1024)


def test_qform_counts_where_there_is_no_sform(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.zeros((3, 3, 3), np.int16), None)
    image.set_qform(AFFINE, code=1)
    image.set_sform(None, code=0)
    nibabel.save(image, tmp_path / "ct.nii.gz")
    np.testing.assert_allclose(read_volume(tmp_path / "ct.nii.gz").affine, AFFINE, atol=1e-5)


def test_a_header_without_orientation_is_refused(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.zeros((3, 3, 3), np.int16), None)
    nibabel.save(image, tmp_path / "ct.nii.gz")
    with pytest.raises(ScanError, match="left and right are unknown") as caught:
        read_volume(tmp_path / "ct.nii.gz")
    assert caught.value.kind == "geometry_no_orientation"


@pytest.mark.parametrize("form", ["sform", "qform"])
def test_a_zero_spacing_is_refused_not_repaired(form: str, tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.zeros((3, 3, 3), np.int16), AFFINE)
    image.set_qform(AFFINE, code=1)
    image.set_sform(AFFINE, code=1 if form == "sform" else 0)
    if form == "sform":
        image.header["srow_z"] = [0, 0, 0, 7]
        image.header["srow_x"] = [-0.7, 0, 0, 90]
        image.header["srow_y"] = [0, 0.8, 0, 7]
    else:
        image.header["pixdim"][3] = 0
    raw = bytearray(348 + 4) + np.zeros(27, np.int16).tobytes()
    raw[:348] = image.header.binaryblock
    raw[108:112] = np.array([352], "<f4").tobytes()  # vox_offset
    raw[344:348] = b"n+1\0"
    (tmp_path / "ct.nii").write_bytes(raw)
    with pytest.raises(ScanError, match=r"has a zero") as caught:
        read_volume(tmp_path / "ct.nii")
    assert caught.value.kind == "geometry_zero_spacing"


def test_one_frame_is_a_volume_two_are_not(
    tmp_path: Path, write_nifti: Callable[..., Path]
) -> None:
    single = write_nifti(tmp_path / "a.nii.gz", np.ones((3, 4, 5, 1), np.int16), AFFINE)
    assert read_volume(single).shape == (3, 4, 5)
    double = write_nifti(tmp_path / "b.nii.gz", np.ones((3, 4, 5, 2), np.int16), AFFINE)
    with pytest.raises(ScanError, match=r"size \(3, 4, 5, 2\).*three axes"):
        read_volume(double)
    flat = write_nifti(tmp_path / "c.nii.gz", np.ones((3, 4), np.int16), AFFINE)
    with pytest.raises(ScanError, match="three axes"):
        read_volume(flat)


def test_colours_are_no_ct(tmp_path: Path, write_nifti: Callable[..., Path]) -> None:
    colour = np.zeros((3, 3, 3), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    with pytest.raises(ScanError, match="one number each"):
        read_volume(write_nifti(tmp_path / "rgb.nii.gz", colour, AFFINE))


def test_unknown_formats_say_what_is_supported(tmp_path: Path) -> None:
    (tmp_path / "ct.gif").write_bytes(b"")
    with pytest.raises(ScanError, match=r"unknown format '.gif'; supported: .nii.gz, .nii"):
        read_volume(tmp_path / "ct.gif")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ScanError, match="no such file") as caught:
        read_volume(tmp_path / "gone.nii.gz")
    assert caught.value.kind == "missing_file"


def test_sizes_below_one_are_refused(tmp_path: Path, write_nifti: Callable[..., Path]) -> None:
    path = write_nifti(tmp_path / "ct.nii", np.zeros((3, 6, 5), np.int16), AFFINE)
    whole = path.read_bytes()
    for size in (0, -1, -13820):
        path.write_bytes(whole[:46] + np.array(size, "<i2").tobytes() + whole[48:])  # dim[3]
        with pytest.raises(ScanError, match=rf"\(3, 6, {size}\) voxels has an axis below 1"):
            read_volume(path)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_header_that_promises_too_much_costs_no_memory(
    ending: str,
    tmp_path: Path,
    write_nifti: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = write_nifti(tmp_path / "ct.nii", np.zeros((3, 6, 5), np.int16), AFFINE)
    whole = bytearray(path.read_bytes())
    whole[42:48] = np.array([32000, 32000, 4], "<i2").tobytes()  # 8 GB of voxels
    path = path.with_name(f"promise{ending}")
    path.write_bytes(gzip.compress(whole) if ending == ".nii.gz" else whole)
    monkeypatch.setattr("mg3d.data.readers.nifti._voxels", None)
    with pytest.raises(ScanError, match=r"8,192,000,000 bytes, the file holds at most"):
        read_volume(path)
    empty = write_nifti(tmp_path / "empty.nii.gz", np.zeros((90, 90, 90), np.int16), AFFINE)
    monkeypatch.undo()
    assert read_volume(empty).shape == (90, 90, 90)  # packs best, and is let through


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
@pytest.mark.parametrize("place", ["is_file", "is_dir", "load"])
def test_what_the_system_refuses_is_said_as_such(
    number: int,
    place: str,
    tmp_path: Path,
    write_nifti: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ending = ".dcm" if place == "is_dir" else ".nii"
    path = write_nifti(tmp_path / "ct.nii", np.zeros((3, 6, 5), np.int16), AFFINE)
    path = path.rename(path.with_suffix(ending))

    def refuse(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(nibabel if place == "load" else Path, place, refuse)
    with pytest.raises(ScanError, match=f"^{os.strerror(number)} while reading.*Check") as caught:
        read_volume(path)
    assert caught.value.kind == "unreadable"


def test_damage_of_any_kind_is_a_scan_error(
    tmp_path: Path, body: Callable[..., Any], write_nifti: Callable[..., Path]
) -> None:
    """Cut files, flipped bytes in header and stream, text: never another exception."""
    path = write_nifti(tmp_path / "ct.nii.gz", body(), AFFINE)
    whole = path.read_bytes()
    plain = gzip.decompress(whole)
    bare = tmp_path / "ct.nii"
    generator = np.random.default_rng(0)
    damaged = [b"", b"not an image", whole[:20], whole[: len(whole) // 2], whole[:-4]]
    for _ in range(40):
        stream = bytearray(whole)
        stream[generator.integers(len(whole))] ^= int(generator.integers(1, 256))
        damaged.append(bytes(stream))
    for _ in range(250):
        header = bytearray(plain)
        for position in generator.integers(0, 348, 3):
            header[position] = generator.integers(256)
        damaged.append(gzip.compress(bytes(header), compresslevel=1))
    headers = []  # without compression other code of nibabel runs: the file is mapped
    for number in range(300):
        header = bytearray(plain)
        start, stop = (40, 56) if number % 2 else (0, 348)  # every other one in the sizes
        for position in generator.integers(start, stop, 2):
            header[position] = generator.integers(256)
        headers.append(bytes(header))
    messages = []
    for target, content in [(path, c) for c in damaged] + [(bare, c) for c in headers]:
        target.write_bytes(content)
        try:
            read_volume(target)
        except ScanError as error:
            messages.append(str(error))
    assert len(messages) > 200  # most header bytes are descriptions, which may be anything
    assert min(map(len, messages)) > 20


def _save(path: Path, sform: Any, qform: Any, *, unit: str = "mm", array: Any = None) -> Path:
    image = nibabel.Nifti1Image(np.ones((4, 5, 6), np.int16) if array is None else array, None)
    image.set_sform(sform, code=0 if sform is None else 1)
    image.set_qform(qform, code=0 if qform is None else 1)
    image.header.set_xyzt_units(unit)
    nibabel.save(image, path)
    return path


def test_where_sform_and_qform_disagree_the_sform_wins_and_it_is_said(tmp_path: Path) -> None:
    mirrored = np.diag([-1.0, 1, 1, 1]) @ AFFINE
    scan = read_scan(ScanSource(path=_save(tmp_path / "a.nii", AFFINE, mirrored)))
    np.testing.assert_allclose(scan.volume.affine, AFFINE, rtol=1e-6)
    ((kind, message),) = scan.faults
    assert kind == "geometry_forms_disagree"
    assert message.startswith("sform (LAS) and qform (RAS) place a corner 180.0 mm apart")
    rounded = AFFINE + np.array([[1e-4] * 4] * 3 + [[0] * 4])
    assert read_scan(ScanSource(path=_save(tmp_path / "b.nii", AFFINE, rounded))).faults == ()


@pytest.mark.parametrize("sign", [1, -1])
def test_the_handedness_of_a_qform_is_kept(tmp_path: Path, sign: int) -> None:
    """pixdim[0], qfac, says whether the third axis is flipped; nibabel is the reference."""
    turned = np.eye(4)
    turned[:3, :3] = [[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, sign]]
    turned[:3, 3] = [5, 6, 7]
    path = _save(tmp_path / "ct.nii.gz", None, turned)
    assert nibabel.load(path).header["pixdim"][0] == sign
    np.testing.assert_allclose(read_volume(path).affine, turned, atol=1e-6)
    np.testing.assert_array_equal(read_volume(path).affine, nibabel.load(path).affine)


def test_units_other_than_millimetres_are_converted_and_said(tmp_path: Path) -> None:
    metres = np.diag([1e-3, 1e-3, 1e-3, 1]) @ AFFINE
    scan = read_scan(ScanSource(path=_save(tmp_path / "m.nii", metres, None, unit="meter")))
    np.testing.assert_allclose(scan.volume.affine, AFFINE, rtol=1e-6)
    assert [kind for kind, _ in scan.faults] == ["geometry_unit"]
    unknown = _save(tmp_path / "u.nii", AFFINE, None, unit="unknown")
    assert read_scan(ScanSource(path=unknown)).faults == ()
    lying = _save(tmp_path / "l.nii", AFFINE, None, unit="micron")  # 0.7 is no count of those
    with pytest.raises(ScanError) as caught:
        read_volume(lying)
    assert caught.value.kind == "geometry_spacing_range"


def test_big_endian_and_unsigned_16_bits_with_a_rescale(tmp_path: Path) -> None:
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(np.uint16)
    stored = np.arange(24, dtype=np.uint16).reshape(2, 3, 4) + np.uint16(40_000)
    image = nibabel.Nifti1Image(stored.astype(">u2"), AFFINE, header)
    image.header.set_slope_inter(1, 0)
    nibabel.save(image, tmp_path / "big.nii")
    raw = bytearray((tmp_path / "big.nii").read_bytes())
    raw[112:120] = np.array([1, -41_024], ">f4").tobytes()
    raw[352:] = stored.ravel(order="F").astype(">u2").tobytes()
    (tmp_path / "big.nii").write_bytes(raw)
    volume = read_volume(tmp_path / "big.nii")
    np.testing.assert_array_equal(volume.array, stored.astype(np.int64) - 41_024)
    assert volume.array.dtype == np.int16


@pytest.mark.real_data
def test_real_files_are_read_as_nibabel_reads_them(real_folder: Path) -> None:
    paths = sorted(real_folder.glob("*/*.nii.gz")) + sorted(real_folder.glob("*/*/*.nii.gz"))
    assert len(paths) == 17
    for path in paths:
        volume, reference = read_volume(path), nibabel.load(path)
        np.testing.assert_array_equal(volume.array, reference.get_fdata(dtype=np.float32))
        np.testing.assert_array_equal(volume.affine, reference.affine)
        assert volume.axes == "".join(nibabel.aff2axcodes(reference.affine))
