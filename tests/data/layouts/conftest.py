"""A phantom of a doll's size, and the folders that the exporters make of it."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mg3d.data.layouts.catalogue import Catalogue
from mg3d.data.layouts.layout import LayoutOptions, read_catalogue
from mg3d.data.reading import read_volume
from mg3d.data.volume import Volume
from mg3d.phantom.export.exporter import Exporter, exporters, write_nifti
from mg3d.phantom.phantom import PhantomConfig, phantom
from mg3d.progress import console

DOLL = 0.12
"""Scale of the phantom, so that Rad-ChestCT's 0.8 mm stay some 50 voxels an axis."""


@dataclass
class Exported:
    """A phantom in the form of another data set."""

    folder: Path
    exporter: Exporter
    names: dict[str, str]
    """Volume id of the phantom -> there."""

    @property
    def start(self) -> Path:
        return self.folder / self.exporter.start

    def read(self, **options: Any) -> Catalogue:
        """Through the layout, with the side tables where it has some."""
        if "labels" not in options and (self.folder / "findings.csv").is_file():
            options["labels"] = self.folder / "findings.csv"
        if "reports" not in options and (self.folder / "reports.csv").is_file():
            options["reports"] = self.folder / "reports.csv"
        return read_catalogue(self.start, self.exporter.layout, LayoutOptions(**options))

    def text(self, name: str) -> str:
        return (self.folder / name).read_text(encoding="utf-8")

    def change(self, name: str, old: str, new: str, count: int = 1) -> None:
        text = self.text(name)
        assert old in text
        (self.folder / name).write_text(text.replace(old, new, count), encoding="utf-8")


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    console.quiet = True
    yield
    console.quiet = False


@pytest.fixture(scope="session")
def doll(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    """Four patients, one of them with two studies."""
    folder = tmp_path_factory.mktemp("doll")
    console.quiet = True
    phantom(
        PhantomConfig(
            out=folder, num_train=2, num_val=1, num_test=1, grid=(32, 32, 32), seed=3,
            follow_up_share=0.4, num_workers=1,
        )
    )  # fmt: skip
    for path in sorted((folder / "images").iterdir()):
        volume = read_volume(path)
        affine = volume.affine.copy()
        affine[:3, :3] *= DOLL
        write_nifti(path, Volume(volume.array, affine))
    options = LayoutOptions(labels=folder / "labels.csv")
    catalogue = read_catalogue(folder / "reports.csv", "manifest", options)
    assert len(catalogue.rows) > len({row.patient_id for row in catalogue.rows}) == 4
    return catalogue


@pytest.fixture(scope="session")
def _originals(doll: Catalogue, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exported]:
    """Exports made so far; `exported` gives copies of them."""
    return {}


@pytest.fixture
def exported(
    doll: Catalogue,
    _originals: dict[str, Exported],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], Exported]:
    """The phantom in some form, in a folder that the test may change."""

    def make(form: str) -> Exported:
        if form not in _originals:
            folder = tmp_path_factory.mktemp(form) / "site"
            exporter = exporters()[form]
            _originals[form] = Exported(folder, exporter, exporter.write(doll, folder))
        original = _originals[form]
        folder = shutil.copytree(original.folder, tmp_path / form)
        return Exported(folder, original.exporter, original.names)

    return make


@pytest.fixture
def kinds() -> Callable[[Catalogue], list[str]]:
    """Names of a catalogue's faults."""
    return lambda catalogue: [fault.kind for fault in catalogue.faults]
