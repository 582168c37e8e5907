"""Merlin (Stanford): abdominal CT in NIfTI, findings and split in a spreadsheet, labels in a CSV.

``reports_final.xlsx`` has ``study id``, ``Findings`` (often with an impression behind its own
heading) and ``Split``; ``zero_shot_findings_disease_cls.csv`` has 1 present, 0 denied and -1 not
mentioned, which is unknown here. The release names no patients, so each scan counts as one.
"""

import math
import re
from dataclasses import replace
from pathlib import Path

from mg3d.data.faults import Fault
from mg3d.data.layouts.catalogue import (
    SPLIT_NAMES,
    Catalogue,
    CatalogueRow,
    assemble,
    patients_unknown,
)
from mg3d.data.layouts.label_table import VALUES, read_labels
from mg3d.data.layouts.layout import Layout, LayoutOptions
from mg3d.data.layouts.matching import listed
from mg3d.data.layouts.report_table import read_reports
from mg3d.data.layouts.site_folder import SiteFolder, list_folder, stem
from mg3d.data.layouts.table import Record, Table, read_table
from mg3d.data.scan import ScanSource
from mg3d.data.text.reports import Report

KEY = "study id"
REPORTS = "reports_final.xlsx"
LABELS = "zero_shot_findings_disease_cls.csv"
_REPORTS = r"reports_final\.(xlsx|csv)"
_IMPRESSION = re.compile(r"\s*\bIMPRESSION\s*:")
_VALUES = VALUES | {"-1": math.nan, "-1.0": math.nan}


def recognise(path: Path) -> bool:
    """Whether a folder holds the spreadsheet, or the table of labels."""
    names = (REPORTS, "reports_final.csv", LABELS)
    return path.is_dir() and any((path / name).is_file() for name in names)


def read(path: Path, options: LayoutOptions) -> Catalogue:
    """The catalogue of a folder of Merlin.

    Args:
        path: The folder of the spreadsheet; volumes may lie anywhere below it.
        options: ``labels`` that lie elsewhere; ``reports``: further reports by ``study id``.

    Raises:
        TableError: If the spreadsheet is missing or lacks a column.
    """
    site = list_folder(path)
    faults: list[Fault] = []
    table = read_table(site.the_one(_REPORTS, "the reports") or path / REPORTS)
    table.require((KEY, "Findings", "Split"))
    scans = {stem(file.name): file for file in site.scans((".nii.gz", ".nii"))}
    rows = _rows(site, table, scans, faults)
    if options.reports is not None:
        rows = read_reports(options.reports, (KEY, "study_id"), faults).attach(rows, faults)
    label_path = options.labels or site.the_one(LABELS.replace(".", r"\."), "the labels")
    names: tuple[str, ...] = ()
    if label_path is not None:
        label_table = read_table(label_path)
        # The release's first column is the key, whatever its name.
        key = KEY if KEY in label_table.columns else next(iter(label_table.columns), KEY)
        labels = read_labels(label_table, key, faults, values=_VALUES)
        faults += labels.match({row.study_id for row in rows}, "study")
        names = labels.names
        rows = [replace(row, labels=labels.of(row.study_id)) for row in rows]
    faults.append(patients_unknown(rows))
    return assemble(LAYOUT.name, path, rows, label_names=names, faults=faults)


def _rows(
    site: SiteFolder, table: Table, scans: dict[str, Path], faults: list[Fault]
) -> list[CatalogueRow]:
    unlisted = sorted(scans.keys() - {record.text(KEY) for record in table.records})
    if unlisted:
        places = [site.relative(scans[name]) for name in unlisted]
        message = f"{len(unlisted)} scans have no row in {table.path.name}: {listed(places)}"
        faults.append(Fault(kind="file_unlisted", message=message))
    return [_row(site, record, scans, faults) for record in table.records]


def _row(
    site: SiteFolder, record: Record, scans: dict[str, Path], faults: list[Fault]
) -> CatalogueRow:
    name = record.text(KEY)
    split = record.text("Split").lower()
    if split not in SPLIT_NAMES:
        message = f"split is none of train, val, test ({len(split)} characters)"
        faults.append(Fault(kind="split_unknown", message=message, place=record.place))
    file = scans.get(name, site.path / "merlin_data" / f"{name}.nii.gz")
    return CatalogueRow(
        place=record.place,
        volume_id=name,
        study_id=name,
        patient_id=name,
        source=ScanSource(path=file),
        image=site.relative(file),
        report=_report(record.text("Findings")),
        split=SPLIT_NAMES.get(split),
    )


def _report(text: str) -> Report:
    """The column holds findings up to an impression that may start in the middle of a line."""
    return Report.from_text("Findings:\n" + _IMPRESSION.sub("\nImpression:\n", text))


LAYOUT = Layout(
    name="merlin",
    summary="Merlin, abdominal CT with findings and labels",
    expects=f"a folder; {REPORTS}, merlin_data/*.nii.gz, {LABELS}",
    recognise=recognise,
    read=read,
)
