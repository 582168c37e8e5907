"""MONAI datalists: names from images, folds, reports within entries."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mg3d.data.layouts.catalogue import Catalogue
from mg3d.data.layouts.layout import LayoutOptions
from mg3d.data.layouts.monai_datalist import LAYOUT
from mg3d.data.layouts.table_error import TableError

Kinds = Callable[[Catalogue], list[str]]


def _read(folder: Path, content: Any) -> Catalogue:
    path = folder / "list.json"
    path.write_text(json.dumps(content))
    return LAYOUT.read(path, LayoutOptions())


def test_entries_are_paths_or_objects(tmp_path: Path, kinds: Kinds) -> None:
    catalogue = _read(
        tmp_path,
        {
            "training": [{"image": ["a/one.nii.gz"], "label": "a/mask.nii.gz", "report": "Clear."}],
            "validation": [{"image": "b\\two.nii.gz", "study_id": "s2", "patient_id": "p2"}],
            "testing": ["c/three.nii.gz"],
        },
    )
    assert [row.image for row in catalogue.rows] == [
        "a/one.nii.gz", "b/two.nii.gz", "c/three.nii.gz",
    ]  # fmt: skip
    assert [row.study_id for row in catalogue.rows] == ["one", "s2", "three"]
    assert [row.patient_id for row in catalogue.rows] == ["one", "p2", "three"]
    assert [row.split for row in catalogue.rows] == ["train", "val", "test"]
    assert catalogue.rows[0].report.findings == "Clear."
    assert kinds(catalogue) == ["id_patient_unknown"]


def test_images_of_the_same_name_are_named_by_their_folders(tmp_path: Path, kinds: Kinds) -> None:
    catalogue = _read(tmp_path, {"training": ["./p1/ct.nii.gz", "p2/ct.nii.gz"]})
    assert [row.volume_id for row in catalogue.rows] == ["p1_ct", "p2_ct"]
    assert kinds(catalogue) == ["id_patient_unknown"]
    catalogue = _read(
        tmp_path,
        {"training": [{"image": f"s/{n}.nii.gz", "study_id": "s"} for n in ("soft", "sharp")]},
    )
    assert [row.volume_id for row in catalogue.rows] == ["soft", "sharp"]
    assert {row.study_id for row in catalogue.rows} == {"s"}


def test_fold_0_is_held_out_where_there_is_no_validation_list(tmp_path: Path, kinds: Kinds) -> None:
    training = [{"image": f"{n}.nii.gz", "fold": n % 3} for n in range(6)]
    catalogue = _read(tmp_path, {"training": training})
    assert [row.split for row in catalogue.rows] == ["val", "train", "train"] * 2
    assert kinds(catalogue)[0] == "split_rule"
    catalogue = _read(tmp_path, {"training": training, "validation": ["v.nii.gz"]})
    assert [row.split for row in catalogue.rows] == ["train"] * 6 + ["val"]


@pytest.mark.parametrize(
    "content",
    [[], {"x": []}, {"training": [3]}, {"training": [{"image": ["a", "b"]}]}],
)
def test_what_is_no_datalist(content: Any, tmp_path: Path) -> None:
    with pytest.raises(TableError):
        _read(tmp_path, content)


@pytest.mark.parametrize(
    ("content", "is_one"),
    [
        ({"training": [{"image": "a"}]}, True),
        ({"testing": ["a"]}, True),
        ({"training": [{"image": "a"}], "modality": {"0": "CT"}}, False),
        ({"training": [{"img": "a"}]}, False),
        ({"training": []}, False),
        ([{"image": "a"}], False),
    ],
)
def test_recognition(content: Any, is_one: bool, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(content))
    assert LAYOUT.recognise(path) == is_one
    assert not LAYOUT.recognise(tmp_path)
