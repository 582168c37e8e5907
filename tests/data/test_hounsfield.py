"""HU checks: real scans pass without a warning, every known disguise is refused by its name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mg3d.data.hounsfield import check_hu, scale_hu
from mg3d.data.reading import read_scan, read_volume
from mg3d.data.scan import ScanSource, Stated
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
    thorax = np.pad(array, 3, constant_values=-1000)  # more air around it, as in a real scan
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
        "rescaled twice by -1000": (
            array.astype(np.int32) - 1000,
            "rescaled_twice",
            "applied twice",
        ),
        "never rescaled, noise below 0": (array + 1000, "never_rescaled", "without the intercept"),
        "never rescaled by -8192": (array.astype(np.int32) + 8192, "never_rescaled", "without"),
        "shifted": (thorax + 500, "shifted", "shifted by about 494"),
        "shifted down": (thorax - 400, "shifted", "shifted by about -406"),
        "slope 2": (array * 2, "slope", "the slope is wrong"),
        "slope 0.5": (array / 2, "slope", "the slope is wrong"),
        "twice a slope of 2": (array * 2 - 1024, "slope", "the slope is wrong"),
        "beyond 16 bits": (np.where(array == array.max(), 1e6, array), "beyond_16_bit", "exceed"),
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
    assert "hu_windowed" in dict(check_hu(np.clip(body(), -1350, 60)))
    lung = np.random.default_rng(0).normal(-850, 20, (20, 20, 20))
    lung[0] = np.linspace(0, 60, 20)
    lung[1:3] = -100
    assert check_hu(lung) == ()


@pytest.mark.real_data
def test_real_scans_pass_and_every_distortion_of_them_is_named(real_folder: Path) -> None:
    scans = [*real_folder.glob("ibsi_sts/*/CT_image.nii.gz")]
    scans += [*real_folder.glob("totalsegmentator/example_ct*.nii.gz")]
    scans += [*real_folder.glob("pyradiomics_lung1/*image.nrrd"), *real_folder.glob("*/*.mha")]
    assert len(scans) == 10
    for path in scans:
        hu = read_volume(path).array[::2, ::2].astype(np.float32)
        assert check_hu(hu) == (), path
        assert not (real_kinds := _kinds_of_distortions(hu)), (path, real_kinds)


def _kinds_of_distortions(hu: Any) -> dict[str, str]:
    """The distortions that are not named as they should be."""
    wrong = {}
    for name, (values, kind) in {
        "+ 1024": (hu + 1024, "never_rescaled"), "- 1024": (hu - 1024, "rescaled_twice"),
        "- 8192": (hu - 8192, "rescaled_twice"), "+ 500": (hu + 500, "shifted"),
        "* 2": (hu * 2, "slope"), "/ 2": (hu / 2, "slope"),
        "unit": (scale_hu(hu), "unit_interval"), "8-bit": (np.rint(scale_hu(hu) * 255), "8bit"),
    }.items():  # fmt: skip
        try:
            check_hu(values)
        except ScanError as error:
            if error.kind == f"hu_{kind}":
                continue
            wrong[name] = error.kind
        else:
            wrong[name] = "passed"
    return wrong


@pytest.mark.real_data
def test_real_masks_are_refused_as_masks(real_folder: Path) -> None:
    masks = [*real_folder.glob("ibsi_sts/*/CT_mask.nii.gz")]
    masks += [*real_folder.glob("totalsegmentator/example_seg*.nii.gz")]
    masks += [*real_folder.glob("pyradiomics_lung1/*label.nrrd")]
    assert len(masks) == 10
    shapes = real_folder / "adrenalmnist3d_64/adrenalmnist3d_64.npz"
    sources = [ScanSource(path=path) for path in masks]
    for index in (0, 1, 40):
        stated = Stated(array_name=f"train_images[{index}]", axes="LPS", spacing_mm=(1, 1, 1))
        sources.append(ScanSource(path=shapes, stated=stated))
    for source in sources:
        with pytest.raises(ScanError, match="segmentation mask") as caught:
            check_hu(read_scan(source).volume.array)
        assert caught.value.kind == "hu_mask"
