"""The manifest: one table that names scans, reports, splits and labels.

Columns: ``study_id``, ``patient_id``, ``image`` (path relative to the manifest) are required;
``volume_id``, ``findings``, ``impression``, ``report``, ``split`` and ``label:<name>`` are
optional. What is wrong with the table as such stops the command before any work, all complaints
at once and by line; what is wrong with one scan or report is left to `mg3d prepare`.
"""

import os
from dataclasses import replace
from pathlib import Path, PurePosixPath

from mg3d.data.faults import Fault
from mg3d.data.layouts.catalogue import (
    SPLIT_NAMES,
    Catalogue,
    CatalogueRow,
    assemble,
)
from mg3d.data.layouts.label_table import read_labels, row_labels
from mg3d.data.layouts.layout import Layout, LayoutOptions
from mg3d.data.layouts.report_table import read_reports
from mg3d.data.layouts.table import ENDINGS, Record, read_table
from mg3d.data.layouts.table_error import TableError
from mg3d.data.layouts.unlisted import with_unlisted
from mg3d.data.scan import ScanSource
from mg3d.data.splits import SPLITS
from mg3d.data.text.reports import Report

REQUIRED_COLUMNS = ("study_id", "patient_id", "image")
_OPTIONAL_COLUMNS = (
    "volume_id", "findings", "impression", "report", "split", "label:<name>",
)  # fmt: skip
_LABEL_PREFIX = "label:"


def recognise(path: Path) -> bool:
    """Whether a path is a table."""
    return path.is_file() and path.suffix.lower() in ENDINGS


def read(path: Path, options: LayoutOptions) -> Catalogue:
    """Read and check a manifest.

    Args:
        path: A ``.csv`` (comma, semicolon or tab), ``.tsv``, ``.jsonl`` or ``.xlsx`` file.
        options: ``labels`` is a table of ``study_id`` and one column a finding, instead of
            ``label:`` columns; ``reports`` one of ``study_id`` and the report, instead of columns.

    Returns:
        Rows in the order of the file. All volumes of a study carry its one report.

    Raises:
        TableError: Not a table, or without the required columns.
    """
    faults: list[Fault] = []
    table = read_table(path)
    table.require(REQUIRED_COLUMNS, _OPTIONAL_COLUMNS)
    names = tuple(
        column.removeprefix(_LABEL_PREFIX)
        for column in table.columns
        if column.startswith(_LABEL_PREFIX)
    )
    rows = [_row(path.parent, record, names, faults) for record in table.records]
    rows = name_volumes(rows)
    if options.reports is not None:
        rows = read_reports(options.reports, "study_id", faults).attach(rows, faults)
    if options.labels is not None:
        if names:
            raise TableError(
                f"{path}: has label columns, and {options.labels} is named too; drop one",
                "label_two_sources",
            )
        labels = read_labels(read_table(options.labels), "study_id", faults)
        faults += labels.match({row.study_id for row in rows}, "study")
        names = labels.names
        rows = [replace(row, labels=labels.of(row.study_id)) for row in rows]
    catalogue = assemble(LAYOUT.name, path.parent, rows, label_names=names, faults=faults)
    return with_unlisted(catalogue)


def _row(
    folder: Path, record: Record, label_names: tuple[str, ...], faults: list[Fault]
) -> CatalogueRow:
    def complain(kind: str, message: str) -> None:
        faults.append(Fault(kind=kind, message=message, place=record.place))

    for name in REQUIRED_COLUMNS:
        if not record.text(name):
            complain("table_cell_empty", f"{name} is empty")
    split = record.text("split").lower()
    if split and split not in SPLIT_NAMES:
        message = f"split is none of {', '.join(SPLITS)} ({len(split)} characters)"
        complain("split_unknown", message)
    sections = Report(record.text("findings"), record.text("impression"))
    whole = Report.from_text(record.text("report"))
    if not sections.is_empty and not whole.is_empty:
        complain("report_two_forms", "both sections and a whole report; give one of them")
    image = record.text("image").replace("\\", "/")
    return CatalogueRow(
        place=record.place,
        volume_id=record.text("volume_id"),
        study_id=record.text("study_id"),
        patient_id=record.text("patient_id"),
        source=ScanSource(path=folder / image),
        image=relative_image(image, folder),
        report=whole if sections.is_empty else sections,
        split=SPLIT_NAMES.get(split),
        labels=row_labels(record, label_names, faults, prefix=_LABEL_PREFIX),
    )


def name_volumes(rows: list[CatalogueRow]) -> list[CatalogueRow]:
    """Name unnamed volumes after their study: S, S_2, S_3, ... in the order of the file."""
    counts: dict[str, int] = {}
    named = []
    for row in rows:
        counts[row.study_id] = number = counts.get(row.study_id, 0) + 1
        name = row.study_id if number == 1 else f"{row.study_id}_{number}"
        named.append(row if row.volume_id else replace(row, volume_id=name))
    return named


def relative_image(image: str, folder: Path) -> str:
    """An image path as a store may keep it: relative to the manifest even if given absolute."""
    if not PurePosixPath(image).is_absolute():
        return image
    return Path(os.path.relpath(image, folder)).as_posix()


LAYOUT = Layout(
    name="manifest",
    summary="one table that names scans, reports, splits and labels",
    expects="a .csv, .tsv, .jsonl or .xlsx file with study_id, patient_id and image",
    recognise=recognise,
    read=read,
)
