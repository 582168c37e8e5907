"""`prepare` killed at any moment, or on a disk that fills: run again, it makes the same bytes."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mg3d import files
from mg3d.data.preparation.prepare import prepare
from mg3d.data.store import VolumeStore, volume_path
from mg3d.data.volume_file import is_intact, read_header
from mg3d.errors import ConfigError, DataError, StorageError

Tree = Callable[[Path], dict[str, bytes]]


def _fill_disk_at(monkeypatch: pytest.MonkeyPatch, write: int) -> None:
    """Let the given write fail half-way as a full disk does."""
    original, count = files._write_all, 0

    def limited(stream: Any, payload: bytes) -> None:
        nonlocal count
        count += 1
        if count == write:
            stream.write(payload[: len(payload) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(stream, payload)

    monkeypatch.setattr(files, "_write_all", limited)


def test_a_disk_that_fills_at_any_write_loses_nothing(
    make_site: Any, tree: Tree, tmp_path: Path
) -> None:
    site = make_site(3)
    prepare(site.config(tmp_path / "fresh"))
    expected = tree(tmp_path / "fresh")
    messages = []
    for write in range(1, 100):
        settings = site.config(tmp_path / f"store{write}")
        with pytest.MonkeyPatch.context() as patch:
            _fill_disk_at(patch, write)
            try:
                prepare(settings)
                break
            except StorageError as error:
                messages.append(str(error))
        with pytest.raises(DataError, match=r"half-written|no store here"):
            VolumeStore.open(settings.out)
        prepare(settings)
        assert tree(settings.out) == expected, f"write {write}"
    # What is being prepared, three volumes, the four files of the store.
    assert len(messages) == 1 + 3 + 4
    assert all("no space left" in message for message in messages)


def test_a_disk_that_fills_while_an_old_store_is_renewed(
    make_site: Any, tree: Tree, tmp_path: Path, body: Any, write_nifti: Any
) -> None:
    """At no moment does a store answer with an index that is not that of its volumes."""
    site = make_site(2)
    for write in range(2, 12):
        _redraw(site, 0, body, write_nifti)
        settings = site.config(tmp_path / f"store{write}")
        prepare(settings)
        _redraw(site, write, body, write_nifti)
        with pytest.MonkeyPatch.context() as patch:
            _fill_disk_at(patch, write)
            try:
                prepare(settings)
            except StorageError:
                _check_hashes_if_it_opens(settings.out)
            else:
                break
        prepare(settings)
        prepare(site.config(tmp_path / f"fresh{write}"))
        assert tree(settings.out) == tree(tmp_path / f"fresh{write}")
    assert write == 1 + 2 + 4 + 1  # the write that no longer fails


def _redraw(site: Any, seed: int, body: Any, write_nifti: Any) -> None:
    """Give every scan of a site other voxels."""
    for number in range(len(site.rows)):
        scan = body(seed=100 * seed + number)
        write_nifti(site.image(number), scan, np.diag([3.0, 3, 4, 1]))


def _check_hashes_if_it_opens(path: Path) -> None:
    try:
        store = VolumeStore.open(path)
    except DataError:
        return
    for row in store.rows:
        header = read_header(volume_path(path, row.volume_id), row.volume_id)
        assert header.sha256 == row.volume_sha256
        assert is_intact(volume_path(path, row.volume_id), header)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_killed_in_the_middle_and_run_again(
    num_workers: int, make_site: Any, tree: Tree, tmp_path: Path, body: Any, write_nifti: Any
) -> None:
    site = make_site(7)
    for number in range(2, 7):  # the last ones take long enough to be interrupted
        write_nifti(site.image(number), body(number, (90, 80, 70)), np.diag([1.0, 1, 1, 1]))
    out = tmp_path / "store"
    command = [
        sys.executable, "-m", "mg3d", "prepare", str(site.manifest), str(out),
        "--geometry.grid", "[8,8,8]", "--geometry.spacing_mm", "[6,6,8]",
        "--num_workers", str(num_workers),
    ]  # fmt: skip
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 300
    while len(list(out.glob("volumes/s*"))) < 2:
        assert process.poll() is None, "it finished before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert 2 <= len(list(out.glob("volumes/s*"))) < 7
    with pytest.raises(DataError, match=r"half-written.*Run the same command again"):
        VolumeStore.open(out)
    again = subprocess.run(command, capture_output=True, check=False)
    assert again.returncode == 0, again.stderr.decode()
    prepare(site.config(tmp_path / "fresh"))
    assert tree(out) == tree(tmp_path / "fresh")


def test_a_half_written_store_also_guards_its_settings(make_site: Any, tmp_path: Path) -> None:
    settings = make_site(3).config(tmp_path / "store")
    with pytest.MonkeyPatch.context() as patch:
        _fill_disk_at(patch, 4)
        with pytest.raises(StorageError):
            prepare(settings)
    with pytest.raises(ConfigError, match="other settings"):
        prepare(replace(settings, clauses="sen_comma"))
    assert len(prepare(replace(settings, clauses="sen_comma", overwrite=True))) == 3


def test_leftovers_of_a_killed_write_disappear(make_site: Any, tree: Tree, tmp_path: Path) -> None:
    settings = make_site(3).config(tmp_path / "store")
    (tmp_path / "store/volumes").mkdir(parents=True)
    (tmp_path / "store/volumes/.s1.safetensors.abcd1234").write_bytes(b"half")
    (tmp_path / "store/.index.jsonl.abcd1234").write_bytes(b"half")
    prepare(settings)
    prepare(replace(settings, out=tmp_path / "fresh"))
    assert tree(tmp_path / "store") == tree(tmp_path / "fresh")
