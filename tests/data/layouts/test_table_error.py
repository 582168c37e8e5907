"""TableError: its fault is known, and it survives the way from a worker process."""

import pickle

import pytest

from mg3d.data.layouts.table_error import TableError


def test_its_name_is_one_of_the_table() -> None:
    assert TableError("x", "table_missing").kind == "table_missing"
    with pytest.raises(ValueError, match="not in the table"):
        TableError("x", "nonsense")


def test_it_can_be_sent() -> None:
    error = pickle.loads(pickle.dumps(TableError("a.csv: gone", "table_missing")))
    assert (str(error), error.kind) == ("a.csv: gone", "table_missing")
