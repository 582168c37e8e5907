"""NPZ: arrays come through, geometry must be stated, nothing is unpickled."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mg3d.data.hounsfield import check_hu
from mg3d.data.reading import read_scan
from mg3d.data.scan import ScanSource, Stated
from mg3d.data.scan_error import ScanError

RAD_CHEST = Stated(array_name="ct", axes="IPL", spacing_mm=(0.8, 0.8, 0.8))
CT_RATE = Stated(array_name="arr_0", rescale=(1000, 0), axes="SPL", spacing_mm=(1.5, 0.75, 0.75))


def _read(path: Path, stated: Stated) -> Any:
    return read_scan(ScanSource(path=path, stated=stated))


def test_rad_chest_ct_comes_through(tmp_path: Path, body: Callable[..., Any]) -> None:
    stored = body(shape=(12, 14, 16)).clip(-1000, 1000)
    np.savez_compressed(tmp_path / "trn1.npz", ct=stored)
    scan = _read(tmp_path / "trn1.npz", RAD_CHEST)
    np.testing.assert_array_equal(scan.volume.array, stored)
    assert (scan.volume.axes, scan.volume.array.dtype) == ("IPL", np.int16)
    np.testing.assert_allclose(scan.volume.spacing_mm, 0.8, rtol=1e-7)
    assert [kind for kind, _ in scan.faults] == ["geometry_stated"]


def test_ct_rate_as_others_pre_processed_it(tmp_path: Path, body: Callable[..., Any]) -> None:
    hu = body(shape=(12, 14, 16)).clip(-1000, 1000)
    np.savez(tmp_path / "valid_1_a_1.npz", (hu / 1000).astype(np.float32))
    scan = _read(tmp_path / "valid_1_a_1.npz", CT_RATE)
    np.testing.assert_allclose(scan.volume.array, hu, atol=1e-3)
    assert check_hu(scan.volume.array) == ()
    assert scan.volume.axes == "SPL"


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [">i2", "<f8", "u2", "f2"])
def test_order_and_type_of_the_array_do_not_matter(tmp_path: Path, order: Any, dtype: str) -> None:
    array = np.arange(60).reshape(3, 4, 5).astype(dtype, order=order)
    np.savez_compressed(tmp_path / "a.npz", array)
    found = _read(tmp_path / "a.npz", Stated(axes="LPS", spacing_mm=(1, 1, 1)))
    np.testing.assert_array_equal(found.volume.array, array)


def test_one_volume_of_many(tmp_path: Path) -> None:
    many = np.random.default_rng(0).integers(0, 2, (5, 3, 4, 6)).astype(np.uint8)
    np.savez_compressed(tmp_path / "many.npz", images=many, labels=np.zeros(5))
    for index in (0, 4):
        stated = Stated(array_name=f"images[{index}]", axes="LPS", spacing_mm=(1, 1, 1))
        found = _read(tmp_path / "many.npz", stated).volume.array
        np.testing.assert_array_equal(found, many[index])


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("images", "geometry_not_3d"), ("images[5]", "file_array"), ("labels[0]", "file_array"),
        ("other", "file_array"), ("", "file_array"), ("text", "file_colour"),
    ],
)  # fmt: skip
def test_what_is_no_volume_is_refused_by_name(tmp_path: Path, name: str, kind: str) -> None:
    np.savez(
        tmp_path / "many.npz", images=np.zeros((5, 3, 4, 6), np.uint8), labels=np.zeros(5),
        text=np.full((2, 2, 2), "a"),
    )  # fmt: skip
    with pytest.raises(ScanError) as caught:
        _read(tmp_path / "many.npz", Stated(array_name=name, axes="LPS", spacing_mm=(1, 1, 1)))
    assert caught.value.kind == kind


def test_an_array_without_stated_geometry_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", np.zeros((3, 4, 5)))
    with pytest.raises(ScanError, match="state its affine") as caught:
        _read(tmp_path / "a.npz", Stated())
    assert caught.value.kind == "geometry_no_orientation"


class _Bomb:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("unpickled",))


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    array = np.empty((2, 2, 2), object)
    array[:] = _Bomb()
    np.savez(tmp_path / "a.npz", array)
    with pytest.raises(ScanError) as caught:
        _read(tmp_path / "a.npz", RAD_CHEST.__class__(axes="LPS", spacing_mm=(1, 1, 1)))
    assert caught.value.kind == "file_colour"


def test_damage_is_a_scan_error(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, np.arange(600, dtype=np.int16).reshape(10, 10, 6))
    whole = path.read_bytes()
    headers = [b"{'descr': '<i2', 'fortran_order': False, 'shape': (1, 2", b"{[]: 1}", b"("]
    damaged = [b"", b"PK", whole[:100], whole[:-30], whole[:60] + b"x" * 40 + whole[100:]]
    for header in headers:
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            npy = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
            archive.writestr("arr_0.npy", npy)
        damaged.append(content.getvalue())
    for content_bytes in damaged:
        path.write_bytes(content_bytes)
        with pytest.raises(ScanError):
            _read(path, RAD_CHEST.__class__(axes="LPS", spacing_mm=(1, 1, 1)))
