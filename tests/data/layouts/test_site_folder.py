"""SiteFolder: files in a stable order, hidden ones apart, and no guessing between two."""

from pathlib import Path

import pytest

from mg3d.data.layouts.site_folder import list_folder, stem
from mg3d.data.layouts.table_error import TableError


def test_files_below_a_folder(tmp_path: Path) -> None:
    for name in ("b/x.nii.gz", "a/Y.NII", "a/.hidden.nii", ".git/z.nii", "t.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    site = list_folder(tmp_path)
    assert [site.relative(file) for file in site.files] == ["t.csv", "a/Y.NII", "b/x.nii.gz"]
    assert [site.relative(file) for file in site.scans()] == ["a/Y.NII", "b/x.nii.gz"]
    assert site.named(r"T\.csv") == [tmp_path / "t.csv"]
    assert site.the_one(r"t\.csv", "the table") == tmp_path / "t.csv"
    assert site.the_one(r"u\.csv", "the table") is None
    with pytest.raises(TableError, match=r"2 files could be the scan: a/Y\.NII, b/x"):
        site.the_one(r".*\.nii(\.gz)?", "the scan")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="no such folder"):
        list_folder(tmp_path / "gone")


def test_names_without_the_ending_of_a_scan() -> None:
    names = ("a.nii.gz", "a.b.nii", "a.NPZ", "a.txt")
    assert [stem(name) for name in names] == ["a", "a.b", "a", "a.txt"]
