"""CT-RATE's folders and tables, in both generations of its NIfTI files.

Train and val patients become its train, test patients its valid. Second generation: HU and spacing
in the headers. First: stored values without slope and intercept, spacings of 1 mm; the metadata
table knows both, its intercept is -1024 for one patient and -8192 for the next: the two of the
release.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mg3d.data.layouts.catalogue import Catalogue, CatalogueRow
from mg3d.data.volume import Volume
from mg3d.phantom.export.exporter import (
    Exporter,
    label_cells,
    short_decimals,
    volumes,
    write_csv,
    write_nifti,
)
from mg3d.phantom.export.storage_order import stored_as

_INTERCEPTS = (-1024, -8192)
_NOT_GIVEN = "Not given."
_TABLE_NAMES = {"train": "train", "valid": "validation"}


@dataclass(frozen=True)
class _Name:
    """What CT-RATE calls a volume."""

    side: str
    patient: int
    scan: int
    reconstruction: int

    @property
    def study(self) -> str:
        """Split, patient and scan; scans count in letters."""
        return f"{self.side}_{self.patient}_{chr(ord('a') + self.scan)}"

    @property
    def volume(self) -> str:
        """Study and reconstruction."""
        return f"{self.study}_{self.reconstruction}"


def _names(rows: Iterable[CatalogueRow]) -> list[_Name]:
    """Number patients of a side, scans of a patient and volumes of a study by first appearance."""
    patients: dict[str, dict[str, int]] = {"train": {}, "valid": {}}
    scans: dict[str, dict[str, int]] = {}
    counts: dict[str, int] = {}
    names = []
    for row in rows:
        side = "valid" if row.split == "test" else "train"
        patient = patients[side].setdefault(row.patient_id, len(patients[side]) + 1)
        of_patient = scans.setdefault(row.patient_id, {})
        scan = of_patient.setdefault(row.study_id, len(of_patient))
        counts[row.study_id] = counts.get(row.study_id, 0) + 1
        names.append(_Name(side, patient, scan, counts[row.study_id]))
    return names


def _write(catalogue: Catalogue, out: Path, *, first_generation: bool) -> dict[str, str]:
    names = _names(catalogue.rows)
    metadata: dict[str, list[dict[str, Any]]] = {"train": [], "valid": []}
    for name, (_, scan) in zip(names, volumes(catalogue.rows), strict=True):
        volume = stored_as(scan, "LPS")
        intercept = _INTERCEPTS[name.patient % 2]
        metadata[name.side].append(_facts(name, volume, intercept))
        folder = name.side if first_generation else f"{name.side}_fixed"
        place = out / folder / f"{name.side}_{name.patient}" / name.study
        stored = _without_facts(volume, intercept) if first_generation else volume
        write_nifti(place / f"{name.volume}.nii.gz", stored)
    for side in {name.side for name in names}:
        pairs = [(n, row) for n, row in zip(names, catalogue.rows, strict=True) if n.side == side]
        _write_tables(catalogue, out, side, pairs)
        write_csv(out / "metadata" / f"{_TABLE_NAMES[side]}_metadata.csv", metadata[side])
    return {row.volume_id: n.volume for n, row in zip(names, catalogue.rows, strict=True)}


def _without_facts(volume: Volume, intercept: int) -> Volume:
    """Stored values instead of HU, 1 mm instead of the spacing."""
    affine = volume.affine.copy()
    affine[:3, :3] /= volume.spacing_mm
    return Volume((volume.array - np.int16(intercept)).astype(np.int16), affine)


def _facts(name: _Name, volume: Volume, intercept: int) -> dict[str, Any]:
    columns, rows, slices = short_decimals(volume.spacing_mm)
    return {
        "VolumeName": f"{name.volume}.nii.gz",
        "Manufacturer": "mg3d phantom",
        "SeriesDescription": "Phantom",
        "NumberofSlices": volume.shape[2],
        "Rows": volume.shape[1],
        "Columns": volume.shape[0],
        "XYSpacing": f"[{rows}, {columns}]",
        "ZSpacing": slices,
        "RescaleIntercept": float(intercept),
        "RescaleSlope": 1.0,
        "ImageOrientationPatient": "[1.0, 0.0, 0.0, 0.0, 1.0, 0.0]",
    }


def _write_tables(
    catalogue: Catalogue, out: Path, side: str, pairs: list[tuple[_Name, CatalogueRow]]
) -> None:
    write_csv(
        out / "radiology_text_reports" / f"{_TABLE_NAMES[side]}_reports.csv",
        (
            {
                "VolumeName": f"{name.volume}.nii.gz",
                "ClinicalInformation_EN": _NOT_GIVEN,
                "Technique_EN": _NOT_GIVEN,
                "Findings_EN": row.report.findings or _NOT_GIVEN,
                "Impressions_EN": row.report.impression or _NOT_GIVEN,
            }
            for name, row in pairs
        ),
    )
    if catalogue.label_names:
        write_csv(
            out / "multi_abnormality_labels" / f"{side}_predicted_labels.csv",
            (
                {"VolumeName": f"{name.volume}.nii.gz", **label_cells(catalogue, row)}
                for name, row in pairs
            ),
        )


EXPORTERS = (
    Exporter(
        name="ct_rate",
        layout="ct_rate",
        keeps="all; val patients become train patients",
        write=partial(_write, first_generation=False),
    ),
    Exporter(
        name="ct_rate_v1",
        layout="ct_rate",
        keeps="all, HU and spacing through the metadata table; val patients become train patients",
        write=partial(_write, first_generation=True),
    ),
)
