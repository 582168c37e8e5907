"""Rad-ChestCT: locations become findings, patients come from the metadata."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mg3d.data.layouts.catalogue import Catalogue
from mg3d.data.layouts.label_table import LabelTable
from mg3d.data.layouts.layout import LayoutOptions
from mg3d.data.layouts.rad_chestct import KEY, LAYOUT, over_locations


def test_a_finding_is_present_where_it_is_anywhere() -> None:
    nan = math.nan
    labels = LabelTable(
        "l.csv",
        ("nodule*left", "mass*left", "nodule*right", "mass*right"),
        {"a": (0, 0, 1, 0), "b": (nan, nan, 0, nan)},
        {"a": "", "b": ""},
    )
    merged = over_locations(labels)
    assert merged.names == ("nodule", "mass")
    assert merged.of("a") == (1, 0)
    assert merged.of("b")[0] == 0
    assert math.isnan(merged.of("b")[1])


def test_patients_and_leaks_between_splits(
    exported: Callable[[str], Any], kinds: Callable[[Catalogue], list[str]]
) -> None:
    site = exported("rad_chestct")
    catalogue = site.read()
    assert {row.split for row in catalogue.rows} == {"train", "val", "test"}
    assert kinds(catalogue) == []
    site.change("CT_Scan_Metadata_Complete.csv", "val_00000", "train_00000")
    assert kinds(site.read()) == ["split_patient_in_two"]
    site.change("CT_Scan_Metadata_Complete.csv", "trn00001", "trn99999")
    assert kinds(site.read())[0] == "table_fact_missing"
    (site.folder / "CT_Scan_Metadata_Complete.csv").unlink()
    catalogue = site.read()
    assert kinds(catalogue) == ["id_patient_unknown"]
    assert all(row.patient_id == row.volume_id for row in catalogue.rows)


def test_what_does_not_fit_is_said(
    exported: Callable[[str], Any], kinds: Callable[[Catalogue], list[str]]
) -> None:
    site = exported("rad_chestct")
    (site.folder / "trn00001.npz").unlink()
    (site.folder / "other.npz").touch()
    assert kinds(site.read()) == ["file_unlisted", "label_orphan"]


def test_reports_of_one_s_own(exported: Callable[[str], Any], tmp_path: Path) -> None:
    site = exported("rad_chestct")
    path = tmp_path / "own.csv"
    names = sorted(file.stem for file in site.folder.glob("*.npz"))
    path.write_text(f"{KEY},report\n" + "".join(f"{name},Clear.\n" for name in names))
    catalogue = site.read(reports=path)
    assert {row.report.findings for row in catalogue.rows} == {"Clear."}


@pytest.mark.parametrize("name", ["trn1.npz", "imgtest_Abnormality_and_Location_Labels.csv"])
def test_volumes_or_labels_are_recognised(name: str, tmp_path: Path) -> None:
    assert not LAYOUT.recognise(tmp_path)
    (tmp_path / name).touch()
    assert LAYOUT.recognise(tmp_path)


def test_no_volume_at_all(tmp_path: Path, kinds: Callable[[Catalogue], list[str]]) -> None:
    assert "scan_none" in kinds(LAYOUT.read(tmp_path, LayoutOptions()))
