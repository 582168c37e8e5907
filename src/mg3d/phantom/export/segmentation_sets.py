"""Data sets made for segmentation: Medical Segmentation Decathlon, nnU-Net raw, MONAI datalist.

Reports and findings go into side tables, ``reports.csv`` and ``findings.csv``; the phantom's masks
are the segmentations.
"""

from pathlib import Path
from typing import Any

from mg3d.data.layouts.catalogue import Catalogue, CatalogueRow
from mg3d.data.layouts.msd import FILE
from mg3d.data.layouts.nnunet import SPLITS_FILE
from mg3d.files import write_atomic, write_json
from mg3d.phantom.export.exporter import Exporter, volumes, write_nifti, write_side_tables

_LEGEND = {"background": 0, "lungs": 1, "heart": 2}


def _write_msd(catalogue: Catalogue, out: Path) -> dict[str, str]:
    _write_images(catalogue, out, ending="")
    training = [row for row in catalogue.rows if row.split != "test"]
    test = [row for row in catalogue.rows if row.split == "test"]
    description = {
        "name": "Phantom",
        "description": "Synthetic chest CT",
        "tensorImageSize": "3D",
        "modality": {"0": "CT"},
        "labels": {str(value): name for name, value in _LEGEND.items()},
        "numTraining": len(training),
        "numTest": len(test),
        "training": [
            {
                "image": f"./imagesTr/{row.volume_id}.nii.gz",
                "label": f"./labelsTr/{row.volume_id}.nii.gz",
            }
            for row in training
        ],
        "test": [f"./imagesTs/{row.volume_id}.nii.gz" for row in test],
    }
    write_json(out / FILE, description)
    write_side_tables(catalogue, out)
    return _same_names(catalogue)


def _write_nnunet(catalogue: Catalogue, out: Path) -> dict[str, str]:
    _write_images(catalogue, out, ending="_0000")
    description = {
        "channel_names": {"0": "CT"},
        "labels": _LEGEND,
        "numTraining": sum(row.split != "test" for row in catalogue.rows),
        "file_ending": ".nii.gz",
    }
    write_json(out / FILE, description)
    fold = {
        split: [row.volume_id for row in catalogue.rows if row.split == split]
        for split in ("train", "val")
    }
    write_json(out / SPLITS_FILE, [fold])
    write_side_tables(catalogue, out)
    return _same_names(catalogue)


def _write_datalist(catalogue: Catalogue, out: Path) -> dict[str, str]:
    lists: dict[str, list[dict[str, Any]]] = {"training": [], "validation": [], "testing": []}
    names = {"train": "training", "val": "validation", "test": "testing"}
    for row, volume in volumes(catalogue.rows):
        image = f"images/{row.volume_id}.nii.gz"
        write_nifti(out / image, volume)
        lists[names[row.split or "train"]].append(
            {
                "image": image,
                "study_id": row.study_id,
                "patient_id": row.patient_id,
                "findings": row.report.findings,
                "impression": row.report.impression,
            }
        )
    write_json(out / "datalist.json", lists)
    write_side_tables(catalogue, out)
    return _same_names(catalogue)


def _write_images(catalogue: Catalogue, out: Path, *, ending: str) -> None:
    for row, volume in volumes(catalogue.rows):
        part = "Ts" if row.split == "test" else "Tr"
        write_nifti(out / f"images{part}" / f"{row.volume_id}{ending}.nii.gz", volume)
        mask = _mask(catalogue, row)
        if part == "Tr" and mask.is_file():
            write_atomic(out / "labelsTr" / f"{row.volume_id}.nii.gz", mask.read_bytes())


def _mask(catalogue: Catalogue, row: CatalogueRow) -> Path:
    return catalogue.folder / "masks" / f"{row.study_id}.nii.gz"


def _same_names(catalogue: Catalogue) -> dict[str, str]:
    return {row.volume_id: row.volume_id for row in catalogue.rows}


EXPORTERS = (
    Exporter(
        name="msd",
        layout="msd",
        keeps="all but patients, with the side tables; val becomes train",
        write=_write_msd,
    ),
    Exporter(
        name="nnunet",
        layout="nnunet",
        keeps="all but patients, with the side tables",
        write=_write_nnunet,
    ),
    Exporter(
        name="monai_datalist",
        layout="monai_datalist",
        start="datalist.json",
        keeps="all, labels with the side table",
        write=_write_datalist,
    ),
)
