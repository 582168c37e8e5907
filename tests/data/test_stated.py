"""What a table states counts only where the file is silent, and nothing is rescaled twice."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from mg3d.data.hounsfield import check_hu
from mg3d.data.reading import read_scan
from mg3d.data.scan import ScanSource, Stated
from mg3d.data.scan_error import ScanError
from mg3d.data.stated import place, rescale

SPACING = (0.7324219, 0.7324219, 1.5)
SHAPE = (40, 36, 30)


def _generation(
    path: Path, hu: np.ndarray, *, fixed: bool, scaled: bool = False, intercept: int = -1024
) -> Path:
    """A CT-RATE volume as first published (stored values, 1 mm) or fixed (HU, true spacing)."""
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    if fixed:
        affine[:3, :3] *= SPACING
    affine[:3, 3] = [120, 110, -300]
    image = nibabel.Nifti1Image(hu if fixed and not scaled else hu - intercept, affine)
    nibabel.save(image, path)
    if scaled:  # the rescale in the header instead of the values
        raw = bytearray(path.read_bytes())
        raw[112:120] = np.array([1, intercept], "<f4").tobytes()
        path.write_bytes(raw)
    return path


@pytest.mark.parametrize("intercept", [-1024, -8192])
def test_all_generations_of_a_scan_are_equal(
    tmp_path: Path, body: Callable[..., Any], intercept: int
) -> None:
    hu = body(shape=SHAPE)
    stated = Stated(rescale=(1, intercept), spacing_mm=SPACING)
    scans = [
        read_scan(ScanSource(path=_generation(tmp_path / name, hu, **kind), stated=stated))
        for name, kind in (
            ("first.nii", {"fixed": False, "intercept": intercept}),
            ("fixed.nii", {"fixed": True}),
            ("header.nii", {"fixed": True, "scaled": True, "intercept": intercept}),
        )
    ]
    for scan in scans:
        np.testing.assert_array_equal(scan.volume.array, hu)
        assert scan.volume.array.dtype == np.int16
        np.testing.assert_array_equal(scan.volume.affine, scans[1].volume.affine)
    assert {kind for kind, _ in scans[0].faults} == {"hu_stated_rescale", "geometry_stated"}
    assert scans[1].faults == scans[2].faults == ()


def test_without_the_table_the_first_generation_is_refused(
    tmp_path: Path, body: Callable[..., Any]
) -> None:
    path = _generation(tmp_path / "first.nii", body(shape=SHAPE), fixed=False)
    with pytest.raises(ScanError) as caught:
        check_hu(read_scan(ScanSource(path=path)).volume.array)
    assert caught.value.kind == "hu_never_rescaled"


def test_a_rescale_that_does_not_make_hu_is_not_applied(body: Callable[..., Any]) -> None:
    stored = body() + np.int16(1024)
    array, faults = rescale(stored, Stated(rescale=(1, -400)), in_header=False)
    assert array is stored
    assert faults == ()
    mask = (body() > -200).astype(np.int16)
    assert rescale(mask, Stated(rescale=(1, -1024)), in_header=False)[0] is mask


def test_where_both_look_like_hu_nobody_guesses(body: Callable[..., Any]) -> None:
    with pytest.raises(ScanError, match="both as stored and with the slope") as caught:
        rescale(body(), Stated(rescale=(1, -24)), in_header=False)
    assert caught.value.kind == "hu_contradiction"
    rescale(body(), Stated(rescale=(1, 0)), in_header=False)
    rescale(body(), Stated(rescale=(1, -24)), in_header=True)


def test_unit_intervals_and_broken_slopes_become_hu(body: Callable[..., Any]) -> None:
    hu = body().clip(-1000, 1000)
    array, _ = rescale((hu / 1000).astype(np.float32), Stated(rescale=(1000, 0)), in_header=False)
    np.testing.assert_allclose(array, hu, atol=1e-3)  # float32: measured 6e-5
    array, _ = rescale(hu * 2 + 2048, Stated(rescale=(0.5, -1024)), in_header=False)
    np.testing.assert_array_equal(array, hu)
    assert array.dtype == np.float32


def test_spacing_is_used_where_the_header_says_1_mm_and_must_else_agree() -> None:
    unit = np.diag([-1.0, 1, 1, 1])
    affine, faults = place(SHAPE, unit, Stated(spacing_mm=(0.7, 0.7, 2)))
    np.testing.assert_array_equal(np.diag(affine)[:3], np.float32([-0.7, 0.7, 2]))
    assert [kind for kind, _ in faults] == ["geometry_stated"]
    real = np.diag([-0.7, 0.7, 2.0, 1])
    assert place(SHAPE, real, Stated(spacing_mm=(0.7003, 0.6998, 2.0)))[1] == ()
    with pytest.raises(ScanError, match=r"file says spacing \(0.7, 0.7, 2\) mm") as caught:
        place(SHAPE, real, Stated(spacing_mm=(0.7, 0.7, 1)))
    assert caught.value.kind == "geometry_contradiction"


@pytest.mark.parametrize("axes", ["IPL", "LPS", "RAS", "SLP"])
def test_axes_and_spacing_place_an_array_about_the_origin(axes: str) -> None:
    affine, _ = place(SHAPE, None, Stated(axes=axes, spacing_mm=(0.5, 2, 4)))
    assert "".join(nibabel.aff2axcodes(affine)) == axes
    np.testing.assert_array_equal(np.linalg.norm(affine[:3, :3], axis=0), (0.5, 2, 4))
    middle = affine @ [*(np.array(SHAPE) - 1) / 2, 1]
    np.testing.assert_allclose(middle[:3], 0, atol=1e-12)


@pytest.mark.parametrize(
    ("stated", "kind"),
    [
        (Stated(), "geometry_no_orientation"),
        (Stated(axes="LPX", spacing_mm=(1, 1, 1)), "geometry_no_orientation"),
        (Stated(axes="LRS", spacing_mm=(1, 1, 1)), "geometry_no_orientation"),
        (Stated(axes="LPS"), "geometry_no_spacing"),
        (Stated(axes="LPS", spacing_mm=(1, 0, 1)), "geometry_zero_spacing"),
    ],
)
def test_too_little_is_refused(stated: Stated, kind: str) -> None:
    with pytest.raises(ScanError) as caught:
        place(SHAPE, None, stated)
    assert caught.value.kind == kind


def test_a_stated_affine_places_what_has_none() -> None:
    rows = ((0.0, 0, -2, 1), (1, 0, 0, 2), (0, 1, 0, 3), (0, 0, 0, 1))
    affine, faults = place(SHAPE, None, Stated(affine=rows))
    np.testing.assert_array_equal(affine, rows)
    assert [kind for kind, _ in faults] == ["geometry_stated"]
