"""Lists of checksums as `sha256sum` writes them."""

import os
from pathlib import Path

import pytest

from mg3d.audit.checksums import cached_checksums, read_checksums
from mg3d.errors import DataError

SUM = "ab" * 32


def test_both_forms_and_paths_are_read(tmp_path: Path) -> None:
    path = tmp_path / "SHA256SUMS"
    path.write_text(f"# made by hand\n\n{SUM}  a/b c.nii.gz\n{SUM.upper()} *./d.nii\n")
    folder = tmp_path.resolve()
    assert read_checksums(path) == {folder / "a/b c.nii.gz": SUM, folder / "d.nii": SUM}


@pytest.mark.parametrize("line", ["secret report text", f"{SUM[:-2]}  short.nii", SUM])
def test_another_list_is_refused_without_quoting_it(line: str, tmp_path: Path) -> None:
    path = tmp_path / "sums"
    path.write_text(f"{SUM}  a.nii\n{line}\n")
    with pytest.raises(DataError, match=r"sums, line 2: not a SHA-256") as raised:
        read_checksums(path)
    assert line not in str(raised.value)


def test_a_missing_list_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not readable as a list of checksums"):
        read_checksums(tmp_path / "none")


def test_a_list_that_changed_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "SHA256SUMS"
    path.write_text(f"{SUM}  a.nii\n")
    assert cached_checksums(path) is cached_checksums(path)
    path.write_text(f"{SUM}  b.nii\n")
    os.utime(path, ns=(1, 1))
    assert list(cached_checksums(path)) == [tmp_path.resolve() / "b.nii"]
