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
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from mg3d.data.faults import Fault
from mg3d.data.layouts.catalogue import (
    Catalogue,
    CatalogueRow,
    check_identities,
    share_reports,
    shown,
)
from mg3d.data.layouts.layout import Layout, LayoutOptions
from mg3d.data.reports import Report
from mg3d.data.scan import ScanSource
from mg3d.data.splits import SPLITS, Split
from mg3d.errors import DataError
from mg3d.progress import console

REQUIRED_COLUMNS = ("study_id", "patient_id", "image")
_OPTIONAL_COLUMNS = ("volume_id", "findings", "impression", "report", "split")
_LABEL_PREFIX = "label:"
_TABLE_ENDINGS = (".csv", ".tsv")
_COLUMN_LIKE = re.compile("[a-z_]{1,20}")
_NEAR_NAME = 0.6  # studyid, patient and images are nearer; Patricia is not (0.56 to patient_id)
_SPLIT_NAMES: dict[str, Split] = {
    **{name: name for name in SPLITS}, "valid": "val", "validation": "val", "training": "train",
}  # fmt: skip


def recognise(path: Path) -> bool:
    """Whether a path is a table."""
    return path.is_file() and path.suffix.lower() in (*_TABLE_ENDINGS, ".jsonl", ".ndjson")


def read(path: Path, options: LayoutOptions) -> Catalogue:
    """Read and check a manifest.

    Args:
        path: A ``.csv`` (comma, semicolon or tab), ``.tsv`` or ``.jsonl`` file.
        options: ``labels`` is a CSV of ``study_id`` and one column a finding, instead of
            ``label:`` columns.

    Returns:
        Rows in the order of the file. All volumes of a study carry its one report.

    Raises:
        DataError: Not a table, or without the required columns.
    """
    labels = options.labels
    faults: list[Fault] = []
    records = list(_records(path))
    columns = list(records[0][1]) if records else []
    _check_columns(path, columns)
    names = tuple(c.removeprefix(_LABEL_PREFIX) for c in columns if c.startswith(_LABEL_PREFIX))
    rows = [_row(path.parent, line, record, names, faults) for line, record in records]
    rows = _name_volumes(rows)
    if labels is not None:
        if names:
            raise DataError(f"{path}: has label columns, and {labels} is named too; drop one")
        names, table = _read_labels(labels, faults)
        _match_labels(labels, table, {row.study_id for row in rows}, faults)
        unknown = (math.nan,) * len(names)
        rows = [replace(row, labels=table.get(row.study_id, unknown)) for row in rows]
    rows, at_odds = share_reports(rows)
    return Catalogue(
        layout=LAYOUT.name,
        folder=path.parent,
        rows=tuple(rows),
        label_names=names,
        faults=(*faults, *at_odds, *check_identities(rows)),
    )


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
    folder: Path,
    line: int,
    record: dict[str, Any],
    label_names: tuple[str, ...],
    faults: list[Fault],
) -> CatalogueRow:
    def text(name: str) -> str:
        value = record.get(name)
        return "" if value is None else str(value).strip()

    for name in REQUIRED_COLUMNS:
        if not text(name):
            faults.append(_fault(f"line {line}", f"{name} is empty"))
    split = text("split").lower()
    if split and split not in _SPLIT_NAMES:
        message = f"split is none of {', '.join(SPLITS)} ({len(split)} characters)"
        faults.append(_fault(f"line {line}", message))
    sections = Report(text("findings"), text("impression"))
    whole = Report.from_text(text("report"))
    if not sections.is_empty and not whole.is_empty:
        message = "both sections and a whole report; give one of them"
        faults.append(_fault(f"line {line}", message))
    image = text("image").replace("\\", "/")
    return CatalogueRow(
        place=f"line {line}",
        volume_id=text("volume_id"),
        study_id=text("study_id"),
        patient_id=text("patient_id"),
        source=ScanSource(path=folder / image),
        image=relative_image(image, folder),
        report=whole if sections.is_empty else sections,
        split=_SPLIT_NAMES.get(split),
        labels=tuple(
            _label(record.get(_LABEL_PREFIX + name), f"line {line}, label {name!r}", faults)
            for name in label_names
        ),
    )


def _label(value: Any, place: str, faults: list[Fault]) -> float:
    text = "" if value is None else str(value).strip()
    if text == "" or text.lower() == "nan":
        return math.nan
    known = {"1": 1.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0}
    if text not in known:
        faults.append(_fault(place, f"a label is 1, 0 or empty, not {len(text)} characters"))
    return known.get(text, math.nan)


def _name_volumes(rows: list[CatalogueRow]) -> list[CatalogueRow]:
    """Name unnamed volumes after their study: S, S_2, S_3, ... in the order of the file."""
    counts: dict[str, int] = {}
    named = []
    for row in rows:
        counts[row.study_id] = number = counts.get(row.study_id, 0) + 1
        name = row.study_id if number == 1 else f"{row.study_id}_{number}"
        named.append(row if row.volume_id else replace(row, volume_id=name))
    return named


def _read_labels(
    path: Path, faults: list[Fault]
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
            message = f"study {shown(study)} has labels already"
            faults.append(_fault(f"{path.name}, line {line}", message))
        table[study] = tuple(
            _label(record[name], f"{path.name}, line {line}, label {name!r}", faults)
            for name in names
        )
    return names, table


def _fault(place: str, message: str) -> Fault:
    return Fault(kind="table", message=message, place=place)


def _match_labels(
    path: Path, table: Collection[str], studies: set[str], faults: list[Fault]
) -> None:
    """Complain where no study has labels, and say so where only some have."""
    num_labelled = len(studies.intersection(table))
    num_unused = len(table) - num_labelled
    if not num_labelled:
        message = (
            f"none of its {len(table)} study ids is one of the {len(studies)} of the manifest. "
            "Spell them alike in both (spreadsheets drop leading zeros)."
        )
        faults.append(_fault(path.name, message))
    elif num_unused or num_labelled < len(studies):
        console.print(
            f"labels for {num_labelled} of {len(studies)} studies, {num_unused} rows of the table "
            "unused"
        )


def relative_image(image: str, folder: Path) -> str:
    """An image path as a store may keep it: relative to the manifest even if given absolute."""
    if not PurePosixPath(image).is_absolute():
        return image
    return Path(os.path.relpath(image, folder)).as_posix()


LAYOUT = Layout(
    name="manifest",
    summary="one table that names scans, reports, splits and labels",
    expects="a .csv, .tsv or .jsonl file with study_id, patient_id and image",
    recognise=recognise,
    read=read,
)
