"""HU checks: real scans pass without a warning, every known disguise is refused by its name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mg3d.data.hounsfield import check_hu, scale_hu
from mg3d.data.scan import read_volume
from mg3d.data.scan_error import ScanError


def test_scale_is_linear_in_the_window_and_flat_outside() -> None:
    hu = np.array([-3024, -1000, -500, 0, 1000, 3071], dtype=np.int16)
    scaled = scale_hu(hu)
    assert scaled.dtype == np.float32
    assert scaled.tolist() == [0, 0, 0.25, 0.5, 1, 1]


def test_an_ordinary_scan_passes_without_a_warning(body: Callable[..., Any]) -> None:
    assert check_hu(body()) == ()
    assert check_hu(body().astype(np.float32)) == ()


def test_padding_outside_the_field_of_view_is_no_fault(body: Callable[..., Any]) -> None:
    for pad in (-2000, -2048, -3024):
        array = body()
        array[:3] = pad
        assert check_hu(array) == ()


def _disguises(array: Any) -> dict[str, tuple[Any, str, str]]:
    window = np.clip((array + 160) / 400 * 255, 0, 255)
    spread = np.linspace(0, 255, array.size).reshape(array.shape)
    missing = array.astype(np.float32)
    missing[0, 0, :2] = np.nan
    infinite = array.astype(np.float32)
    infinite[0, 0, 0] = np.inf
    return {
        "nan": (missing, "not_finite", "2 of 5,760 voxels are NaN"),
        "infinite": (infinite, "not_finite", "1 of 5,760 voxels are NaN or infinite"),
        "constant": (np.full_like(array, -1000), "constant", "constant"),
        "mask": ((array > -200).astype(np.uint8), "mask", "segmentation mask"),
        "mask of 118 labels": ((spread * 117 / 255).astype(np.int16), "mask", "segmentation mask"),
        "8-bit": (np.maximum(window, spread).astype(np.uint8), "8bit", "8-bit picture"),
        "unit interval": (scale_hu(array), "unit_interval", "unit interval"),
        "symmetric unit interval": (scale_hu(array) * 2 - 1, "unit_interval", "unit interval"),
        "rescaled twice": (array.astype(np.int32) - 1024, "rescaled_twice", "applied twice"),
        "rescaled twice by -8192": (
            array.astype(np.int32) - 8192,
            "rescaled_twice",
            "applied twice",
        ),
        "never rescaled": (array.astype(np.int32) + 1100, "never_rescaled", "stored values"),
        "beyond 16 bits": (array.astype(np.float32) * 100 + 2e5, "never_rescaled", ""),
    }


@pytest.mark.parametrize("name", _disguises(np.zeros((20, 18, 16))))
def test_what_is_not_hu_is_refused_by_its_own_name(name: str, body: Callable[..., Any]) -> None:
    values, kind, message = _disguises(body())[name]
    with pytest.raises(ScanError, match=message) as caught:
        check_hu(values)
    assert caught.value.kind == f"hu_{kind}"


def test_unusual_scans_warn_and_pass(body: Callable[..., Any]) -> None:
    fat_and_organs = np.random.default_rng(0).normal(0, 60, (20, 20, 20))
    assert "hu_no_air" in dict(check_hu(fat_and_organs))
    windowed = np.clip(body(), -160, 240)
    assert "hu_windowed" in dict(check_hu(windowed))
    lung = np.random.default_rng(0).normal(-850, 20, (20, 20, 20))
    lung[0] = 0
    lung[1:3] = -100
    assert check_hu(lung) == ()


@pytest.mark.real_data
def test_real_scans_pass_and_their_masks_do_not(real_folder: Path) -> None:
    scans = [*real_folder.glob("ibsi_sts/*/CT_image.nii.gz")]
    scans += [*real_folder.glob("totalsegmentator/example_ct*.nii.gz")]
    assert len(scans) == 8
    for path in scans:
        assert check_hu(read_volume(path).array) == (), path
    masks = [*real_folder.glob("ibsi_sts/*/CT_mask.nii.gz")]
    masks += [*real_folder.glob("totalsegmentator/example_seg*.nii.gz")]
    assert len(masks) == 9
    for path in masks:
        with pytest.raises(ScanError, match="segmentation mask"):
            check_hu(read_volume(path).array)
