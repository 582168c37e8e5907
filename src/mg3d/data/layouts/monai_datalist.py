"""MONAI datalist: a JSON file of lists ``training``, ``validation`` and ``testing``.

Each entry names an image relative to the file, or is its path. A string ``label`` is a segmentation
and not read; ``report``, or ``findings`` and ``impression``, is. Where there is no validation list
but entries have folds, fold 0 is the val split, as MONAI's tutorials hold it out.
"""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from mg3d.data.faults import Fault
from mg3d.data.layouts.catalogue import Catalogue, CatalogueRow, assemble, patients_unknown
from mg3d.data.layouts.layout import Layout, LayoutOptions
from mg3d.data.layouts.manifest import relative_image
from mg3d.data.layouts.report_table import record_report, section_columns
from mg3d.data.layouts.side_tables import attach_tables
from mg3d.data.layouts.site_folder import stem
from mg3d.data.layouts.table import Record, peek_json, read_json
from mg3d.data.layouts.table_error import TableError
from mg3d.data.layouts.unlisted import with_unlisted
from mg3d.data.scan import ScanSource
from mg3d.data.splits import Split

_LISTS: dict[str, Split] = {
    "training": "train", "validation": "val", "testing": "test", "test": "test",
}  # fmt: skip
_NOT_OURS = ("modality", "channel_names", "tensorImageSize")
"""Keys of the Decathlon's and nnU-Net's descriptions, which list images too."""


def recognise(path: Path) -> bool:
    """Whether a JSON file lists images for training, validation or testing."""
    if not path.is_file() or path.suffix.lower() != ".json":
        return False
    content = peek_json(path)
    if not isinstance(content, dict):
        return False
    entries = [entry for part in _LISTS for entry in _as_list(content.get(part))]
    return (
        bool(entries)
        and not any(key in content for key in _NOT_OURS)
        and all(isinstance(e, str) or (isinstance(e, dict) and "image" in e) for e in entries)
    )


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def read(path: Path, options: LayoutOptions) -> Catalogue:
    """The catalogue of a datalist.

    Args:
        path: The JSON file.
        options: ``reports`` and ``labels`` by study id: ``study_id`` of an entry, or the image's
            name.

    Raises:
        TableError: If it is no datalist.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not any(part in content for part in _LISTS):
        raise TableError(
            f"{path}: a datalist is an object with {', '.join(_LISTS)}", "table_columns"
        )
    faults: list[Fault] = []
    records: list[tuple[Record, Split]] = []
    for part, split in _LISTS.items():
        for number, entry in enumerate(_as_list(content.get(part)), start=1):
            place = f"{path.name}, {part} {number}"
            records.append((Record(place, _fields(entry, place)), split))
    rows = _name([_row(path.parent, record, split) for record, split in records])
    rows = _hold_out(rows, [record for record, _ in records], faults)
    rows, names = attach_tables(rows, options, faults)
    if any(row.patient_id == row.study_id for row in rows):
        faults.append(patients_unknown(rows))
    catalogue = assemble(LAYOUT.name, path.parent, rows, label_names=names, faults=faults)
    return with_unlisted(catalogue)


def _fields(entry: Any, place: str) -> dict[str, Any]:
    fields = {"image": entry} if isinstance(entry, str) else entry
    image = fields.get("image") if isinstance(fields, dict) else None
    if isinstance(image, list) and len(image) == 1:
        image = image[0]
    if not isinstance(image, str):
        raise TableError(f"{place}: an entry names one image", "table_columns")
    return {**fields, "image": image}


def _row(folder: Path, record: Record, split: Split) -> CatalogueRow:
    image = record.text("image").replace("\\", "/")
    study = record.text("study_id")
    return CatalogueRow(
        place=record.place,
        volume_id=record.text("volume_id"),
        study_id=study,
        patient_id=record.text("patient_id"),
        source=ScanSource(path=folder / image),
        image=Path(relative_image(image, folder)).as_posix(),
        report=record_report(record, section_columns(record.fields)),
        split=split,
    )


def _name(rows: list[CatalogueRow]) -> list[CatalogueRow]:
    """Name what the file does not: by the image, with its folders where images are named alike."""
    counts = Counter(stem(Path(row.image).name) for row in rows)

    def named(row: CatalogueRow) -> CatalogueRow:
        short = stem(Path(row.image).name)
        name = short if counts[short] == 1 else stem(row.image).strip("./").replace("/", "_")
        study = row.study_id or name
        return replace(
            row,
            volume_id=row.volume_id or (name if row.study_id else study),
            study_id=study,
            patient_id=row.patient_id or study,
        )

    return [named(row) for row in rows]


def _hold_out(
    rows: list[CatalogueRow], records: list[Record], faults: list[Fault]
) -> list[CatalogueRow]:
    """Fold 0 of the training list as val, where the file has folds and no validation list."""
    folds = [record.text("fold") for record in records]
    if any(row.split == "val" for row in rows) or not any(folds):
        return rows
    held_out = [fold == "0" and row.split == "train" for fold, row in zip(folds, rows, strict=True)]
    message = f"there is no validation list; the {sum(held_out)} entries of fold 0 are val"
    faults.append(Fault(kind="split_rule", message=message))
    return [
        replace(row, split="val") if held else row for row, held in zip(rows, held_out, strict=True)
    ]


LAYOUT = Layout(
    name="monai_datalist",
    summary="MONAI datalist, a JSON file that lists images",
    expects="a .json file with training, validation, testing: [{image, report, fold, ...}]",
    recognise=recognise,
    read=read,
)
