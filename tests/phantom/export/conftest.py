"""A hand-made catalogue of three tiny volumes, enough to look at what an exporter writes."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mg3d.data.layouts.catalogue import Catalogue, CatalogueRow
from mg3d.data.scan import ScanSource
from mg3d.data.splits import SPLITS
from mg3d.data.text.reports import Report
from mg3d.data.volume import Volume
from mg3d.phantom.export.exporter import write_nifti
from mg3d.progress import console


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    console.quiet = True
    yield
    console.quiet = False


@pytest.fixture
def small(tmp_path: Path) -> Catalogue:
    """One volume a split, PIR in storage, 1.25 x 0.75 x 0.75 mm along patient z, y, x."""
    rows = []
    for number, split in enumerate(SPLITS):
        array = np.arange(4 * 5 * 6).reshape(4, 5, 6).astype(np.int16) * 20 - 1024 + number
        affine = np.zeros((4, 4))
        affine[1, 0], affine[2, 1], affine[0, 2], affine[3, 3] = -0.75, -1.25, 0.75, 1
        path = tmp_path / "images" / f"{split}.nii.gz"
        write_nifti(path, Volume(array, affine))
        row = CatalogueRow(
            place=split, volume_id=f"{split}_1", study_id=f"{split}_1", patient_id=split,
            source=ScanSource(path=path), image=f"images/{split}.nii.gz",
            report=Report("Clear.", "" if split == "val" else "Normal."), split=split,
            labels=(float(number % 2), float("nan")),
        )  # fmt: skip
        rows.append(row)
    return Catalogue(
        layout="manifest", folder=tmp_path, rows=tuple(rows), label_names=("nodule", "mass")
    )
