"""ScanError keeps its kind on the way back from a worker process."""

import pickle

from mg3d.data.scan_error import ScanError
from mg3d.errors import DataError


def test_kind_and_message_survive_another_process() -> None:
    error = pickle.loads(pickle.dumps(ScanError("too flat", "geometry")))
    assert isinstance(error, DataError)
    assert (error.kind, str(error), error.exit_code) == ("geometry", "too flat", 1)
