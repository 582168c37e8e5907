"""Tables: the same records from every format, and every damage told without a cell's text."""

import io
import json
import random
import zipfile
from pathlib import Path
from typing import Any

import pytest
from openpyxl import Workbook

from mg3d.data.layouts.table import Record, peek_json, read_json, read_table, read_text
from mg3d.data.layouts.table_error import TableError

ROWS = [
    {"study_id": "007", "report": "Clear.\nNo nodule.", "x": "1"},
    {"study_id": "8", "report": 'A "mass"; 2,5 cm.', "x": ""},
]


def _write(folder: Path, ending: str) -> Path:
    path = folder / f"t{ending}"
    if ending == ".jsonl":
        path.write_text("\n".join(map(json.dumps, ROWS)))
    elif ending == ".xlsx":
        book = Workbook()
        book.active.append(list(ROWS[0]))
        for row in ROWS:
            book.active.append([cell or None for cell in row.values()])
        book.save(path)
    else:
        delimiter = "\t" if ending == ".tsv" else ","
        lines = [delimiter.join(ROWS[0])]
        for row in ROWS:
            lines.append(delimiter.join('"' + c.replace('"', '""') + '"' for c in row.values()))
        path.write_text("\n".join(lines) + "\n\n")
    return path


@pytest.mark.parametrize(
    ("ending", "places"),
    [
        (".csv", ["line 2", "line 4"]), (".tsv", ["line 2", "line 4"]),
        (".jsonl", ["line 1", "line 2"]), (".xlsx", ["row 2", "row 3"]),
    ],
)  # fmt: skip
def test_every_format_gives_the_same_records(
    ending: str, places: list[str], tmp_path: Path
) -> None:
    table = read_table(_write(tmp_path, ending))
    assert table.columns == ("study_id", "report", "x")
    assert [record.place for record in table.records] == [f"t{ending}, {p}" for p in places]
    for record, row in zip(table.records, ROWS, strict=True):
        assert {name: record.text(name) for name in row} == row
    assert table.records[0].text("no such column") == ""


def test_numbers_of_a_spreadsheet_are_spelled_as_in_a_csv() -> None:
    record = Record("row 2", {"a": 17.0, "b": 0.5, "c": 3, "d": None, "e": " x "})
    assert [record.text(name) for name in "abcde"] == ["17", "0.5", "3", "", "x"]


def test_a_line_separator_within_json_is_text(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"report": "One.\u2028Two."}\n', encoding="utf-8")
    assert read_table(path).records[0].text("report") == "One.\u2028Two."


def test_a_cell_may_be_longer_than_the_csv_module_allows(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1," + "x" * 200_000 + "\n")
    assert len(read_table(path).records[0].text("b")) == 200_000


DAMAGED: dict[str, tuple[str, Any, str, str]] = {
    "no such file": ("t.csv", None, "table_missing", "no such file"),
    "not UTF-8": ("t.csv", "a\nJos\u00e9".encode("latin-1"), "table_unreadable", "UTF-8"),
    "another ending": ("t.ods", b"a", "table_unreadable", "a table is one of"),
    "open quote": ("t.csv", b'a,b\n1,"SECRET\n', "table_ragged", "line 2: .*quote"),
    "too many cells": ("t.csv", b"a,b\n1,2,SECRET\n", "table_ragged", "3 fields, the header has 2"),
    "two columns of a name": ("t.csv", b"a,a\n1,2\n", "table_columns", "2 columns, 1 names"),
    "not JSON": ("t.jsonl", b'{"a": 1}\n{SECRET\n', "table_ragged", "line 2: not JSON"),
    "no object": ("t.jsonl", b'["SECRET"]\n', "table_ragged", "line 1: each line is one"),
    "deep JSON": ("t.jsonl", b"[" * 100_000, "table_ragged", "line 1: not JSON"),
    "no XLSX": ("t.xlsx", b"SECRET", "table_unreadable", "not readable as XLSX"),
    "truncated XLSX": ("t.xlsx", b"PK\x03\x04" + b"0" * 50, "table_unreadable", "XLSX"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_has_a_name(name: str, tmp_path: Path) -> None:
    file, content, kind, message = DAMAGED[name]
    if content is not None:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(TableError, match=message) as caught:
        read_table(tmp_path / file)
    assert caught.value.kind == kind
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".xlsx", "xml in .xlsx"])
def test_mutated_files_give_records_or_a_named_fault(ending: str, tmp_path: Path) -> None:
    """250 files a format here; 14,000 were tried when this was written."""
    original = _write(tmp_path, ending[-5:].strip()).read_bytes()
    target = tmp_path / f"mutated{ending[-5:].strip()}"
    for seed in range(250):
        draw = random.Random(seed)
        in_archive = ending.startswith("xml")
        target.write_bytes(
            _mutate_member(original, draw) if in_archive else _mutate(original, draw)
        )
        try:
            table = read_table(target)
        except TableError as error:
            assert error.kind.startswith("table_")  # noqa: PT017
            continue
        for record in table.records:
            assert all(isinstance(record.text(column), str) for column in table.columns)


def _mutate(content: bytes, draw: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.choice([1, 2, 10])):
        place = draw.randrange(len(changed) + 1)
        if draw.random() < 0.5:
            changed[place : place + draw.randrange(9)] = draw.randbytes(draw.randrange(5))
        else:
            changed[place:place] = changed[place : place + draw.randrange(40)]
    return bytes(changed)


def _mutate_member(content: bytes, draw: random.Random) -> bytes:
    """Damage within the XML, where the checksum of the archive does not notice it."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(stream, "w") as new:
        victim = draw.choice(old.namelist())
        for name in old.namelist():
            member = old.read(name)
            new.writestr(name, _mutate(member, draw) if name == victim else member)
    return stream.getvalue()


def test_missing_columns_and_rows_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("Study,b\n")
    with pytest.raises(TableError, match=r"column 'study_id' \(is 'Study' meant\?\)") as caught:
        read_table(path).require(("study_id",), ("b",))
    assert caught.value.kind == "table_columns"
    with pytest.raises(TableError, match="no rows") as caught:
        read_table(path).require(("b",))
    assert caught.value.kind == "table_empty"
    path.write_text("")
    with pytest.raises(TableError, match="no rows"):
        read_table(path).require(("b",))


def test_json_documents(tmp_path: Path) -> None:
    path = tmp_path / "d.json"
    path.write_text("\ufeff[1, 2]", encoding="utf-8")
    assert read_json(path) == peek_json(path) == [1, 2]
    assert read_text(path) == "[1, 2]"
    path.write_text("{SECRET")
    assert peek_json(path) is None
    with pytest.raises(TableError, match="not JSON"):
        read_json(path)
    assert peek_json(tmp_path / "gone.json") is None
    assert peek_json(tmp_path) is None
