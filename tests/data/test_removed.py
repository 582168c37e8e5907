"""The list of removed patients: recognises them, names nobody, remembers which stores held them."""

from pathlib import Path

import pytest

from mg3d.data.preparation.removed import REMOVED_FILE, RemovedPatients
from mg3d.errors import DataError


def test_it_recognises_and_does_not_name(tmp_path: Path) -> None:
    removed = RemovedPatients.read(tmp_path).plus("MRN-4711", "train", "a" * 64, "b" * 64)
    removed.write(tmp_path)
    again = RemovedPatients.read(tmp_path)
    assert again == removed
    assert again.barred(["MRN-4711", "MRN-4712"]) == {"MRN-4711"}
    assert b"4711" not in (tmp_path / REMOVED_FILE).read_bytes()
    found = again.find("MRN-4711")
    assert found is not None
    assert (found.split, found.before) == ("train", "a" * 64)
    assert again.find("MRN-4712") is None


def test_two_stores_name_a_patient_differently(tmp_path: Path) -> None:
    one, two = (RemovedPatients.read(tmp_path / name) for name in "ab")
    assert one.digest("p") != two.digest("p")


def test_readmitting_the_last_one_leaves_no_file(tmp_path: Path) -> None:
    removed = RemovedPatients.read(tmp_path).plus("p", "val", "a", "b").plus("q", "", "b", "c")
    removed.write(tmp_path)
    less = RemovedPatients.read(tmp_path).without(["p"])
    assert less.barred(["p", "q"]) == {"q"}
    less.without(["q"]).write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_list_stops(tmp_path: Path) -> None:
    for content in ("", "{", '{"schema": "other", "salt": "00"}', '{"schema": 1}\n[]'):
        (tmp_path / REMOVED_FILE).write_text(content)
        with pytest.raises(DataError, match="removed patients could come back"):
            RemovedPatients.read(tmp_path)


def test_history_follows_removals_and_stops_where_prepare_came_between() -> None:
    removed = RemovedPatients(salt="00" * 16)
    removed = removed.plus("early", "test", "h0", "h1")  # then prepare added scans: h1 -> h5
    for name, before, after in (("p", "h5", "h6"), ("q", "h6", "h7"), ("r", "h7", "h8")):
        removed = removed.plus(name, "train", before, after)
    history = removed.history("q", "h8")
    assert history.with_patient == {"h5", "h6"}
    assert history.without_patient == {"h7", "h8"}
    assert history.split == "train"
    assert "h0" not in history.with_patient  # the patient may have come with the scans after h1
    assert removed.history("r", "h9").without_patient == {"h8", "h9"}
