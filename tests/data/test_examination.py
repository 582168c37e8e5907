"""One scan examined: facts for tables, faults in one list."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mg3d.data.examination import check_geometry, examine
from mg3d.data.faults import FAULTS
from mg3d.data.reading import read_scan
from mg3d.data.scan import Scan, ScanSource
from mg3d.data.scan_error import ScanError
from mg3d.data.volume import Volume


def test_facts_and_faults_come_together(body: Callable[..., Any]) -> None:
    affine = np.diag([-3.0, 2.0, 4.0, 1])
    scan = Scan(Volume(body(), affine), (("geometry_unit", "metres"),))
    seen = examine(scan)
    assert seen.facts.shape == (20, 18, 16)
    assert seen.facts.axes == "LAS"
    assert seen.facts.extent_mm == (60, 36, 64)
    assert seen.facts.lowest_hu == body().min()
    assert [kind for kind, _ in seen.faults] == ["geometry_unit", "anatomy_not_chest"]
    assert json.loads(json.dumps(seen.facts.as_dict()))["spacing_mm"] == [3, 2, 4]


def test_what_is_not_in_hu_stops(body: Callable[..., Any]) -> None:
    with pytest.raises(ScanError) as caught:
        examine(Scan(Volume(body() + np.int16(2000), np.eye(4))))
    assert caught.value.kind.startswith("hu_")


def test_oblique_and_sheared_axes_are_told_apart(body: Callable[..., Any]) -> None:
    straight = np.diag([2.0, 2, 3, 1])
    assert check_geometry(Volume(body(), straight)) == ()
    angle = np.radians(5)
    turned = straight.copy()
    turned[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    assert [kind for kind, _ in check_geometry(Volume(body(), turned))] == ["geometry_oblique"]
    sheared = straight.copy()
    sheared[1, 2] = 3 * np.tan(np.radians(8))
    kinds = dict(check_geometry(Volume(body(), sheared)))
    assert kinds.keys() == {"geometry_sheared", "geometry_oblique"}
    assert "8.0 degrees off a right angle" in kinds["geometry_sheared"]


REAL = [
    "ibsi_sts/STS_008/CT_image.nii.gz", "ibsi_sts/STS_019/CT_image.nii.gz",
    "ibsi_sts/STS_024/CT_image.nii.gz", "ibsi_sts/STS_025/CT_image.nii.gz",
    "ibsi_sts/STS_035/CT_image.nii.gz", "ibsi_sts/STS_042/CT_image.nii.gz",
    "totalsegmentator/example_ct.nii.gz", "totalsegmentator/example_ct_sm.nii.gz",
    "pyradiomics_lung1/lung1_image.nrrd", "elastix_lung/3DCT_lung_baseline_small.mha",
]  # fmt: skip


@pytest.mark.real_data
@pytest.mark.parametrize("name", REAL)
def test_real_scans_have_no_error_and_no_warning_but_their_anatomy(
    real_folder: Path, name: str
) -> None:
    """Which of them are no chests is listed in test_anatomy."""
    faults = examine(read_scan(ScanSource(path=real_folder / name))).faults
    assert {kind for kind, _ in faults} <= {"anatomy_not_chest"}
    assert all(FAULTS[kind].severity == "warning" for kind, _ in faults)
