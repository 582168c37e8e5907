"""CTRG-Chest: folders of 8-bit JPG slices and a JSON file of reports.

An entry has ``id``, ``image_path``, ``report`` (findings) and ``result`` (impression). The
pictures carry neither spacing nor window. An entry may state both (``spacing_mm`` along a row,
down a column, between slices; ``window_hu`` of black and white); else the window is -1000 to
1000 HU, as which MG-3D's authors feed the grey levels to the model (arXiv:2412.05876), and the
spacing is nominal: their code stretches every scan to the grid. Slices run from the head to the
feet.

Folders are named after persons in the data set's own example, so no path is kept.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mg3d.data.faults import Fault
from mg3d.data.layouts.catalogue import Catalogue, CatalogueRow, assemble, patients_unknown
from mg3d.data.layouts.layout import Layout, LayoutOptions
from mg3d.data.layouts.side_tables import attach_tables
from mg3d.data.layouts.site_folder import SiteFolder, list_folder
from mg3d.data.layouts.table import Record, peek_json, read_json
from mg3d.data.layouts.table_error import TableError
from mg3d.data.scan import PICTURES, ScanSource, Stated
from mg3d.data.splits import Split
from mg3d.data.text.reports import Report

AXES = "LPI"
"""Directions of columns, rows and slices."""
WINDOW_HU = (-1000.0, 1000.0)
NOMINAL_SPACING_MM = (0.75, 0.75, 1.25)
_LARGEST = 1e6
"""Beyond any HU or millimetre; NaN and infinity are not below it either."""
_PARTS: tuple[Split, ...] = ("test", "val", "train")
"""Lists of an annotation file; an entry of several, as in MG-3D's, belongs to the first."""


def recognise(path: Path) -> bool:
    """Whether a folder holds one JSON file whose entries have image_path and a report."""
    if not path.is_dir():
        return False
    return any(_entries(peek_json(file)) for file in path.glob("*.json"))


def _entries(document: Any) -> list[tuple[dict[str, Any], Split | None]]:
    """Entries with their split; [] where a document is something else."""
    if isinstance(document, list):
        found: list[tuple[Any, Split | None]] = [(entry, None) for entry in document]
    elif isinstance(document, dict):
        found = [(e, part) for part in _PARTS for e in _as_list(document.get(part))]
    else:
        return []
    fits = all(isinstance(e, dict) and {"id", "image_path"} <= e.keys() for e, _ in found)
    return found if fits else []


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def read(path: Path, options: LayoutOptions) -> Catalogue:
    """The catalogue of a folder of CTRG-Chest.

    Args:
        path: The folder of the JSON file; folders of slices may lie anywhere below it.
        options: ``reports`` and ``labels`` by study id, the ``id`` of an entry.

    Raises:
        TableError: If there is no such JSON file, or several.
    """
    files = [file for file in sorted(path.glob("*.json")) if _entries(peek_json(file))]
    if len(files) != 1:
        raise TableError(
            f"{path}: {len(files)} JSON files list image_path and report; one must",
            "table_row_twice" if files else "table_missing",
        )
    site = list_folder(path)
    folders = _picture_folders(site)
    faults: list[Fault] = []
    rows: dict[str, CatalogueRow] = {}
    num_twice = 0
    for number, (entry, split) in enumerate(_entries(read_json(files[0])), start=1):
        record = Record(f"{files[0].name}, entry {number}", entry)
        row = _row(path, record, split, folders, faults)
        num_twice += row.study_id in rows
        rows.setdefault(row.study_id, row)
    if num_twice:
        message = f"{num_twice} entries stand in another list too; test goes before val and train"
        faults.append(Fault(kind="table_entry_twice", message=message, place=files[0].name))
    used = {row.source.path for row in rows.values()}
    if unlisted := sum(folder not in used for folder in folders.values()):
        message = f"{unlisted} of {len(folders)} folders of slices are in no entry"
        faults.append(Fault(kind="file_unlisted", message=message))
    _count_assumed(list(rows.values()), faults)
    attached, names = attach_tables(list(rows.values()), options, faults)
    faults.append(patients_unknown(attached))
    return assemble(
        LAYOUT.name, path, attached, label_names=names, faults=faults, private_names=True
    )


def _picture_folders(site: SiteFolder) -> dict[str, Path]:
    """Name of a folder that holds pictures -> its path."""
    return {file.parent.name: file.parent for file in site.scans(PICTURES)}


def _row(
    path: Path,
    record: Record,
    split: Split | None,
    folders: Mapping[str, Path],
    faults: list[Fault],
) -> CatalogueRow:
    name = record.text("id")
    given = record.fields.get("image_path")
    first = given[0] if isinstance(given, list) and given else given
    image = Path(str(first or name).replace("\\", "/"))
    folder = image.parent if image.suffix.lower() in PICTURES else image
    direct = path / folder
    source = direct if _is_folder(direct) else folders.get(folder.name, direct)
    return CatalogueRow(
        place=record.place,
        volume_id=name,
        study_id=name,
        patient_id=name,
        source=ScanSource(path=source, stated=_stated(record, faults)),
        image=name,
        report=Report(record.text("report"), record.text("result")),
        split=split,
    )


def _is_folder(path: Path) -> bool:
    """Whether there is such a folder; no for a name that the file system refuses."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _stated(record: Record, faults: list[Fault]) -> Stated:
    def numbers(name: str, count: int) -> list[float] | None:
        value = record.fields.get(name)
        if value is None:
            return None
        is_list = isinstance(value, list) and len(value) == count
        if is_list and all(isinstance(v, int | float) and abs(v) < _LARGEST for v in value):
            return [float(v) for v in value]
        message = f"{name} is not a list of {count} numbers"
        faults.append(Fault(kind="table_fact_malformed", message=message, place=record.place))
        return None

    window, spacing = numbers("window_hu", 2), numbers("spacing_mm", 3)
    return Stated(
        axes=AXES,
        window_hu=(window[0], window[1]) if window else WINDOW_HU,
        spacing_mm=(spacing[0], spacing[1], spacing[2]) if spacing else NOMINAL_SPACING_MM,
    )


def _count_assumed(rows: list[CatalogueRow], faults: list[Fault]) -> None:
    """Say where window and spacing are not known but assumed."""
    num_spacing = sum(row.source.stated.spacing_mm is NOMINAL_SPACING_MM for row in rows)
    if num_spacing:
        message = f"{num_spacing} scans state no spacing_mm; {NOMINAL_SPACING_MM} is assumed"
        faults.append(Fault(kind="geometry_assumed", message=message))
    num_window = sum(row.source.stated.window_hu is WINDOW_HU for row in rows)
    if num_window:
        message = f"{num_window} scans state no window_hu; {WINDOW_HU} is assumed"
        faults.append(Fault(kind="hu_window_assumed", message=message))


LAYOUT = Layout(
    name="ctrg_chest",
    summary="CTRG-Chest, folders of JPG slices and a JSON file of reports",
    expects="a folder; one .json of entries with id, image_path, report, result; JPG slices",
    recognise=recognise,
    read=read,
)
