"""Reports that lie apart from the scans: a table, a JSON file or a folder of text files, by key.

A key is often an accession number, which is personal: no message shows one.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from mg3d.data.faults import Fault
from mg3d.data.layouts.catalogue import CatalogueRow
from mg3d.data.layouts.matching import match_faults
from mg3d.data.layouts.table import ENDINGS, Record, Table, read_json, read_table, read_text
from mg3d.data.layouts.table_error import TableError
from mg3d.data.text.reports import Report

FINDINGS = ("findings", "findings_en", "finding")
IMPRESSION = ("impression", "impressions", "impression_en", "impressions_en", "conclusion")
WHOLE = ("report", "report_text", "reporttext", "text", "radiology_report")
"""Columns that hold a section or the whole, most specific first; case and spaces do not count."""
_FILE_ENDING = ".txt"


@dataclass(frozen=True)
class ReportTable:
    """Reports by key."""

    place: str
    reports: dict[str, Report]
    places: dict[str, str]
    """Key -> where its report stands, as messages may say it."""

    def renamed(self, rename: Callable[[str], str]) -> Self:
        """The same reports under other keys."""
        return replace(
            self,
            reports={rename(key): report for key, report in self.reports.items()},
            places={rename(key): place for key, place in self.places.items()},
        )

    def only(self, keep: Callable[[str], bool]) -> Self:
        """The reports of some keys."""
        return replace(
            self,
            reports={key: report for key, report in self.reports.items() if keep(key)},
            places={key: place for key, place in self.places.items() if keep(key)},
        )

    def attach(
        self,
        rows: Sequence[CatalogueRow],
        faults: list[Fault],
        key: Callable[[CatalogueRow], str] = lambda row: row.study_id,
    ) -> list[CatalogueRow]:
        """Give each row the report of its key; rows without one keep what they have.

        Args:
            rows: The volumes.
            faults: Reports without a scan, and studies with two reports, are added here.
            key: What reports are filed under.
        """
        keys = {key(row) for row in rows}
        faults += match_faults(
            self.place, self.places, keys, none="report_no_match", orphan="report_orphan",
            what="study",
        )  # fmt: skip
        attached = []
        for row in rows:
            report = self.reports.get(key(row))
            if report is None or report.is_empty:
                attached.append(row)
                continue
            if not row.report.is_empty and row.report.report_id != report.report_id:
                message = f"its study has another report in {self.places[key(row)]}"
                faults.append(
                    Fault(
                        kind="report_contradiction", message=message, place=row.place,
                        volume_id=row.volume_id, study_id=row.study_id,
                    )
                )  # fmt: skip
            attached.append(replace(row, report=report))
        return attached


def read_reports(path: Path, keys: str | Sequence[str], faults: list[Fault]) -> ReportTable:
    """Reports of a table, a JSON file or a folder of text files.

    Args:
        path: A table with a key column and ``findings`` and ``impression``, or ``report``; a
            ``.json`` file (key -> text or sections, or a list of objects); or a folder of
            ``.txt`` files, each named by its key.
        keys: Names of the key column, most preferred first.
        faults: Keys given twice with different reports are added here.

    Raises:
        TableError: If there is no report to read.
    """
    names = (keys,) if isinstance(keys, str) else tuple(keys)
    reports: dict[str, Report] = {}
    places: dict[str, str] = {}
    for key, place, report in _found(path, names):
        if not key:
            message = "the key of a report is empty"
            faults.append(Fault(kind="table_cell_empty", message=message, place=place))
            continue
        known = reports.get(key)
        if known is not None and not report.is_empty and not known.is_empty:
            if known.report_id != report.report_id:
                message = f"this study has another report in {places[key]}"
                faults.append(Fault(kind="report_contradiction", message=message, place=place))
            continue
        if known is None or known.is_empty:
            reports[key], places[key] = report, place
    if not reports:
        raise TableError(f"{path}: holds no report", "table_empty")
    return ReportTable(path.name, reports, places)


def _found(path: Path, names: Sequence[str]) -> Iterable[tuple[str, str, Report]]:
    """Key, place and report of every row, entry or text."""
    if path.is_dir():
        return _folder(path)
    if path.suffix.lower() == ".json":
        return _json(path, names)
    if path.suffix.lower() in ENDINGS:
        return _table(read_table(path), names)
    raise TableError(
        f"{path}: reports are a folder of {_FILE_ENDING} files, a .json file or a table "
        f"({', '.join(ENDINGS)})",
        "table_unreadable" if path.exists() else "table_missing",
    )


def section_columns(columns: Iterable[str]) -> tuple[str | None, str | None, str | None]:
    """Which columns hold findings, impression and the whole report; None where none does."""
    folded = {_fold(column): column for column in reversed(list(columns))}
    findings, impression, whole = (
        next((folded[name] for name in names if name in folded), None)
        for names in (FINDINGS, IMPRESSION, WHOLE)
    )
    return findings, impression, whole


def record_report(record: Record, columns: tuple[str | None, str | None, str | None]) -> Report:
    """The report of a row: its sections, or the whole where those are empty."""
    findings, impression, whole = (record.text(column) if column else "" for column in columns)
    sections = Report(findings, impression)
    return Report.from_text(whole) if sections.is_empty else sections


def _fold(name: str) -> str:
    return name.strip().lower().replace(" ", "_")


def key_column(columns: Iterable[str], names: Sequence[str]) -> str | None:
    """The first of the names that is a column; case, spaces and underscores do not count."""
    folded = {_fold(column).replace("_", ""): column for column in columns}
    wanted = (_fold(name).replace("_", "") for name in names)
    return next((folded[name] for name in wanted if name in folded), None)


def _table(table: Table, names: Sequence[str]) -> Iterable[tuple[str, str, Report]]:
    key = key_column(table.columns, names)
    columns = section_columns(table.columns)
    if key is None or not any(columns):
        table.require((names[0],), (*names[1:], "findings", "impression", "report"))
        raise TableError(
            f"{table.path}: no column holds reports; name it findings, impression or report",
            "table_columns",
        )
    for record in table.records:
        yield record.text(key), record.place, record_report(record, columns)


def _json(path: Path, names: Sequence[str]) -> Iterable[tuple[str, str, Report]]:
    document = read_json(path)
    if isinstance(document, dict):
        for number, (key, value) in enumerate(document.items(), start=1):
            place = f"{path.name}, entry {number}"
            yield str(key).strip(), place, _json_report(value, place)
        return
    if not isinstance(document, list) or not all(isinstance(entry, dict) for entry in document):
        raise TableError(
            f"{path}: reports are an object of key: text, or a list of objects", "table_columns"
        )
    columns = tuple(dict.fromkeys(name for entry in document for name in entry))
    records = tuple(
        Record(f"{path.name}, entry {number}", entry)
        for number, entry in enumerate(document, start=1)
    )
    yield from _table(Table(path, columns, records), names)


def _json_report(value: Any, place: str) -> Report:
    if isinstance(value, dict):
        return record_report(Record(place, value), section_columns(value))
    if isinstance(value, str):
        return Report.from_text(value)
    raise TableError(f"{place}: a report is a text or an object of sections", "table_columns")


def _folder(path: Path) -> Iterable[tuple[str, str, Report]]:
    files = sorted(path.rglob(f"*{_FILE_ENDING}"))
    for number, file in enumerate(files, start=1):
        # A file is named by the accession number of a patient: messages count files instead.
        place = f"{path.name}, text {number} of {len(files)} by name"
        try:
            text = read_text(file)
        except TableError as error:
            raise TableError(f"{place}: not readable as UTF-8 text", error.kind) from None
        yield file.name.removesuffix(_FILE_ENDING).strip(), place, Report.from_text(text)
