"""Atomic writes: a full disk or a crash leaves the old file, and says so."""

import errno
from pathlib import Path

import pytest

from mg3d import files
from mg3d.errors import StorageError


def full_disk(stream, payload):
    stream.write(payload[: len(payload) // 2])
    raise OSError(errno.ENOSPC, "No space left on device")


def test_replaces_content(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file.json"
    files.write_atomic(target, b"old")
    files.write_atomic(target, "new")
    assert target.read_text() == "new"


def test_full_disk_keeps_the_old_file_and_no_temporary(tmp_path: Path, monkeypatch) -> None:
    target = tmp_path / "file"
    files.write_atomic(target, b"old content")
    monkeypatch.setattr(files, "_write_all", full_disk)
    with pytest.raises(StorageError, match="no space left while writing 11 bytes"):
        files.write_atomic(target, b"new content")
    assert target.read_bytes() == b"old content"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_full_disk_while_appending_is_named(tmp_path: Path, monkeypatch) -> None:
    log = tmp_path / "log"
    files.append_line(log, "one")
    monkeypatch.setattr(files, "_write_all", full_disk)
    with pytest.raises(StorageError, match="adding a line"):
        files.append_line(log, "two")
    assert log.read_text().startswith("one\n")


def test_a_folder_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file, not a folder")
    with pytest.raises(StorageError, match="taken"):
        files.write_atomic(tmp_path / "taken" / "file", b"x")


def test_json_has_the_same_bytes_for_the_same_content(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a", {"x": 1, "y": [2]})
    files.write_json(tmp_path / "b", {"y": [2], "x": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_stale_temporaries_of_a_killed_write_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".store.json.abcd1234").write_text("half")
    (tmp_path / "store.json").write_text("whole")
    files.remove_stale_temporaries(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["store.json"]
