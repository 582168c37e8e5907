"""The manifest: one table (CSV or JSON lines) that names scans, reports, splits and labels.

Columns: ``study_id``, ``patient_id``, ``image`` (path relative to the manifest) are required;
``volume_id``, ``findings``, ``impression``, ``report``, ``split`` and ``label:<name>`` are
optional. What is wrong with the table as such stops the command before any work, all complaints
at once and by line; what is wrong with one scan or report is left to `mg3d prepare`.
"""

import csv
import difflib
import io
import json
import math
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from mg3d.data.reports import Report
from mg3d.data.splits import SPLITS, Split
from mg3d.errors import DataError
from mg3d.progress import console

REQUIRED_COLUMNS = ("study_id", "patient_id", "image")
_OPTIONAL_COLUMNS = ("volume_id", "findings", "impression", "report", "split")
_LABEL_PREFIX = "label:"
_TABLE_ENDINGS = (".csv", ".tsv")
_MOST_COMPLAINTS = 20
_COLUMN_LIKE = re.compile("[a-z_]{1,20}")
_NEAR_NAME = 0.6  # studyid, patient and images are nearer; Patricia is not (0.56 to patient_id)
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=-]{0,199}")
_SPLIT_NAMES: dict[str, Split] = {
    **{name: name for name in SPLITS}, "valid": "val", "validation": "val", "training": "train",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ManifestRow:
    """One volume as the table names it."""

    line: int
    """Line of the file, the first is 1."""
    volume_id: str
    study_id: str
    patient_id: str
    image: str
    """Path relative to the manifest's folder, with forward slashes."""
    report: Report
    split: Split | None
    labels: tuple[float, ...] = ()
    """1, 0 or NaN for unknown, in the order of `Manifest.label_names`."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A whole table, consistent in itself."""

    folder: Path
    """What image paths are relative to."""
    rows: tuple[ManifestRow, ...]
    label_names: tuple[str, ...]


def read_manifest(path: Path, labels: Path | None = None) -> Manifest:
    """Read and check a manifest.

    Args:
        path: A ``.csv`` (comma, semicolon or tab), ``.tsv`` or ``.jsonl`` file.
        labels: A CSV of ``study_id`` and one column a finding, instead of ``label:`` columns.

    Returns:
        Rows in the order of the file. All volumes of a study carry its one report.

    Raises:
        DataError: Listing up to 20 complaints with their lines.
    """
    complaints: list[str] = []
    records = list(_records(path))
    columns = list(records[0][1]) if records else []
    _check_columns(path, columns)
    names = tuple(c.removeprefix(_LABEL_PREFIX) for c in columns if c.startswith(_LABEL_PREFIX))
    rows = [_row(line, record, names, complaints) for line, record in records]
    rows = _name_volumes(rows)
    if labels is not None:
        if names:
            raise DataError(f"{path}: has label columns, and {labels} is named too; drop one")
        names, table = _read_labels(labels, complaints)
        _match_labels(labels, table, {row.study_id for row in rows}, complaints)
        unknown = (math.nan,) * len(names)
        rows = [replace(row, labels=table.get(row.study_id, unknown)) for row in rows]
    rows = _share_reports(rows, complaints)
    _check_identities(rows, complaints)
    _stop_on(path, complaints)
    return Manifest(folder=path.parent, rows=tuple(rows), label_names=names)


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and fields of each row."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such manifest; check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: not readable as UTF-8 text ({type(error).__name__}); save it as UTF-8"
        ) from error
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        yield from _json_records(path, text)
    elif path.suffix.lower() in _TABLE_ENDINGS:
        yield from _csv_records(path, text)
    else:
        raise DataError(f"{path}: a manifest is a .csv, .tsv or .jsonl file")


def _csv_records(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 2
    try:
        for record in reader:
            if None in record or None in record.values():
                raise DataError(
                    f"{path}, line {line}: {_count_fields(record)} fields, the header has "
                    f"{len(reader.fieldnames or [])}. Quote texts that hold {delimiter!r}."
                )
            yield line, {(name or "").strip(): value for name, value in record.items()}
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}, line {line}: {error}; a quote is not closed?") from error


def _count_fields(record: dict[Any, Any]) -> int:
    extra = record.get(None) or []
    return sum(value is not None for key, value in record.items() if key is not None) + len(extra)


def _json_records(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    columns: dict[str, None] = {}
    records = []
    for line, document in enumerate(text.splitlines(), start=1):
        if not document.strip():
            continue
        try:
            record = json.loads(document)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}, line {line}: not JSON ({error.msg})") from error
        if not isinstance(record, dict):
            raise DataError(f"{path}, line {line}: each line is one JSON object, {{...}}")
        columns.update(dict.fromkeys(record))
        records.append((line, record))
    for line, record in records:  # absent keys count as empty
        yield line, {name: record.get(name) for name in columns}


def _check_columns(path: Path, columns: list[str]) -> None:
    if not columns:
        raise DataError(f"{path}: the manifest has no rows")
    missing = [name for name in REQUIRED_COLUMNS if name not in columns]
    if not missing:
        return
    known = (*REQUIRED_COLUMNS, *_OPTIONAL_COLUMNS)
    found = [name for name in known if name in columns]
    # Without a header the first row stands here, report and all: only what looks like one of our
    # names is shown, the rest is counted.
    folded = {re.sub("[ -]", "_", c.lower()): c for c in columns if c not in known}
    folded = {fold: c for fold, c in folded.items() if _COLUMN_LIKE.fullmatch(fold)}
    shown = []
    for name in missing:
        near = difflib.get_close_matches(name, folded, n=1, cutoff=_NEAR_NAME)
        shown.append(repr(name) + (f" (is {folded[near[0]]!r} meant?)" if near else ""))
    table = path.suffix.lower() in _TABLE_ENDINGS
    raise DataError(
        f"{path}: column {', '.join(shown)} missing; found: {', '.join(found) or 'none of them'}, "
        f"and {len(columns) - len(found)} others. Required: {', '.join(REQUIRED_COLUMNS)}; "
        f"optional: {', '.join(_OPTIONAL_COLUMNS)}, label:<name>."
        + (" The first line must be the header." if table else "")
    )


def _row(
    line: int, record: dict[str, Any], label_names: tuple[str, ...], complaints: list[str]
) -> ManifestRow:
    def text(name: str) -> str:
        value = record.get(name)
        return "" if value is None else str(value).strip()

    for name in REQUIRED_COLUMNS:
        if not text(name):
            complaints.append(f"line {line}: {name} is empty")
    split = text("split").lower()
    if split and split not in _SPLIT_NAMES:
        complaints.append(
            f"line {line}: split is none of {', '.join(SPLITS)} ({len(split)} characters)"
        )
    sections = Report(text("findings"), text("impression"))
    whole = Report.from_text(text("report"))
    if not sections.is_empty and not whole.is_empty:
        complaints.append(f"line {line}: both sections and a whole report; give one of them")
    return ManifestRow(
        line=line,
        volume_id=text("volume_id"),
        study_id=text("study_id"),
        patient_id=text("patient_id"),
        image=text("image").replace("\\", "/"),
        report=whole if sections.is_empty else sections,
        split=_SPLIT_NAMES.get(split),
        labels=tuple(
            _label(record.get(_LABEL_PREFIX + name), f"line {line}, label {name!r}", complaints)
            for name in label_names
        ),
    )


def _label(value: Any, place: str, complaints: list[str]) -> float:
    text = "" if value is None else str(value).strip()
    if text == "" or text.lower() == "nan":
        return math.nan
    known = {"1": 1.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0}
    if text not in known:
        complaints.append(f"{place}: a label is 1, 0 or empty, not {len(text)} characters")
    return known.get(text, math.nan)


def _name_volumes(rows: list[ManifestRow]) -> list[ManifestRow]:
    """Name unnamed volumes after their study: S, S_2, S_3, ... in the order of the file."""
    counts: dict[str, int] = {}
    named = []
    for row in rows:
        counts[row.study_id] = number = counts.get(row.study_id, 0) + 1
        name = row.study_id if number == 1 else f"{row.study_id}_{number}"
        named.append(row if row.volume_id else replace(row, volume_id=name))
    return named


def _read_labels(
    path: Path, complaints: list[str]
) -> tuple[tuple[str, ...], dict[str, tuple[float, ...]]]:
    records = list(_records(path))
    columns = list(records[0][1]) if records else []
    if "study_id" not in columns or len(columns) < 2:
        raise DataError(
            f"{path}: a label table has study_id and one column a finding, named by its first line"
        )
    names = tuple(column for column in columns if column != "study_id")
    table: dict[str, tuple[float, ...]] = {}
    for line, record in records:
        study = str(record["study_id"]).strip()
        if study in table:
            complaints.append(f"{path.name}, line {line}: study {_shown(study)} has labels already")
        table[study] = tuple(
            _label(record[name], f"{path.name}, line {line}, label {name!r}", complaints)
            for name in names
        )
    return names, table


def _match_labels(
    path: Path, table: Collection[str], studies: set[str], complaints: list[str]
) -> None:
    """Complain where no study has labels, and say so where only some have."""
    num_labelled = len(studies.intersection(table))
    num_unused = len(table) - num_labelled
    if not num_labelled:
        complaints.append(
            f"{path.name}: none of its {len(table)} study ids is one of the {len(studies)} of the "
            "manifest. Spell them alike in both (spreadsheets drop leading zeros)."
        )
    elif num_unused or num_labelled < len(studies):
        console.print(
            f"labels for {num_labelled} of {len(studies)} studies, {num_unused} rows of the table "
            "unused"
        )


def _share_reports(rows: list[ManifestRow], complaints: list[str]) -> list[ManifestRow]:
    """Give every volume of a study the study's report; two different ones are a mistake."""
    first: dict[str, ManifestRow] = {}
    for row in rows:
        if row.report.is_empty:
            continue
        known = first.setdefault(row.study_id, row)
        if known.report.report_id != row.report.report_id:
            complaints.append(
                f"line {row.line}: study {_shown(row.study_id)} has another report in line "
                f"{known.line}"
            )
    return [
        replace(row, report=first[row.study_id].report) if row.study_id in first else row
        for row in rows
    ]


def _check_identities(rows: list[ManifestRow], complaints: list[str]) -> None:
    volumes: dict[str, int] = {}
    patients: dict[str, ManifestRow] = {}
    splits: dict[str, ManifestRow] = {}
    some_split = any(row.split for row in rows)
    for row in rows:
        # A volume without a name of its own is named after its study: one complaint is enough.
        for name, value in (("study_id", row.study_id), ("volume_id", row.volume_id)):
            if value and not _SAFE_NAME.fullmatch(value):
                complaints.append(
                    f"line {row.line}: {name} ({len(value)} characters) names files: up to 200 "
                    "letters, digits and ._+=-, starting with a letter or digit. Rename it."
                )
                break
        key = row.volume_id.casefold()  # some file systems do not tell A from a
        if key in volumes:
            complaints.append(
                f"line {row.line}: volume id {_shown(row.volume_id)} stands in line "
                f"{volumes[key]} too"
            )
        volumes.setdefault(key, row.line)
        owner = patients.setdefault(row.study_id, row)
        if owner.patient_id != row.patient_id:
            complaints.append(
                f"line {row.line}: study {_shown(row.study_id)} belongs to another patient in line "
                f"{owner.line}"
            )
        side = splits.setdefault(row.patient_id, row)
        if side.split != row.split and row.split and side.split:
            complaints.append(
                f"line {row.line}: patient {_shown(row.patient_id)} is in {row.split}, and in "
                f"{side.split} in line {side.line}; a patient belongs to one split"
            )
        if some_split and not row.split:
            complaints.append(f"line {row.line}: split is empty; fill it in every row or in none")


def _shown(name: str) -> str:
    """An id as a message may hold it: where columns are mixed up, an id is a report or a person."""
    return repr(name) if _SAFE_NAME.fullmatch(name) else f"of {len(name)} characters"


def _stop_on(path: Path, complaints: list[str]) -> None:
    if complaints:
        shown = "\n  ".join(complaints[:_MOST_COMPLAINTS])
        more = len(complaints) - _MOST_COMPLAINTS
        raise DataError(
            f"{path}: {len(complaints)} problem(s) in the manifest; correct the rows and run the "
            f"same command again.\n  {shown}" + (f"\n  and {more} more" if more > 0 else "")
        )


def relative_image(image: str, folder: Path) -> str:
    """An image path as a store may keep it: relative to the manifest even if given absolute."""
    if not PurePosixPath(image).is_absolute():
        return image
    return Path(os.path.relpath(image, folder)).as_posix()
