"""Runs of numbers: every type, scaling and slab size gives what NumPy gives at once."""

import io
from typing import Any

import numpy as np
import pytest

from mg3d.data import voxels as module
from mg3d.data.scan_error import ScanError
from mg3d.data.voxels import VoxelRun

SHAPE = (5, 4, 7)


def _read(array: np.ndarray, **scaling: float) -> np.ndarray:
    run = VoxelRun(shape=SHAPE, dtype=array.dtype, **scaling)
    return run.read(io.BytesIO(array.tobytes(order="F")))


@pytest.mark.parametrize("slab_bytes", [1, 50, 2**24])
@pytest.mark.parametrize("code", ["<i2", ">i2", "u1", "<u2", "<i4", ">f4", "<f8"])
@pytest.mark.parametrize("scaling", [(1, 0), (1, -1024), (2, -8192), (0.5, 3), (-1, 0)])
def test_every_type_and_scaling(
    code: str, slab_bytes: int, scaling: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SLAB_BYTES", slab_bytes)
    array = np.random.default_rng(0).integers(0, 200, SHAPE).astype(code)
    slope, intercept = scaling
    found = _read(array, slope=slope, intercept=intercept)
    np.testing.assert_array_equal(found, array.astype(np.float64) * slope + intercept)
    whole = np.dtype(code).kind != "f" and slope != 0.5
    assert found.dtype == (np.int16 if whole else np.float32)


def test_what_does_not_fit_16_bits_is_kept_as_float(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SLAB_BYTES", 1)
    array = np.arange(140, dtype=np.int32).reshape(SHAPE)
    array[0, 0, 5] = 40_000  # seen only after five slabs were stored as int16
    found = _read(array)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, array)
    high = np.full(SHAPE, 65_535, np.uint16)
    np.testing.assert_array_equal(_read(high, intercept=-40_000), np.full(SHAPE, 25_535))


@pytest.mark.parametrize(
    ("shape", "code", "scaling", "kind"),
    [
        ((3, 4), "i2", {}, "geometry_not_3d"),
        ((3, 4, 5, 2), "i2", {}, "geometry_not_3d"),
        ((3, 0, 5), "i2", {}, "geometry_not_3d"),
        ((3, 4, 5), "c8", {}, "file_colour"),
        ((3, 4, 5), [("R", "u1")], {}, "file_colour"),
        ((3, 4, 5), "O", {}, "file_colour"),
        ((3, 4, 5), "i2", {"slope": 0.0}, "hu_rescale"),
        ((3, 4, 5), "i2", {"intercept": float("nan")}, "hu_rescale"),
    ],
)
def test_what_is_no_volume_of_numbers_is_refused(
    shape: Any, code: Any, scaling: dict[str, float], kind: str
) -> None:
    with pytest.raises(ScanError) as caught:
        VoxelRun(shape=shape, dtype=np.dtype(code), **scaling)
    assert caught.value.kind == kind


def test_a_short_stream_and_a_short_file_are_truncated() -> None:
    run = VoxelRun(shape=SHAPE, dtype=np.dtype("<i2"))
    with pytest.raises(ScanError, match="end 3 bytes too early"):
        run.read(io.BytesIO(bytes(run.num_bytes - 3)))
    run.check_length(280, compressed=False)
    run.check_length(1, compressed=True)
    with pytest.raises(ScanError, match="280 bytes, the file holds at most 279"):
        run.check_length(279, compressed=False)
