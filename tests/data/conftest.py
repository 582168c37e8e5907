"""Small sites to prepare from: a few CT-like scans with reports, written as files."""

import csv
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import pytest

from mg3d.data.grid import GridConfig
from mg3d.data.preparation.prepare import PrepareConfig
from mg3d.progress import console

sys.path.append(str(Path(__file__).parent))

REPORTS = (
    ("The heart is normal in size. No pleural effusion.", "1. No acute finding."),
    ("A 2.2 x 1.4 cm nodule is seen in the left upper lobe; emphysema.", "Nodule."),
    ("Consolidation in the right lower lobe.", "Pneumonia is likely."),
    ("Lungs are clear.", ""),
)


def body(seed: int = 0, shape: tuple[int, int, int] = (20, 18, 16)) -> npt.NDArray[np.int16]:
    """Air around a soft-tissue box that holds two lungs, with noise."""
    generator = np.random.default_rng(seed)
    array = np.full(shape, -1000.0)
    x, y, z = shape
    array[2 : x - 2, 2 : y - 2, 1 : z - 1] = 40
    array[4 : x // 2 - 1, 5 : y - 5, 3 : z - 3] = -850
    array[x // 2 + 1 : x - 4, 5 : y - 5, 3 : z - 3] = -850
    return np.rint(array + generator.normal(0, 10, shape)).astype(np.int16)


def write_nifti(path: Path, array: npt.NDArray[Any], affine: npt.NDArray[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path


@dataclass
class Site:
    """A folder as a hospital would hand it over."""

    folder: Path
    rows: list[dict[str, Any]]

    @property
    def manifest(self) -> Path:
        return self.folder / "reports.csv"

    def write(self) -> None:
        with self.manifest.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(self.rows[0]))
            writer.writeheader()
            writer.writerows(self.rows)

    def image(self, number: int) -> Path:
        return self.folder / str(self.rows[number]["image"])

    def config(self, out: Path, **options: Any) -> PrepareConfig:
        geometry = GridConfig(grid=(8, 8, 8), spacing_mm=(6, 6, 8))
        return PrepareConfig(
            **{"data": self.manifest, "out": out, "geometry": geometry, "num_workers": 1} | options
        )


@pytest.fixture
def make_site(tmp_path: Path) -> Callable[..., Site]:
    def make(num: int = 4, folder: Path | None = None, **shape: Any) -> Site:
        folder = folder or tmp_path / "site"
        rows = []
        for number in range(num):
            affine = np.diag([-3.0, 3.0, 4.0, 1.0])
            affine[:3, 3] = [30, -20, -10 * number]
            write_nifti(folder / f"images/s{number}.nii.gz", body(number, **shape), affine)
            findings, impression = REPORTS[number % len(REPORTS)]
            rows.append(
                {
                    "study_id": f"s{number}", "patient_id": f"p{number // 2}",
                    "image": f"images/s{number}.nii.gz", "findings": findings,
                    "impression": impression, "label:nodule": "" if number == 3 else number % 2,
                }
            )  # fmt: skip
        site = Site(folder, rows)
        site.write()
        return site

    return make


@pytest.fixture(autouse=True)
def _quiet_and_quick(monkeypatch: pytest.MonkeyPatch) -> Any:
    """No progress bars, and no waiting for the disk: no test cuts the power."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    console.quiet = True
    yield
    console.quiet = False


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(name="tree")
def tree_fixture() -> Callable[[Path], dict[str, bytes]]:
    return tree


@pytest.fixture(name="body")
def body_fixture() -> Callable[..., npt.NDArray[np.int16]]:
    return body


@pytest.fixture(name="write_nifti")
def write_nifti_fixture() -> Callable[..., Path]:
    return write_nifti


@pytest.fixture
def real_folder() -> Path:
    """The folder of real scans and reports; the test is skipped where it is missing."""
    default = Path(__file__).parents[2] / "../shared/data"
    folder = Path(os.environ.get("MG3D_TEST_DATA", default))
    if not (folder / "siim_reports/reports.json").is_file():
        pytest.skip(f"no real data in {folder}")
    return folder


@pytest.fixture
def real_reports(real_folder: Path) -> list[dict[str, str]]:
    content = json.loads((real_folder / "siim_reports/reports.json").read_text())
    reports: list[dict[str, str]] = content["reports"]
    return reports
