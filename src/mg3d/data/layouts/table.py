"""Table: the records of a CSV, TSV, JSON-lines or XLSX file, each with the line it stands on.

All layouts read their tables here, so that a damaged one is told in the same words everywhere.
Nothing of a cell ever stands in a message: where columns are mixed up, any cell is a report.
"""

import csv
import difflib
import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

from mg3d.data.layouts.table_error import TableError

ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".xlsx")
"""Files that `read_table` understands."""
_COLUMN_LIKE = re.compile("[a-z_]{1,20}")
_NEAR_NAME = 0.6  # studyid, patient and images are nearer; Patricia is not (0.56 to patient_id)
_LARGEST_PEEK = 1 << 28
"""Bytes; a larger file holds data rather than a list of it."""
_LARGEST_SHEETS = 1 << 30
"""Bytes of a spreadsheet when unpacked: sixty times Merlin's 16 MB, which is packed."""
_MOST_ROWS = 1 << 20
"""Of a spreadsheet, by its format."""
_LONGEST_CELL = 1 << 24
"""Characters; the csv module stops at 131,072 by default, which a long report exceeds."""


@dataclass(frozen=True)
class Record:
    """One row of a table."""

    place: str
    """File and line, as messages name it."""
    fields: dict[str, Any]
    """Column -> cell, as the file holds it."""

    def text(self, column: str) -> str:
        """The cell without surrounding white space; "" where it is empty or there is no such."""
        value = self.fields.get(column)
        if isinstance(value, float) and value.is_integer():  # spreadsheets know no whole numbers
            value = int(value)
        return "" if value is None else str(value).strip()


@dataclass(frozen=True)
class Table:
    """A table in memory."""

    path: Path
    columns: tuple[str, ...]
    records: tuple[Record, ...]

    def require(self, columns: Sequence[str], known: Sequence[str] = ()) -> None:
        """Stop where columns or all rows are missing.

        Args:
            columns: Those that must be there.
            known: Others that may be, for the message.

        Raises:
            TableError: With near names; a name of the file is shown only where it looks like one.
        """
        missing = [name for name in columns if name not in self.columns]
        if not self.records and (not self.columns or not missing):
            raise TableError(f"{self.path}: the table has no rows", "table_empty")
        if not missing:
            return
        # Without a header the first row stands here, report and all: only what looks like one of
        # the known names is shown, the rest is counted.
        listed = (*columns, *known)
        found = [name for name in listed if name in self.columns]
        folded = {_fold(column): column for column in self.columns if column not in listed}
        folded = {fold: column for fold, column in folded.items() if _COLUMN_LIKE.fullmatch(fold)}
        shown = []
        for name in missing:
            near = difflib.get_close_matches(_fold(name), folded, n=1, cutoff=_NEAR_NAME)
            shown.append(repr(name) + (f" (is {folded[near[0]]!r} meant?)" if near else ""))
        has_header = self.path.suffix.lower() not in (".jsonl", ".ndjson")
        raise TableError(
            f"{self.path}: column {', '.join(shown)} missing; found: "
            f"{', '.join(found) or 'none of them'}, and {len(self.columns) - len(found)} others. "
            f"Required: {', '.join(columns)}"
            + (f"; optional: {', '.join(known)}." if known else ".")
            + (" The first line must be the header." if has_header else ""),
            "table_columns",
        )


def _fold(name: str) -> str:
    return re.sub("[ -]", "_", name.lower())


def read_table(path: Path) -> Table:
    """Read a table as a whole.

    Args:
        path: ``.csv`` (comma, semicolon or tab), ``.tsv``, ``.jsonl`` or ``.xlsx`` (first sheet);
            UTF-8, the first line names the columns (JSON lines: the keys do).

    Raises:
        TableError: Missing, unreadable or not a table.
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise TableError(f"{path}: a table is one of {', '.join(ENDINGS)}", "table_unreadable")
    if ending == ".xlsx":
        return _table(path, "row", _sheet_records(path, _content(path)))
    text = read_text(path)
    if ending in (".jsonl", ".ndjson"):
        return _table(path, "line", _json_records(path, text))
    return _table(path, "line", _csv_records(path, text))


def read_text(path: Path) -> str:
    """A whole text file.

    Raises:
        TableError: If it is missing or not UTF-8.
    """
    try:
        return _content(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TableError(f"{path}: not UTF-8 text; save it as UTF-8", "table_unreadable") from error


def read_json(path: Path) -> Any:
    """The document of a JSON file.

    Raises:
        TableError: If it is missing, not UTF-8 or not JSON.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deeply"
        raise TableError(f"{path}: not JSON ({reason})", "table_unreadable") from error


def peek_json(path: Path) -> Any:
    """The document of a JSON file, None where there is none: quick, for recognising."""
    try:
        if path.stat().st_size > _LARGEST_PEEK:
            return None
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return None


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise TableError(
            f"{path}: there is no such file; check the path", "table_missing"
        ) from None
    except OSError as error:
        raise TableError(
            f"{path}: not readable ({error.strerror or type(error).__name__}); check its rights",
            "table_unreadable",
        ) from error


def _table(path: Path, unit: str, rows: Iterator[tuple[int, dict[str, Any]]]) -> Table:
    columns: dict[str, None] = {}
    records = []
    for number, fields in rows:
        columns.update(dict.fromkeys(fields))
        if number:  # 0 for the header itself
            records.append(Record(f"{path.name}, {unit} {number}", fields))
    return Table(path, tuple(columns), tuple(records))


def _csv_records(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    csv.field_size_limit(_LONGEST_CELL)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        columns = [name.strip() for name in next(reader, [])]
        _check_header(path, columns)
        yield 0, dict.fromkeys(columns)
        line = reader.line_num + 1
        for cells in reader:
            if cells and len(cells) != len(columns):
                raise TableError(
                    f"{path}, line {line}: {len(cells)} fields, the header has {len(columns)}. "
                    f"Quote texts that hold {delimiter!r}.",
                    "table_ragged",
                )
            if cells:  # the csv module gives [] for an empty line
                yield line, dict(zip(columns, cells, strict=True))
            line = reader.line_num + 1
    except csv.Error as error:
        raise TableError(
            f"{path}, line {line}: {error}; a quote is not closed?", "table_ragged"
        ) from error


def _check_header(path: Path, columns: Collection[str]) -> None:
    if len(set(columns)) != len(columns):
        raise TableError(
            f"{path}: {len(columns)} columns, {len(set(columns))} names; each needs its own name",
            "table_columns",
        )


def _json_records(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, document in enumerate(text.split("\n"), start=1):
        if not document.strip():
            continue
        try:
            record = json.loads(document)
        except (json.JSONDecodeError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deeply"
            raise TableError(f"{path}, line {line}: not JSON ({reason})", "table_ragged") from error
        if not isinstance(record, dict):
            raise TableError(
                f"{path}, line {line}: each line is one JSON object, {{...}}", "table_ragged"
            )
        yield line, record


def _sheet_records(path: Path, content: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    from openpyxl import load_workbook  # half a second, and most sites use CSV
    from openpyxl.utils.exceptions import InvalidFileException

    damage = (
        InvalidFileException, zipfile.BadZipFile, KeyError, ValueError, ParseError, OSError,
        AttributeError, TypeError, IndexError, EOFError, NotImplementedError, RuntimeError,
        ArithmeticError, struct.error, zlib.error,
    )  # fmt: skip
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(member.file_size for member in archive.infolist()) > _LARGEST_SHEETS:
                raise ValueError
        book = load_workbook(io.BytesIO(content), read_only=True, data_only=True)
        sheet = book.worksheets[0]
        sheet.reset_dimensions()  # a sheet that claims a million columns would be filled with them
        rows = list(_filled_rows(sheet))
    except damage as error:
        raise TableError(
            f"{path}: not readable as XLSX ({type(error).__name__}): damaged or another format. "
            "Save it again, or as CSV.",
            "table_unreadable",
        ) from error
    columns = ["" if name is None else str(name).strip() for name in (rows[0][1] if rows else [])]
    named = [column for column in columns if column]
    _check_header(path, named)
    yield 0, dict.fromkeys(named)
    for number, cells in rows[1:]:
        yield number, {name: cell for name, cell in zip(columns, cells, strict=False) if name}


def _filled_rows(sheet: Any) -> Iterator[tuple[int, list[Any]]]:
    """Rows that hold anything, by their number; a damaged number may claim rows without end."""
    for number, cells in enumerate(sheet.iter_rows(values_only=True), start=1):
        if number > _MOST_ROWS:
            raise ValueError
        if any(cell is not None for cell in cells):
            yield number, list(cells)
