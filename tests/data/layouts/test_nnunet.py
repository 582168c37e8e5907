"""nnU-Net raw: the CT among several channels, folds, files that are no cases."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mg3d.data.layouts.catalogue import Catalogue
from mg3d.data.layouts.layout import LayoutOptions
from mg3d.data.layouts.msd import FILE
from mg3d.data.layouts.nnunet import LAYOUT, SPLITS_FILE
from mg3d.data.layouts.table_error import TableError

Kinds = Callable[[Catalogue], list[str]]


def _site(folder: Path, *images: str, **description: Any) -> Path:
    for image in images:
        (folder / image).parent.mkdir(parents=True, exist_ok=True)
        (folder / image).touch()
    content = {"channel_names": {"0": "CT"}, "file_ending": ".nii.gz"} | description
    (folder / FILE).write_text(json.dumps(content))
    return folder


def _read(folder: Path) -> Catalogue:
    return LAYOUT.read(folder, LayoutOptions())


def test_the_channel_called_ct_is_taken(tmp_path: Path, kinds: Kinds) -> None:
    images = [f"imagesTr/case_{case}_{channel:04d}.nii.gz" for case in "ab" for channel in (0, 1)]
    site = _site(tmp_path, *images[:3], channel_names={"0": "PET", "1": "CT"}, numTraining=2)
    catalogue = _read(site)
    assert [row.image for row in catalogue.rows] == [images[1], images[3]]
    assert not catalogue.rows[1].source.path.exists()  # its CT is missing, its PET is there
    assert kinds(catalogue) == ["id_patient_unknown"]


@pytest.mark.parametrize("names", [{"0": "MRI"}, {"0": "CT", "1": "CT"}, {}, ["CT"]])
def test_exactly_one_channel_is_ct(names: Any, tmp_path: Path, kinds: Kinds) -> None:
    site = _site(tmp_path, "imagesTr/a_0000.nii.gz", channel_names=names)
    assert kinds(_read(site))[0] == "scan_modality"


def test_the_first_fold_is_held_out(tmp_path: Path, kinds: Kinds) -> None:
    images = ["imagesTr/a_0000.nii.gz", "imagesTr/b_0000.nii.gz", "imagesTs/c_0000.nii.gz"]
    site = _site(tmp_path, *images)
    assert [row.split for row in _read(site).rows] == ["train", "train", "test"]
    (site / SPLITS_FILE).write_text('[{"train": ["a"], "val": ["b"]}, {"train": [], "val": ["a"]}]')
    catalogue = _read(site)
    assert [row.split for row in catalogue.rows] == ["train", "val", "test"]
    assert kinds(catalogue) == ["split_rule", "id_patient_unknown"]
    (site / SPLITS_FILE).write_text('[{"fold": 0}]')
    with pytest.raises(TableError, match="train and val"):
        _read(site)


def test_without_folds_and_test_set_patients_are_divided_by_their_hash(tmp_path: Path) -> None:
    site = _site(tmp_path, "imagesTr/a_0000.mha", file_ending=".mha")
    (row,) = _read(site).rows
    assert (row.image, row.split) == ("imagesTr/a_0000.mha", None)


def test_what_does_not_fit_is_said(tmp_path: Path, kinds: Kinds) -> None:
    site = _site(tmp_path, "imagesTr/a_0000.nii.gz", "imagesTr/b.nii.gz", numTraining=3)
    catalogue = _read(site)
    assert kinds(catalogue) == ["file_unlisted", "table_count", "id_patient_unknown"]


def test_version_1_is_told_from_the_decathlon(tmp_path: Path) -> None:
    site = _site(tmp_path, "imagesTr/a_0000.nii.gz")
    (site / FILE).write_text('{"modality": {"0": "CT"}, "training": []}')
    assert LAYOUT.recognise(site)
    (site / FILE).write_text("[]")
    assert not LAYOUT.recognise(site)
    with pytest.raises(TableError, match="not a JSON object"):
        _read(site)
