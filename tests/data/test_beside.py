"""Voxels beside a header: found there, and nowhere else."""

from pathlib import Path

import pytest

from mg3d.data.readers.beside import data_beside
from mg3d.data.scan_error import ScanError


def test_a_file_beside_or_below_is_found(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("ct.raw", "deep/ct.raw"):
        (tmp_path / name).write_bytes(b"")
        assert data_beside(tmp_path / "ct.mhd", name) == tmp_path / name


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("gone.raw", "missing_file"), ("deep", "missing_file"), ("../ct.raw", "missing_file"),
        ("/etc/hostname", "missing_file"), ("a\0b", "missing_file"), ("LIST", "file_format"),
        ("ct%d.raw 1 9 1", "file_format"), ("a.raw b.raw", "file_format"),
    ],
)  # fmt: skip
def test_anything_else_is_refused(tmp_path: Path, name: str, kind: str) -> None:
    (tmp_path / "deep").mkdir()
    with pytest.raises(ScanError) as caught:
        data_beside(tmp_path / "ct.mhd", name)
    assert caught.value.kind == kind
