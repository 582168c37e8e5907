"""Merlin: findings with an impression in the middle of a line, labels with -1, splits."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mg3d.data.layouts.catalogue import Catalogue
from mg3d.data.layouts.layout import LayoutOptions
from mg3d.data.layouts.merlin import LABELS, LAYOUT
from mg3d.data.layouts.table_error import TableError
from mg3d.data.text.reports import Report


def _site(folder: Path, *rows: str) -> Path:
    text = "study id,Findings,Split,Few Shot\n" + "\n".join(rows) + "\n"
    (folder / "reports_final.csv").write_text(text)
    (folder / "merlin_data").mkdir(exist_ok=True)
    for row in rows:
        (folder / "merlin_data" / f"{row.split(',')[0]}.nii.gz").touch()
    return folder


@pytest.mark.parametrize(
    ("text", "report"),
    [
        ("Liver: normal. IMPRESSION: No change.", Report("Liver: normal.", "No change.")),
        ("FINDINGS: Liver normal.  IMPRESSION: 1. Stable.", Report("Liver normal.", "1. Stable.")),
        ("Liver normal.", Report("Liver normal.")),
        ("", Report()),
    ],
)
def test_the_column_findings_may_hold_an_impression(
    text: str, report: Report, tmp_path: Path
) -> None:
    site = _site(tmp_path, f'AC1,"{text}",train,0')
    assert LAYOUT.read(site, LayoutOptions()).rows[0].report == report


def test_not_mentioned_is_unknown(exported: Callable[[str], Any]) -> None:
    site = exported("merlin")
    lines = site.text(LABELS).splitlines()
    cells = lines[1].split(",")
    (site.folder / LABELS).write_text(
        "\n".join([lines[0], ",".join([cells[0], "-1", *cells[2:]]), *lines[2:]])
    )
    row = next(row for row in site.read().rows if row.study_id == cells[0])
    assert math.isnan(row.labels[0])
    assert row.labels[1:] == tuple(map(float, cells[2:]))


def test_what_does_not_fit_is_said(tmp_path: Path, kinds: Callable[[Catalogue], list[str]]) -> None:
    site = _site(tmp_path, "AC1,Clear.,train,0", "AC1,Clear.,train,0", "AC2,Clear.,holdout,0")
    (site / "merlin_data" / "AC3.nii.gz").touch()
    (site / LABELS).write_text("study id,cyst\nAC1,1\nAC9,0\n")
    catalogue = LAYOUT.read(site, LayoutOptions())
    assert kinds(catalogue) == [
        "file_unlisted", "split_unknown", "label_orphan", "label_missing", "id_patient_unknown",
        "id_twice", "split_incomplete",
    ]  # fmt: skip
    assert "AC3" in catalogue.faults[0].message


def test_a_scan_that_is_not_here_is_a_missing_file(tmp_path: Path) -> None:
    site = _site(tmp_path, "AC1,Clear.,train,0")
    (site / "merlin_data" / "AC1.nii.gz").unlink()
    (row,) = LAYOUT.read(site, LayoutOptions()).rows
    assert row.image == "merlin_data/AC1.nii.gz"


def test_the_spreadsheet_is_required(tmp_path: Path) -> None:
    (tmp_path / LABELS).write_text("study id,cyst\n")
    assert LAYOUT.recognise(tmp_path)
    with pytest.raises(TableError, match=r"reports_final\.xlsx: there is no such file"):
        LAYOUT.read(tmp_path, LayoutOptions())
    (tmp_path / "reports_final.csv").write_text("study id,Findings\n")
    with pytest.raises(TableError, match="column 'Split'"):
        LAYOUT.read(tmp_path, LayoutOptions())
