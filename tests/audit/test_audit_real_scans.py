"""The audit on real scans: no false error, and the warnings that are expected of each file."""

import csv
import json
import os
from pathlib import Path

import pytest

from mg3d.audit.audit import AuditConfig, audit

pytestmark = pytest.mark.real_data

EXPECTED: dict[str, set[str]] = {
    # Thigh and leg tumours, cropped: no lungs, as it must be.
    **{f"ibsi_sts/STS_{n}/CT_image.nii.gz": {"anatomy_not_chest"} for n in
       ("008", "019", "024", "025", "035", "042")},
    # Abdomen and pelvis.
    "totalsegmentator/example_ct.nii.gz": {"anatomy_not_chest"},
    "totalsegmentator/example_ct_sm.nii.gz": {"anatomy_not_chest"},
    "totalsegmentator/example_ct_dicom": {"anatomy_not_chest", "dicom_thickness"},
    "lung_pet_ct_dx/dicom": set(),
    "pyradiomics_lung1/lung1_image.nrrd": set(),
    "elastix_lung/3DCT_lung_baseline_small.mha": set(),
    # No CT at all: refused by name.
    **{f"ibsi_sts/STS_{n}/CT_mask.nii.gz": {"hu_mask"} for n in
       ("008", "019", "024", "025", "035", "042")},
    "totalsegmentator/example_seg.nii.gz": {"hu_mask"},
    "totalsegmentator/example_seg_dicom.nii.gz": {"hu_mask"},
    "totalsegmentator/example_seg_fast_force_split.nii.gz": {"hu_mask"},
    "pyradiomics_lung1/lung1_label.nrrd": {"hu_mask"},
    "adrenalmnist3d_64/adrenalmnist3d_64.npz": {"file_array"},
}  # fmt: skip


def test_real_scans_are_named_for_what_they_are(real_folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "site/scans.csv"
    table.parent.mkdir()
    with table.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["study_id", "patient_id", "image"])
        for number, name in enumerate(EXPECTED):
            image = os.path.relpath(real_folder / name, table.parent)
            writer.writerow([f"s{number}", f"p{number}", image])
    code = audit(
        AuditConfig(
            data=table, out=tmp_path / "out", checksums=real_folder / "SHA256SUMS",
            keep_without_report=True, num_workers=1,
        )
    )  # fmt: skip
    document = json.loads((tmp_path / "out/audit.json").read_text(encoding="utf-8"))
    found = dict(zip(EXPECTED, (set(v["faults"]) for v in document["volumes"]), strict=True))
    assert found == EXPECTED
    assert code == 1  # the masks
    assert document["duplicates"] == []
    assert set(document["kinds"]) == set().union(*EXPECTED.values())
    for volume in document["volumes"]:
        if volume["usable"]:
            # Measured: -1034 (a resampled crop of a lung) to -996, and 26 to 96 (with contrast).
            assert -1040 <= volume["hu"]["air_peak"] <= -990
            assert 20 <= volume["hu"]["soft_peak"] <= 100
