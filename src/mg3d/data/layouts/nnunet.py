"""nnU-Net raw data: ``imagesTr/CASE_0000.nii.gz``, channels named by ``dataset.json``.

Of several channels the one named CT is taken. ``splits_final.json``, where there is one, makes
the validation cases of its first fold the val split.
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from mg3d.data.faults import Fault
from mg3d.data.layouts.catalogue import Catalogue, CatalogueRow, assemble, patients_unknown
from mg3d.data.layouts.layout import Layout, LayoutOptions
from mg3d.data.layouts.matching import listed
from mg3d.data.layouts.msd import FILE
from mg3d.data.layouts.side_tables import attach_tables
from mg3d.data.layouts.site_folder import SiteFolder, list_folder
from mg3d.data.layouts.table import peek_json, read_json
from mg3d.data.layouts.table_error import TableError
from mg3d.data.scan import ScanSource
from mg3d.data.splits import Split
from mg3d.data.text.reports import Report

SPLITS_FILE = "splits_final.json"
_CASE = re.compile(r"(.+)_(\d{4})")


def recognise(path: Path) -> bool:
    """Whether a folder has numbered channels in ``imagesTr`` and a ``dataset.json``."""
    if not (path / FILE).is_file():
        return False
    content = peek_json(path / FILE)
    if not isinstance(content, dict):
        return False
    numbered = any((path / "imagesTr").glob("*_[0-9][0-9][0-9][0-9].*"))
    return "channel_names" in content or ("modality" in content and numbered)


def read(path: Path, options: LayoutOptions) -> Catalogue:
    """The catalogue of a ``DatasetXXX_Name`` folder.

    Args:
        path: The folder of ``dataset.json``.
        options: ``reports`` and ``labels`` by study id, which is the case's name.

    Raises:
        TableError: If the description is not nnU-Net's.
    """
    content = read_json(path / FILE)
    if not isinstance(content, dict):
        raise TableError(f"{path / FILE}: not a JSON object", "table_columns")
    faults: list[Fault] = []
    channel = _ct_channel(content, faults)
    ending = str(content.get("file_ending") or ".nii.gz")
    site = list_folder(path)
    rows: list[CatalogueRow] = []
    for folder in ("imagesTr", "imagesTs"):
        rows += _rows(site, folder, ending, channel, faults)
    stated = content.get("numTraining")
    num_training = sum(_is_training(row) for row in rows)
    if isinstance(stated, int) and stated != num_training:
        message = f"numTraining is {stated}, imagesTr holds {num_training} cases"
        faults.append(Fault(kind="table_count", message=message, place=FILE))
    rows = _split(rows, _first_fold(path / SPLITS_FILE, faults))
    rows, names = attach_tables(rows, options, faults)
    faults.append(patients_unknown(rows))
    return assemble(LAYOUT.name, path, rows, label_names=names, faults=faults)


def _ct_channel(content: dict[str, Any], faults: list[Fault]) -> int:
    names = content.get("channel_names", content.get("modality"))
    channels = names if isinstance(names, dict) else {}
    found = [str(n) for n, name in channels.items() if str(name).strip().upper() == "CT"]
    if len(found) == 1 and found[0].isdecimal():
        return int(found[0])
    message = f"{len(found)} of {len(channels)} channel_names are 'CT'; exactly one must be"
    faults.append(Fault(kind="scan_modality", message=message, place=FILE))
    return 0


def _rows(
    site: SiteFolder, folder: str, ending: str, channel: int, faults: list[Fault]
) -> list[CatalogueRow]:
    """One row a case; a case that has other channels but not this one is a missing file."""
    cases: dict[str, None] = {}
    unlisted = []
    for file in site.files:
        if file.parent != site.path / folder:
            continue
        match = _CASE.fullmatch(file.name.removesuffix(ending))
        if match is None or not file.name.endswith(ending):
            unlisted.append(site.relative(file))
        else:
            cases[match[1]] = None
    if unlisted:
        message = f"{len(unlisted)} files are not CASE_0000{ending}: {listed(unlisted)}"
        faults.append(Fault(kind="file_unlisted", message=message, place=folder))
    return [_row(site.path, f"{folder}/{case}_{channel:04d}{ending}", case) for case in cases]


def _row(folder: Path, image: str, case: str) -> CatalogueRow:
    return CatalogueRow(
        place=image,
        volume_id=case,
        study_id=case,
        patient_id=case,
        source=ScanSource(path=folder / image),
        image=image,
        report=Report(),
    )


def _first_fold(path: Path, faults: list[Fault]) -> frozenset[str]:
    """The validation cases of the first fold; empty where there are no folds."""
    if not path.is_file():
        return frozenset()
    folds = read_json(path)
    try:
        cases = frozenset(map(str, folds[0]["val"]))
    except (KeyError, IndexError, TypeError) as error:
        raise TableError(
            f"{path}: folds are a list of objects with train and val", "table_columns"
        ) from error
    message = f"the {len(cases)} val cases of the first of {len(folds)} folds are val"
    faults.append(Fault(kind="split_rule", message=message, place=path.name))
    return cases


def _split(rows: list[CatalogueRow], held_out: frozenset[str]) -> list[CatalogueRow]:
    """Rows with their split; all without one where neither folds nor a test set exist."""
    if not held_out and all(_is_training(row) for row in rows):
        return rows

    def side(row: CatalogueRow) -> Split:
        if not _is_training(row):
            return "test"
        return "val" if row.study_id in held_out else "train"

    return [replace(row, split=side(row)) for row in rows]


def _is_training(row: CatalogueRow) -> bool:
    return row.image.startswith("imagesTr/")


LAYOUT = Layout(
    name="nnunet",
    summary="nnU-Net raw data set; its labels are segmentations, so no reports",
    expects=f"a folder DatasetXXX_Name; {FILE} with channel_names, imagesTr/CASE_0000.nii.gz",
    recognise=recognise,
    read=read,
)
