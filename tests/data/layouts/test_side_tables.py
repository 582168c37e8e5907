"""Side tables: reports and labels beside a layout that has none."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mg3d.data.faults import Fault
from mg3d.data.layouts.catalogue import Catalogue
from mg3d.data.layouts.layout import LayoutOptions
from mg3d.data.layouts.side_tables import attach_tables


def test_a_missing_row_is_a_fault_on_either_side(
    exported: Callable[[str], Any], kinds: Callable[[Catalogue], list[str]]
) -> None:
    site = exported("nnunet")
    first = site.text("reports.csv").splitlines()[1].split(",")[0]
    site.change("reports.csv", first, "elsewhere")
    site.change("findings.csv", first, "elsewhere")
    catalogue = site.read()
    assert kinds(catalogue) == [
        "split_rule", "report_orphan", "label_orphan", "label_missing", "id_patient_unknown",
    ]  # fmt: skip
    (row,) = [row for row in catalogue.rows if row.study_id == first]
    assert row.report.is_empty


def test_nothing_is_attached_without_tables(doll: Catalogue) -> None:
    faults: list[Fault] = []
    assert attach_tables(doll.rows, LayoutOptions(), faults) == (list(doll.rows), ())
    assert faults == []


def test_the_key_may_have_another_name(doll: Catalogue, tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    path.write_text("case,x\n" + "".join(f"{row.study_id},1\n" for row in doll.rows))
    faults: list[Fault] = []
    rows, names = attach_tables(doll.rows, LayoutOptions(labels=path), faults)
    assert names == ("x",)
    assert {row.labels for row in rows} == {(1.0,)}
    assert faults == []
