"""Reports by key from tables, JSON and folders of texts; keys are personal and never shown."""

import json
from pathlib import Path
from typing import Any

import pytest

from mg3d.data.faults import Fault
from mg3d.data.layouts.catalogue import CatalogueRow
from mg3d.data.layouts.report_table import read_reports, section_columns
from mg3d.data.layouts.table_error import TableError
from mg3d.data.scan import ScanSource
from mg3d.data.text.reports import Report

KEYS = ("AccessionNumber", "StudyInstanceUID")
EXPECTED = {
    "A1": Report("Clear lungs.", "Normal."), "A2": Report("A nodule.", "Nodule."),
}  # fmt: skip
TEXT = {key: f"Findings: {r.findings}\nImpression: {r.impression}" for key, r in EXPECTED.items()}
SECTIONS = [
    {"accession number": key, "Findings": r.findings, "Impressions": r.impression}
    for key, r in EXPECTED.items()
]


def _table(folder: Path) -> Path:
    path = folder / "r.csv"
    path.write_text(
        "accession_number,Findings_EN,Impressions_EN\nA1,Clear lungs.,Normal.\n"
        "A2,A nodule.,Nodule.\n"
    )
    return path


def _whole(folder: Path) -> Path:
    path = folder / "r.jsonl"
    rows = [{"AccessionNumber": key, "Report Text": text} for key, text in TEXT.items()]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def _document(content: Any) -> Any:
    def write(folder: Path) -> Path:
        path = folder / "r.json"
        path.write_text(json.dumps(content))
        return path

    return write


def _folder(folder: Path) -> Path:
    for number, (key, text) in enumerate(TEXT.items()):
        path = folder / "texts" / str(number) / f"{key}.txt"
        path.parent.mkdir(parents=True)
        path.write_text(text)
    return folder / "texts"


FORMS = {
    "table of sections": _table,
    "table of whole reports": _whole,
    "JSON of texts": _document(TEXT),
    "JSON of sections": _document(
        {k: {"findings": r.findings, "impression": r.impression} for k, r in EXPECTED.items()}
    ),
    "JSON list": _document(SECTIONS),
    "folder": _folder,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_reports(form: str, tmp_path: Path) -> None:
    faults: list[Fault] = []
    table = read_reports(FORMS[form](tmp_path), KEYS, faults)
    assert table.reports == EXPECTED
    assert faults == []
    assert not any("A1" in place or "A2" in place for place in table.places.values())


def test_the_preferred_key_column_wins(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("StudyInstanceUID,AccessionNumber,report\n1.2,A1,Clear.\n")
    assert list(read_reports(path, KEYS, []).reports) == ["A1"]
    assert list(read_reports(path, KEYS[1:], []).reports) == ["1.2"]


def test_two_reports_of_one_key(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    text = "id,report\nA1,\nA1,Clear.\nA1,clear.\nA1,Nodule.\n,Orphan.\n"
    path.write_text(text)
    faults: list[Fault] = []
    table = read_reports(path, "id", faults)
    assert table.reports == {"A1": Report("Clear.")}
    assert [(f.kind, f.place) for f in faults] == [
        ("report_contradiction", "r.csv, line 5"), ("table_cell_empty", "r.csv, line 6"),
    ]  # fmt: skip
    assert not any("A1" in fault.message for fault in faults)


def _row(study: str, report: Report | None = None) -> CatalogueRow:
    return CatalogueRow(
        place=study, volume_id=study, study_id=study, patient_id=study, image=study,
        source=ScanSource(path=Path(study)), report=report or Report(),
    )  # fmt: skip


def test_attach_names_what_does_not_fit(tmp_path: Path) -> None:
    table = read_reports(_table(tmp_path), KEYS, [])
    faults: list[Fault] = []
    rows = table.attach([_row("A1"), _row("B")], faults)
    assert [row.report for row in rows] == [EXPECTED["A1"], Report()]
    assert [fault.kind for fault in faults] == ["report_orphan"]
    faults.clear()
    table.attach([_row("A1", Report("Other.")), _row("A2")], faults)
    assert [(fault.kind, fault.place) for fault in faults] == [("report_contradiction", "A1")]
    faults.clear()
    table.attach([_row("B")], faults)
    assert [fault.kind for fault in faults] == ["report_no_match"]
    faults.clear()
    lower = table.renamed(str.lower).only(lambda key: key == "a1")
    assert lower.attach([_row("a1")], faults)[0].report == EXPECTED["A1"]
    assert faults == []


def test_columns_of_sections() -> None:
    assert section_columns(["x", "FINDINGS", "Conclusion"]) == ("FINDINGS", "Conclusion", None)
    assert section_columns(["Report Text"]) == (None, None, "Report Text")


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("r.csv", "id,b\n1,2\n", "table_columns"),
        ("r.csv", "x,report\n1,2\n", "table_columns"),
        ("r.csv", "id,report\n", "table_empty"),
        ("r.json", "3", "table_columns"),
        ("r.json", '{"SECRET": 3}', "table_columns"),
        ("r.pdf", "x", "table_unreadable"),
    ],
)
def test_what_holds_no_reports(name: str, content: str, kind: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(TableError) as caught:
        read_reports(tmp_path / name, "id", [])
    assert caught.value.kind == kind
    assert "SECRET" not in str(caught.value)


def test_a_text_that_is_not_utf8_is_named_by_its_number(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    (folder / "0" / "SECRET.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(TableError, match="texts, text 2 of 3 by name: not readable") as caught:
        read_reports(folder, KEYS, [])
    assert "SECRET" not in str(caught.value)
    with pytest.raises(TableError, match="reports are a folder"):
        read_reports(tmp_path / "gone", KEYS, [])
