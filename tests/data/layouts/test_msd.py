"""Medical Segmentation Decathlon: lists, modality, images that no list names."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mg3d.data.layouts.catalogue import Catalogue
from mg3d.data.layouts.layout import LayoutOptions
from mg3d.data.layouts.msd import FILE, LAYOUT
from mg3d.data.layouts.table_error import TableError

Kinds = Callable[[Catalogue], list[str]]


def _edit(site: Any, **changes: Any) -> None:
    content = json.loads(site.text(FILE)) | changes
    (site.folder / FILE).write_text(json.dumps(content))


def test_without_tables_there_are_neither_reports_nor_labels(
    exported: Callable[[str], Any], kinds: Kinds
) -> None:
    catalogue = exported("msd").read(labels=None, reports=None)
    assert all(row.report.is_empty and row.labels == () for row in catalogue.rows)
    assert kinds(catalogue) == ["id_patient_unknown"]


def test_the_description_itself_may_be_named(exported: Callable[[str], Any]) -> None:
    site = exported("msd")
    assert LAYOUT.recognise(site.folder / FILE)
    rows = LAYOUT.read(site.folder / FILE, LayoutOptions()).rows
    assert rows == LAYOUT.read(site.folder, LayoutOptions()).rows


def test_what_does_not_fit_is_said(exported: Callable[[str], Any], kinds: Kinds) -> None:
    site = exported("msd")
    (site.folder / "imagesTr/other.nii.gz").touch()
    (site.folder / "imagesTr/._other.nii.gz").touch()  # what macOS leaves in the published archives
    _edit(site, numTraining=99, modality={"0": "MRI"})
    catalogue = site.read()
    assert kinds(catalogue) == [
        "scan_modality", "table_count", "file_unlisted", "id_patient_unknown",
    ]  # fmt: skip
    assert "imagesTr/other.nii.gz" in catalogue.faults[2].message
    _edit(site, modality={"0": "CT", "1": "PET"})
    assert kinds(site.read())[0] == "scan_modality"


def test_what_is_no_description(tmp_path: Path) -> None:
    for content in ("[]", '{"modality": {"0": "CT"}, "training": [{"label": "x"}]}'):
        (tmp_path / FILE).write_text(content)
        with pytest.raises(TableError):
            LAYOUT.read(tmp_path, LayoutOptions())
    (tmp_path / FILE).write_text("[]")
    assert not LAYOUT.recognise(tmp_path)
