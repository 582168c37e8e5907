"""What is checked of every layout's rows: identities, splits, reports of a study."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mg3d.data.layouts.catalogue import (
    CatalogueRow,
    assemble,
    check_identities,
    patients_unknown,
    share_reports,
    shown,
)
from mg3d.data.scan import ScanSource
from mg3d.data.text.reports import Report
from mg3d.errors import DataError


def _row(number: int = 0, **changes: Any) -> CatalogueRow:
    row = CatalogueRow(
        place=f"line {number}", volume_id=f"v{number}", study_id=f"s{number}",
        patient_id=f"p{number}", source=ScanSource(path=Path("x")), image="x", report=Report(),
    )  # fmt: skip
    return replace(row, **changes)


MISTAKES: dict[str, tuple[Sequence[CatalogueRow], str]] = {
    "id_unsafe": ([_row(volume_id="a/b")], "volume_id (3 characters) names files"),
    "id_twice": ([_row(0, volume_id="V"), _row(1, volume_id="v")], "'v' stands in line 0 too"),
    "id_study_of_two_patients": (
        [_row(0, study_id="s"), _row(1, study_id="s")], "belongs to another patient in line 0",
    ),
    "split_patient_in_two": (
        [_row(0, patient_id="p", split="train"), _row(1, patient_id="p", split="val")],
        "'p' is in val, and in train in line 0",
    ),
    "split_incomplete": ([_row(0, split="train"), _row(1)], "split is empty"),
}  # fmt: skip


@pytest.mark.parametrize("kind", MISTAKES)
def test_each_contradiction_has_a_name(kind: str) -> None:
    rows, message = MISTAKES[kind]
    (fault,) = check_identities(rows)
    assert fault.kind == kind
    assert message in fault.message
    catalogue = assemble("x", Path(), rows)
    with pytest.raises(DataError, match=r"1 problem\(s\) in the tables"):
        catalogue.require_sound(Path("site"))


def test_warnings_and_notes_stop_nothing() -> None:
    rows = [_row(0), _row(1)]
    catalogue = assemble("x", Path(), rows, faults=[patients_unknown(rows)])
    catalogue.require_sound(Path())
    assert "each of the 2 scans counts as one" in catalogue.faults[0].message


def test_no_rows_is_a_fault() -> None:
    assert [fault.kind for fault in assemble("x", Path(), []).faults] == ["scan_none"]


def test_a_study_has_one_report() -> None:
    clear, other = Report("Clear."), Report("Other.")
    rows = [_row(0, study_id="s"), _row(1, study_id="s", report=clear), _row(2)]
    shared, faults = share_reports(rows)
    assert [row.report for row in shared] == [clear, clear, Report()]
    assert faults == []
    _, faults = share_reports([*rows, _row(3, study_id="s", report=other)])
    assert [fault.kind for fault in faults] == ["report_contradiction"]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.sampled_from(["train", "test"])))
)
def test_contradictions_are_those_of_the_definition(draws: list[tuple[int, int, Any]]) -> None:
    rows = [
        _row(number, study_id=f"s{study}", patient_id=f"p{patient}", split=split)
        for number, (study, patient, split) in enumerate(draws)
    ]
    kinds = {fault.kind for fault in check_identities(rows)}
    owners = {(row.study_id, row.patient_id) for row in rows}
    sides = {(row.patient_id, row.split) for row in rows}
    assert ("id_study_of_two_patients" in kinds) == (len(owners) > len({s for s, _ in owners}))
    assert ("split_patient_in_two" in kinds) == (len(sides) > len({p for p, _ in sides}))


def test_what_may_be_a_sentence_is_not_shown() -> None:
    assert shown("train_1") == "'train_1'"
    assert shown("Mr Smith") == "of 8 characters"
