"""A small clean site on which faults are planted, and what audit and prepare say about it."""

import csv
import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt

from mg3d.audit.audit import AuditConfig, audit
from mg3d.data.grid import GridConfig
from mg3d.data.preparation.prepare import PrepareConfig, prepare
from mg3d.data.store import VolumeStore
from mg3d.errors import DataError
from mg3d.phantom.phantom import PhantomConfig, phantom

PLANTED = 2
"""The row that faults are planted in; a training patient's."""
TEST = -1
"""A row of a patient of the test split."""


def make_clean_site(folder: Path) -> Path:
    """Ten patients with one study each."""
    phantom(
        PhantomConfig(
            out=folder, num_train=6, num_val=1, num_test=3, grid=(56, 48, 48), seed=71,
            follow_up_share=0, num_workers=1,
        )
    )  # fmt: skip
    return folder


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def write_csv(path: Path, rows: Iterable[dict[str, str]]) -> None:
    rows = list(rows)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


@dataclass
class Site:
    """A copy of the clean site; `finish` writes its tables."""

    folder: Path
    rows: list[dict[str, str]] = field(default_factory=list)
    labels: list[dict[str, str]] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    """For both commands."""
    planted: str = ""
    """Study of the planted row, before anything was planted."""
    raw: dict[str, bytes] = field(default_factory=dict)
    """Files whose bytes are set after the tables are written."""

    @classmethod
    def copy(cls, clean: Path, folder: Path) -> "Site":
        shutil.copytree(clean, folder)
        rows, labels = read_csv(folder / "reports.csv"), read_csv(folder / "labels.csv")
        return cls(folder, rows, labels, planted=rows[PLANTED]["study_id"])

    @property
    def row(self) -> dict[str, str]:
        """The planted one."""
        return self.rows[PLANTED]

    @property
    def image(self) -> Path:
        """Of the planted row."""
        return self.folder / self.row["image"]

    @property
    def manifest(self) -> Path:
        return self.folder / "reports.csv"

    def finish(self) -> None:
        write_csv(self.manifest, self.rows)
        write_csv(self.folder / "labels.csv", self.labels)
        for name, content in self.raw.items():
            (self.folder / name).write_bytes(content)

    def load(self, place: int = PLANTED) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
        """Voxels as stored and affine."""
        image: Any = nibabel.load(self.folder / self.rows[place]["image"])
        return np.asanyarray(image.dataobj), image.affine

    def save(
        self, array: npt.NDArray[Any], affine: npt.NDArray[Any], name: str = ""
    ) -> "nibabel.Nifti1Image":
        """Write a NIfTI file in place of the planted one, or beside it."""
        image = nibabel.Nifti1Image(array, affine)
        nibabel.save(image, self.folder / name if name else self.image)
        return image

    def drop(self, row: dict[str, str]) -> None:
        """Take a row out of both tables, its files too."""
        self.rows.remove(row)
        self.labels = [each for each in self.labels if each["study_id"] != row["study_id"]]
        (self.folder / row["image"]).unlink()


@dataclass(frozen=True)
class Heard:
    """What both commands say of a site."""

    code: int
    """Exit code of the audit."""
    document: dict[str, Any]
    """Content of audit.json."""
    problem: str
    """Message with which prepare ended, "" if it did not complain."""
    store: VolumeStore | None
    quarantine: dict[str, str]
    """Volume -> kind."""

    @property
    def kinds(self) -> dict[str, set[str]]:
        """Severity -> kinds that the audit found."""
        found: dict[str, set[str]] = {"error": set(), "warning": set(), "note": set()}
        for name, kind in self.document["kinds"].items():
            found[kind["severity"]].add(name)
        return found

    def volumes(self, kind: str) -> list[str]:
        """Volumes that a kind of fault was found in."""
        return [f["volume_id"] for f in self.document["faults"] if f["kind"] == kind]


def hear(site: Site, work: Path, known: Path | None = None) -> Heard:
    """Run both commands on a finished site.

    Args:
        site: The site.
        work: Folder for what they write.
        known: What they wrote about the clean site; only what was planted is looked at anew.
    """
    if known is not None:
        planted = shutil.ignore_patterns(f"{site.planted}.*")
        for name in ("audit/facts", "audit/thumbnails", "store/volumes"):
            shutil.copytree(known / name, work / name, ignore=planted)
    common = {"data": site.manifest, "labels": site.folder / "labels.csv", "num_workers": 1}
    common |= site.options
    code = audit(AuditConfig(out=work / "audit", **common))
    document = json.loads((work / "audit/audit.json").read_text(encoding="utf-8"))
    common.pop("checksums", None)
    store, problem = None, ""
    geometry = GridConfig(grid=(12, 10, 12), spacing_mm=(32, 32, 28))
    try:
        prepare(PrepareConfig(out=work / "store", geometry=geometry, overwrite=True, **common))
    except DataError as error:
        problem = str(error)
    quarantine = {}
    if (work / "store/store.json").exists():
        store = VolumeStore.open(work / "store")
        lines = (work / "store/quarantine.jsonl").read_text(encoding="utf-8").splitlines()
        quarantine = {row["volume_id"]: row["kind"] for row in map(json.loads, lines)}
    return Heard(code, document, problem, store, quarantine)
