"""Notices: a line a kind, the worst first, with the first places and no more."""

import pytest

from mg3d.data.faults import Fault
from mg3d.data.preparation.notices import show_notices
from mg3d.progress import console


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(console, "quiet", False)
    monkeypatch.setattr(console, "_width", 200)
    return lambda: capsys.readouterr().err


def _labels(*places: str) -> list[Fault]:
    return [Fault(kind="label_missing", message="no row", place=place) for place in places]


def test_kinds_are_counted_and_first_places_named(said) -> None:
    note = Fault(kind="split_rule", message="the 3 entries of fold 0 are val")
    show_notices([note, *_labels("line 2", "line 4", "line 6", "line 8", "line 10")])
    lines = [line for line in said().splitlines() if "warning" in line or "note" in line]
    assert len(lines) == 2
    assert all(word in lines[0] for word in ("warning", "label_missing", "5", "line 2: no row"))
    assert "also line 4, line 6, line 8, ..." in lines[0]
    assert "line 10" not in lines[0]
    assert all(word in lines[1] for word in ("note", "split_rule", "1", "fold 0"))
    assert "also" not in lines[1]


def test_few_places_are_all_named(said) -> None:
    show_notices(_labels("line 2", "line 4"))
    shown = said()
    assert "also line 4" in shown
    assert "..." not in shown


def test_markup_in_names_is_no_markup(said) -> None:
    show_notices(_labels("[bold]line[/] 2"))
    assert "[bold]line[/] 2" in said()


def test_what_stops_or_sets_aside_is_said_elsewhere(said) -> None:
    show_notices([])
    show_notices([Fault(kind="id_twice", message="x"), Fault(kind="missing_file", message="y")])
    assert said() == ""
