"""Files that no row names: found beside listed scans, not in folders of other material."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mg3d.data.faults import Fault
from mg3d.data.layouts.catalogue import Catalogue, CatalogueRow
from mg3d.data.layouts.layout import AUTO, LayoutOptions, read_catalogue
from mg3d.data.layouts.unlisted import find_unlisted, with_unlisted
from mg3d.data.scan import ScanSource
from mg3d.data.text.reports import Report


def make(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def catalogue(folder: Path, *images: str) -> Catalogue:
    rows = tuple(
        CatalogueRow(
            place="", volume_id=str(number), study_id=str(number), patient_id=str(number),
            source=ScanSource(path=folder / image), image=image, report=Report(),
        )
        for number, image in enumerate(images)
    )  # fmt: skip
    return Catalogue(layout="manifest", folder=folder, rows=rows)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    make(tmp_path, "a/1.nii.gz", "a/2.nii.gz", "a/deep/3.mha", "b/4.nii.gz", "a/notes.txt")
    make(tmp_path, "a/series/IM1.dcm", "a/series/IM2.dcm", "a/.5.nii.gz.x1y2z3a4")
    return tmp_path


def test_scans_beside_listed_ones_are_found(site: Path) -> None:
    (fault,) = find_unlisted(catalogue(site, "a/1.nii.gz", "a/series"))
    assert fault.kind == "file_unlisted"
    assert fault.message.startswith("2 image file(s)")
    assert fault.message.endswith("a/2.nii.gz, a/deep/3.mha")


def test_nothing_is_found_where_all_is_listed(site: Path) -> None:
    listed = ("a/1.nii.gz", "a/../a/2.nii.gz", "a/deep/3.mha", "a/series")
    assert find_unlisted(catalogue(site, *listed)) == []
    assert find_unlisted(catalogue(site)) == []
    outside = catalogue(site / "b", "../a/1.nii.gz")
    assert find_unlisted(outside) == []


def test_scans_beside_the_table_are_found_without_their_folders(site: Path) -> None:
    make(site, "0.nii.gz", "9.nii.gz")
    (fault,) = find_unlisted(catalogue(site, "0.nii.gz"))
    assert fault.message.endswith("9.nii.gz")
    assert fault.message.startswith("1 image")


def test_private_names_stay_private(site: Path) -> None:
    private = replace(catalogue(site, "a/1.nii.gz"), private_names=True)
    (fault,) = find_unlisted(private)
    assert "nii" not in fault.message


def test_what_a_layout_has_noticed_stays(site: Path) -> None:
    before = replace(
        catalogue(site, "a/1.nii.gz"), faults=(Fault(kind="split_rule", message="by fold"),)
    )
    assert [fault.kind for fault in with_unlisted(before).faults] == ["split_rule", "file_unlisted"]


def test_each_layout_says_once_what_it_leaves_out(tmp_path: Path) -> None:
    """One that lists the folder itself, and ones whose table names each file."""
    make(tmp_path / "raw", "imagesTr/case_0000.nii.gz", "imagesTr/stray.nii.gz")
    description = {
        "channel_names": {"0": "CT"}, "numTraining": 1, "file_ending": ".nii.gz", "labels": {},
    }  # fmt: skip
    (tmp_path / "raw/dataset.json").write_text(json.dumps(description))
    make(tmp_path / "list", "images/1.nii.gz", "images/2.nii.gz")
    (tmp_path / "list/list.json").write_text(json.dumps({"training": ["images/1.nii.gz"]}))
    table = "study_id,patient_id,image\n1,1,images/1.nii.gz\n"
    (tmp_path / "list/list.csv").write_text(table)
    for place in ("raw", "list/list.json", "list/list.csv"):
        faults = read_catalogue(tmp_path / place, AUTO, LayoutOptions()).faults
        assert [fault.kind for fault in faults].count("file_unlisted") == 1, place
