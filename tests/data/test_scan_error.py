"""ScanError keeps its kind on the way back from a worker process."""

import errno
import os
import pickle

from mg3d.data.scan_error import ScanError
from mg3d.errors import DataError


def test_kind_and_message_survive_another_process() -> None:
    error = pickle.loads(pickle.dumps(ScanError("too flat", "geometry_damaged")))
    assert isinstance(error, DataError)
    assert (error.kind, str(error), error.exit_code) == ("geometry_damaged", "too flat", 1)


def test_words_of_the_system_come_with_a_remedy_and_without_the_path() -> None:
    error = ScanError.from_os(OSError(errno.EIO, os.strerror(errno.EIO), "/site/secret.nii"))
    assert error.kind == "unreadable"
    assert str(error).startswith("Input/output error while reading the file. Check its rights")
    assert "secret" not in str(error)
    assert "BlockingIOError while" in str(ScanError.from_os(BlockingIOError()))
