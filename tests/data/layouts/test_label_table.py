"""Labels: values, keys given twice, and what has no counterpart."""

import math
from pathlib import Path

import pytest

from mg3d.data.faults import Fault
from mg3d.data.layouts.label_table import LabelTable, read_labels
from mg3d.data.layouts.table import read_table
from mg3d.data.layouts.table_error import TableError


def _read(
    folder: Path, text: str, faults: list[Fault], name: str = "l.csv", private: bool = False
) -> LabelTable:
    (folder / name).write_text(text)
    return read_labels(read_table(folder / name), "id", faults, private=private)


def test_one_zero_and_unknown(tmp_path: Path) -> None:
    faults: list[Fault] = []
    labels = _read(tmp_path, "id,a,b,c\ns,1,0,\nt,1.0,0.0,nan\n", faults)
    assert labels.names == ("a", "b", "c")
    for key in "st":
        assert labels.of(key)[:2] == (1.0, 0.0)
        assert math.isnan(labels.of(key)[2])
    assert all(map(math.isnan, labels.of("unknown")))
    assert faults == []


def test_what_is_no_label_is_named_without_its_text(tmp_path: Path) -> None:
    faults: list[Fault] = []
    labels = _read(tmp_path, "id,a\ns,SECRET\ns,1\nt,2\n", faults)
    assert [fault.kind for fault in faults] == ["label_value", "label_twice", "label_value"]
    assert [fault.place for fault in faults] == [
        "l.csv, line 2, label 'a'", "l.csv, line 3", "l.csv, line 4, label 'a'",
    ]  # fmt: skip
    assert "a label is 1, 0 or empty, not 6 characters" in faults[0].message
    assert math.isnan(labels.of("s")[0])
    assert not any("SECRET" in fault.message for fault in faults)


def test_personal_keys_are_not_shown(tmp_path: Path) -> None:
    shown: list[Fault] = []
    hidden: list[Fault] = []
    text = "id,a\nACC77,1\nACC77,0\n"
    _read(tmp_path, text, shown)
    _read(tmp_path, text, hidden, private=True)
    assert "ACC77" in shown[0].message
    assert "ACC77" not in hidden[0].message
    assert shown[0].kind == hidden[0].kind == "label_twice"


def test_tables_are_joined_by_the_names_of_findings(tmp_path: Path) -> None:
    faults: list[Fault] = []
    first = _read(tmp_path, "id,a,b\ns,1,0\n", faults, "one.csv")
    second = _read(tmp_path, "id,b,a\nt,1,0\ns,0,1\n", faults, "two.csv")
    joined = first.joined(second, faults)
    assert joined.of("t") == (0.0, 1.0)
    assert joined.of("s") == (1.0, 0.0)
    assert [(fault.kind, fault.place) for fault in faults] == [("label_twice", "two.csv, line 3")]
    with pytest.raises(TableError, match=r"its 1 findings are not the 2 of one\.csv"):
        first.joined(_read(tmp_path, "id,a\nu,1\n", faults, "three.csv"), faults)


def test_match_names_both_sides(tmp_path: Path) -> None:
    labels = _read(tmp_path, "id,a\n" + "".join(f"s{n},1\n" for n in range(9)), [])
    (orphan, missing) = labels.match(["s0", "t", "s1"], "study")
    assert orphan.kind == "label_orphan"
    assert orphan.message.startswith("7 of 9 rows belong to no study here: l.csv, line 4, ")
    assert orphan.message.endswith("and 2 more")
    assert (missing.kind, missing.message) == ("label_missing", "1 of 3 study ids have no labels")
    (none,) = labels.match(["t"], "study")
    assert none.kind == "label_no_match"
    assert labels.match([f"s{n}" for n in range(9)], "study") == []
    assert labels.only(lambda key: key == "s0").match(["s0"], "study") == []
    renamed = labels.renamed(lambda key: key.upper())
    assert renamed.of("S0") == (1.0,)


def test_a_label_table_has_a_key_and_findings(tmp_path: Path) -> None:
    for text in ("id\ns\n", "other,a\ns,1\n"):
        with pytest.raises(TableError, match="id and one column a finding"):
            _read(tmp_path, text, [])
