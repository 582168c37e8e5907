"""Axes against anatomy: silent on true ones, loud on turned ones, unsure about crops."""

from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from mg3d.data.anatomy import look_at
from mg3d.data.reading import read_volume
from mg3d.data.volume import Volume
from mg3d.phantom.settings import PhantomConfig
from mg3d.phantom.study import plan_study, render

SEED = 977
"""Drawn after the thresholds were frozen, which were set on seed 101."""


def _phantoms(number: int) -> Iterator[Volume]:
    for index in range(number):
        level = ("easy", "standard")[index % 2]
        settings = PhantomConfig(
            out=Path("unused"), seed=SEED, difficulty=level, grid=(96, 80, 72)
        )  # fmt: skip
        study = render(plan_study(settings, "train", index))
        yield Volume(study.hu, study.affine)


def _turned(volume: Volume) -> dict[str, Volume]:
    """The scan with affines that are wrong in every way."""
    found = {}
    for name, signs in (("front_to_back", (1, -1, 1, 1)), ("upside_down", (1, 1, -1, 1))):
        found[name] = Volume(volume.array, np.diag(signs) @ volume.affine)
    for order in list(permutations(range(3)))[1:]:
        matrix = np.eye(4)
        matrix[:3, :3] = np.eye(3)[list(order)]
        found[f"permuted {order}"] = Volume(volume.array, matrix @ volume.affine)
    return found


def test_phantoms_are_silent_and_turned_ones_are_named() -> None:
    for volume in _phantoms(8):
        seen = look_at(volume)
        assert seen.faults == ()
        assert seen.lung_litres is not None
        assert 2 < seen.lung_litres < 6
        for name, turned in _turned(volume).items():
            kinds = [kind for kind, _ in look_at(turned).faults]
            assert kinds == [f"anatomy_{name.split()[0]}"]


def test_a_mirrored_phantom_is_not_told_since_hearts_differ_more() -> None:
    for volume in _phantoms(2):
        assert look_at(Volume(volume.array, np.diag([-1, 1, 1, 1]) @ volume.affine)).faults == ()


def test_what_has_no_lungs_is_no_chest() -> None:
    hu = np.full((60, 50, 40), -1000, np.int16)
    hu[10:50, 10:40] = 40
    hu[28:32, 24:28, 18:22] = -990  # a bubble of gas
    (kind, message), *_ = look_at(Volume(hu, np.diag([5.0, 5, 5, 1]))).faults
    assert kind == "anatomy_not_chest"
    assert message.startswith("0.0 litres of lung")


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 4), (300, 2, 2)])
def test_the_smallest_arrays_are_looked_at(shape: tuple[int, int, int]) -> None:
    hu = np.random.default_rng(0).normal(-300, 400, shape).astype(np.float32)
    for spacing in (0.02, 4, 90):
        look_at(Volume(hu, np.diag([spacing, spacing, spacing, 1.0])))


REAL = {
    "ibsi_sts/STS_008/CT_image.nii.gz": "anatomy_not_chest",
    "ibsi_sts/STS_019/CT_image.nii.gz": "anatomy_not_chest",
    "ibsi_sts/STS_024/CT_image.nii.gz": "anatomy_not_chest",
    "ibsi_sts/STS_025/CT_image.nii.gz": "anatomy_not_chest",
    "ibsi_sts/STS_035/CT_image.nii.gz": "anatomy_not_chest",
    "ibsi_sts/STS_042/CT_image.nii.gz": "anatomy_not_chest",
    "totalsegmentator/example_ct.nii.gz": "anatomy_not_chest",
    "totalsegmentator/example_ct_sm.nii.gz": "anatomy_not_chest",
    "totalsegmentator/example_ct_dicom": "anatomy_not_chest",
    "pyradiomics_lung1/lung1_image.nrrd": "",
    "elastix_lung/3DCT_lung_baseline_small.mha": "",
    "lung_pet_ct_dx/dicom": "",
}
"""Public scans and the warning that each must give: limbs, abdomens, two chests, a crop of one."""


@pytest.mark.real_data
@pytest.mark.parametrize("name", REAL)
def test_real_scans_warn_as_listed(real_folder: Path, name: str) -> None:
    seen = look_at(read_volume(real_folder / name))
    assert [kind for kind, _ in seen.faults] == ([REAL[name]] if REAL[name] else [])
    if name.startswith("elastix"):
        assert seen.lung_litres is None  # the crop cuts the lung


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["pyradiomics_lung1/lung1_image.nrrd", "lung_pet_ct_dx/dicom"])
def test_turned_real_chests_are_named(real_folder: Path, name: str) -> None:
    volume = read_volume(real_folder / name)
    for turn, turned in _turned(volume).items():
        assert [kind for kind, _ in look_at(turned).faults] == [f"anatomy_{turn.split()[0]}"]
    mirrored = look_at(Volume(volume.array, np.diag([-1, 1, 1, 1]) @ volume.affine)).faults
    told = name.startswith("pyradiomics")  # in the other one a disease draws the heart to the right
    assert [kind for kind, _ in mirrored] == (["anatomy_left_to_right"] if told else [])
