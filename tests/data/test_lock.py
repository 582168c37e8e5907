"""The lock: one writer at a time, whoever died before."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mg3d.data.preparation.lock import LOCK_FILE, locked
from mg3d.errors import ConfigError, StorageError

HOLD = """
import sys
from pathlib import Path
from mg3d.data.preparation.lock import locked
with locked(Path(sys.argv[1]), "prepare"):
    print("held", flush=True)
    sys.stdin.read()
"""


def _holder(folder: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_another_process_is_named(tmp_path: Path) -> None:
    process = _holder(tmp_path / "store")
    try:
        with (
            pytest.raises(ConfigError, match=rf"`mg3d prepare` \(process {process.pid} on .+\) is"),
            locked(tmp_path / "store", "remove"),
        ):
            pass
    finally:
        process.communicate()
    with locked(tmp_path / "store", "remove"):
        pass
    assert list((tmp_path / "store").iterdir()) == []


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    process = _holder(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert json.loads((tmp_path / LOCK_FILE).read_text())["pid"] == process.pid
    with locked(tmp_path, "prepare"):
        assert json.loads((tmp_path / LOCK_FILE).read_text())["pid"] == os.getpid()
    assert not (tmp_path / LOCK_FILE).exists()


def test_it_is_given_back_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path, "prepare"):
        raise ZeroDivisionError
    with locked(tmp_path, "prepare"):
        pass


def test_a_file_system_without_locks_is_said_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mg3d.progress import console

    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    console.quiet = False
    with locked(tmp_path, "prepare"):
        pass
    assert "no locks" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"), locked(tmp_path / "file/s", "x"):
        pass
