"""A folder of DICOM files, and reports by accession number or StudyInstanceUID.

Reports are a table, a JSON file or a folder of texts (see `report_table`), or structured reports
among the DICOM files. Patients, studies and series get pseudonyms; no id, name or path of the
source leaves this file except in the table of links that a user asks for.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from mg3d.data.faults import Fault
from mg3d.data.layouts.catalogue import Catalogue, CatalogueRow, assemble
from mg3d.data.layouts.label_table import read_labels
from mg3d.data.layouts.layout import Layout, LayoutOptions
from mg3d.data.layouts.pseudonyms import Pseudonyms, open_key
from mg3d.data.layouts.report_table import ReportTable, key_column, read_reports
from mg3d.data.layouts.table import ENDINGS, read_table
from mg3d.data.layouts.table_error import TableError
from mg3d.data.readers.dicom.files import find_files, is_dicom
from mg3d.data.readers.dicom.index import SeriesEntry, index_dicom
from mg3d.data.readers.dicom.report import read_sr
from mg3d.data.scan import ScanSource
from mg3d.data.scan_error import ScanError
from mg3d.data.text.reports import Report
from mg3d.files import PRIVATE, write_atomic

KEYS = ("AccessionNumber", "Accession", "StudyInstanceUID", "StudyUID", "study_id")
"""Key columns of reports and labels, most preferred first; case, spaces and _ do not count."""
_MOST_TRIED = 20
"""Files that recognising looks into."""


@dataclass(frozen=True)
class _Series:
    entry: SeriesEntry
    row: CatalogueRow

    def names(self) -> tuple[str, ...]:
        """What reports and labels of its study may be filed under."""
        return tuple(filter(None, (self.entry.accession_number, self.entry.study_uid)))


def recognise(path: Path) -> bool:
    """Whether a folder holds DICOM files."""
    if not path.is_dir():
        return False
    try:
        return any(is_dicom(file) for file in islice(find_files(path), _MOST_TRIED))
    except ScanError:
        return False


def read(path: Path, options: LayoutOptions) -> Catalogue:
    """The catalogue of a DICOM folder.

    Args:
        path: Looked into with all folders below it. Without ``reports``, a file or folder there
            that is called reports is taken.
        options: ``reports``, ``labels``: by accession number or StudyInstanceUID; ``key``: of the
            pseudonyms; ``links``: where to write what they stand for.

    Raises:
        TableError: If the folder or a table cannot be read.
    """
    faults: list[Fault] = []
    entries = _index(path, faults)
    pseudonyms = open_key(options.key, path)
    series = [_Series(entry, _row(entry, pseudonyms)) for entry in entries if entry.is_image]
    _count_left_out(entries, faults)
    reports = options.reports or _find_reports(path)
    if reports is not None:
        table = read_reports(reports, KEYS, faults)
        series = _attach(series, table, faults)
    series = _with_structured_reports(series, entries, faults)
    names: tuple[str, ...] = ()
    if options.labels is not None:
        series, names = _with_labels(series, options.labels, faults)
    if options.links is not None:
        _write_links(options.links, path, series)
    rows = [each.row for each in series]
    return assemble(LAYOUT.name, path, rows, label_names=names, faults=faults, private_names=True)


def _index(path: Path, faults: list[Fault]) -> tuple[SeriesEntry, ...]:
    if not path.is_dir():
        raise TableError(f"{path}: there is no such folder; check the path", "table_missing")
    damaged: Counter[str] = Counter()
    try:
        entries = index_dicom(path, on_damage=lambda _, error: damaged.update([error.kind]))
    except ScanError as error:
        raise TableError(f"{path}: {error}", "table_unreadable") from error
    for kind, number in sorted(damaged.items()):
        message = f"{number} files begin as DICOM and cannot be read"
        faults.append(Fault(kind="file_damaged", message=f"{message} ({kind})"))
    return entries


def _row(entry: SeriesEntry, pseudonyms: Pseudonyms) -> CatalogueRow:
    """A series as a volume; what the headers leave empty is replaced by the next narrower id."""
    study = entry.study_uid or entry.series_uid or entry.path.as_posix()
    volume_id = pseudonyms.of("series", study, entry.series_uid or entry.path.as_posix())
    study_id = pseudonyms.of("study", study)
    image = f"{study_id}/{volume_id}"
    return CatalogueRow(
        place=image,
        volume_id=volume_id,
        study_id=study_id,
        patient_id=pseudonyms.of("patient", entry.patient_id or study),
        source=ScanSource(path=entry.path, series_uid=entry.series_uid),
        image=image,
        report=Report(),
    )


def _count_left_out(entries: Sequence[SeriesEntry], faults: list[Fault]) -> None:
    """Say how many series are no CT volumes, and where patients are unknown."""
    others = Counter(
        entry.modality or "unknown"
        for entry in entries
        if not entry.is_image and entry.modality != "SR"
    )
    if others:
        counts = ", ".join(f"{name} {number}" for name, number in sorted(others.items()))
        message = f"{others.total()} series are no CT volumes, by modality: {counts}"
        faults.append(Fault(kind="scan_left_out", message=message))
    nameless = {entry.study_uid for entry in entries if entry.is_image and not entry.patient_id}
    if nameless:
        message = f"{len(nameless)} studies name no patient; each counts as one"
        faults.append(Fault(kind="id_patient_unknown", message=message))


def _find_reports(path: Path) -> Path | None:
    """A table, JSON file or folder called reports beside the DICOM files."""
    candidates = [path / f"reports{ending}" for ending in (*ENDINGS, ".json")]
    found = [file for file in candidates if file.is_file()]
    folder = path / "reports"
    if folder.is_dir() and next(folder.rglob("*.txt"), None) is not None:
        found.append(folder)
    if len(found) > 1:
        raise TableError(
            f"{path}: {', '.join(file.name for file in found)} could each be the reports; name "
            "one with --reports",
            "table_row_twice",
        )
    return found[0] if found else None


def _attach(series: Sequence[_Series], table: ReportTable, faults: list[Fault]) -> list[_Series]:
    """Reports by accession number, else by UID."""
    _check_accessions(series, table, faults)
    filed = {
        each.row.volume_id: next((name for name in each.names() if name in table.reports), "")
        for each in series
    }
    # A study may have a report under both of its names, and studies without images have none.
    known = {name for each in series for name in each.names()}
    spare = known.difference(filed.values())
    rows = table.only(lambda name: name not in spare).attach(
        [each.row for each in series], faults, lambda row: filed[row.volume_id]
    )
    return [replace(each, row=row) for each, row in zip(series, rows, strict=True)]


def _check_accessions(series: Sequence[_Series], table: ReportTable, faults: list[Fault]) -> None:
    """Hospitals number alike: one accession number of two patients cannot name a report."""
    patients: dict[str, set[str]] = {}
    for each in series:
        if each.entry.accession_number in table.reports:
            patients.setdefault(each.entry.accession_number, set()).add(each.row.patient_id)
    if ambiguous := sum(len(owners) > 1 for owners in patients.values()):
        message = (
            f"{ambiguous} accession numbers of reports belong to more than one patient. File the "
            "reports by StudyInstanceUID."
        )
        faults.append(Fault(kind="id_accession_ambiguous", message=message, place=table.place))


def _with_structured_reports(
    series: Sequence[_Series], entries: Iterable[SeriesEntry], faults: list[Fault]
) -> list[_Series]:
    """Reports from structured reports, for studies that no table gives one.

    Several of one study, such as a report and its addendum, are read one after the other.
    """
    texts: dict[str, list[str]] = {}
    num_damaged = 0
    for entry in entries:
        for file in entry.files if entry.modality == "SR" else ():
            try:
                text = read_sr(file)
            except ScanError:
                num_damaged += 1
                continue
            if text and text not in texts.setdefault(entry.study_uid, []):
                texts[entry.study_uid].append(text)
    if num_damaged:
        message = f"{num_damaged} structured reports cannot be read"
        faults.append(Fault(kind="file_damaged", message=message))
    orphans = texts.keys() - {each.entry.study_uid for each in series}
    if orphans:
        message = f"{len(orphans)} of {len(texts)} structured reports are of studies without CT"
        faults.append(Fault(kind="report_orphan", message=message))
    return [
        replace(each, row=replace(each.row, report=Report.from_text("\n\n".join(found))))
        if each.row.report.is_empty and (found := texts.get(each.entry.study_uid))
        else each
        for each in series
    ]


def _with_labels(
    series: Sequence[_Series], path: Path, faults: list[Fault]
) -> tuple[list[_Series], tuple[str, ...]]:
    table = read_table(path)
    key = key_column(table.columns, KEYS)
    if key is None:
        table.require((KEYS[0],), KEYS[1:])
    labels = read_labels(table, key or KEYS[0], faults, private=True)
    pseudonyms = {name: each.row.study_id for each in series for name in each.names()}
    by_study = labels.renamed(lambda name: pseudonyms.get(name, name))
    if num_twice := len(labels.values) - len(by_study.values):
        message = f"{num_twice} rows are of a study that has labels under its other name too"
        faults.append(Fault(kind="label_twice", message=message, place=path.name))
    faults += by_study.match({each.row.study_id for each in series}, "study")
    return [
        replace(each, row=replace(each.row, labels=by_study.of(each.row.study_id)))
        for each in series
    ], labels.names


def _write_links(path: Path, folder: Path, series: Iterable[_Series]) -> None:
    """What each pseudonym stands for; the only place where names of the source are written."""
    columns: list[Mapping[str, str]] = [
        {
            "volume_id": each.row.volume_id,
            "study_id": each.row.study_id,
            "patient_id": each.row.patient_id,
            "PatientID": each.entry.patient_id,
            "AccessionNumber": each.entry.accession_number,
            "StudyInstanceUID": each.entry.study_uid,
            "SeriesInstanceUID": each.entry.series_uid,
            "folder": each.entry.path.relative_to(folder).as_posix(),
        }
        for each in series
    ]
    stream = io.StringIO()
    table = csv.DictWriter(stream, list(columns[0]) if columns else [], lineterminator="\n")
    table.writeheader()
    table.writerows(columns)
    write_atomic(path, stream.getvalue(), mode=PRIVATE)


LAYOUT = Layout(
    name="dicom",
    summary="DICOM series, and reports by accession number or StudyInstanceUID; pseudonymised",
    expects=(
        "a folder of DICOM files, sorted in any way; reports.csv (.json, .xlsx ...), or a folder "
        "reports of .txt files named by their key, or structured reports among the DICOM files"
    ),
    recognise=recognise,
    read=read,
    pseudonymises=True,
)
