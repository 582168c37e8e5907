"""CTRG-Chest: assumed window and spacing are said, lists that overlap, folders without entry."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mg3d.data.layouts.catalogue import Catalogue
from mg3d.data.layouts.ctrg_chest import LAYOUT, NOMINAL_SPACING_MM, WINDOW_HU
from mg3d.data.layouts.layout import LayoutOptions
from mg3d.data.layouts.table_error import TableError

Kinds = Callable[[Catalogue], list[str]]


def _site(folder: Path, content: Any, *slices: str) -> Path:
    for name in slices:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (folder / "reports.json").write_text(json.dumps(content))
    return folder


def _read(folder: Path) -> Catalogue:
    return LAYOUT.read(folder, LayoutOptions())


def _entry(number: int, path: Any, **more: Any) -> dict[str, Any]:
    return {"id": number, "image_path": path, "report": "Clear.", "result": "None.", **more}


def test_no_name_of_a_person_is_kept(tmp_path: Path, kinds: Kinds) -> None:
    site = _site(
        tmp_path,
        [_entry(1, "/data/chest/SECRET_ONE"), _entry(2, ["SECRET_TWO/a_1.jpg"])],
        "jpg/SECRET_ONE/a_1.jpg", "jpg/SECRET_TWO/a_1.jpg", "jpg/SECRET_THREE/a_1.jpg",
    )  # fmt: skip
    catalogue = _read(site)
    assert [row.source.path.name for row in catalogue.rows] == ["SECRET_ONE", "SECRET_TWO"]
    assert all(row.source.path.is_dir() for row in catalogue.rows)
    said = [(row.image, row.volume_id, row.place) for row in catalogue.rows]
    assert "SECRET" not in str((said, catalogue.faults))
    assert catalogue.private_names
    assert kinds(catalogue) == [
        "file_unlisted", "geometry_assumed", "hu_window_assumed", "id_patient_unknown",
    ]  # fmt: skip
    assert catalogue.rows[0].report.impression == "None."
    assert catalogue.rows[0].split is None


def test_window_and_spacing_are_taken_where_they_are_stated(tmp_path: Path, kinds: Kinds) -> None:
    content = [
        _entry(1, "a", spacing_mm=[0.7, 0.7, 5], window_hu=[-160, 240]),
        _entry(2, "b", spacing_mm="thin", window_hu=[1]),
    ]
    catalogue = _read(_site(tmp_path, content))
    first, second = (row.source.stated for row in catalogue.rows)
    assert (first.spacing_mm, first.window_hu) == ((0.7, 0.7, 5.0), (-160.0, 240.0))
    assert (second.spacing_mm, second.window_hu) == (NOMINAL_SPACING_MM, WINDOW_HU)
    assert first.axes == second.axes == "LPI"
    assert kinds(catalogue)[:4] == [
        "table_fact_malformed", "table_fact_malformed", "geometry_assumed", "hu_window_assumed",
    ]  # fmt: skip
    assert "1 scans state no spacing_mm" in catalogue.faults[2].message


def test_an_entry_of_two_lists_belongs_to_the_test(tmp_path: Path, kinds: Kinds) -> None:
    content = {"train": [_entry(1, "a")], "val": [_entry(2, "b")], "test": [_entry(2, "b")]}
    catalogue = _read(_site(tmp_path, content))
    assert {row.study_id: row.split for row in catalogue.rows} == {"1": "train", "2": "test"}
    assert kinds(catalogue)[0] == "table_entry_twice"


def test_one_json_file_must_fit(tmp_path: Path) -> None:
    site = _site(tmp_path, {"images": []})
    assert not LAYOUT.recognise(site)
    with pytest.raises(TableError, match="0 JSON files"):
        _read(site)
    _site(tmp_path, [_entry(1, "a")])
    assert LAYOUT.recognise(site)
    (site / "copy.json").write_text((site / "reports.json").read_text())
    with pytest.raises(TableError, match="2 JSON files"):
        _read(site)
