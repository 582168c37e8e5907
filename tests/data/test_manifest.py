"""The manifest: every mistake is named by its line, all of them at once."""

import json
import math
from pathlib import Path

import pytest

from mg3d.data.layouts.catalogue import Catalogue
from mg3d.data.layouts.layout import LayoutOptions
from mg3d.data.layouts.manifest import LAYOUT, relative_image
from mg3d.data.text.reports import Report
from mg3d.errors import DataError


def _read(tmp_path: Path, text: str, name: str = "m.csv", labels: str = "") -> Catalogue:
    (tmp_path / name).write_text(text, encoding="utf-8")
    if labels:
        (tmp_path / "labels.csv").write_text(labels, encoding="utf-8")
    return read_manifest(tmp_path / name, tmp_path / "labels.csv" if labels else None)


def read_manifest(path: Path, labels: Path | None = None) -> Catalogue:
    catalogue = LAYOUT.read(path, LayoutOptions(labels=labels))
    catalogue.require_sound(path)
    return catalogue


def test_a_full_row(tmp_path: Path) -> None:
    manifest = _read(
        tmp_path,
        "study_id,patient_id,image,volume_id,findings,impression,split,label:nodule,label:effusion\n"
        's1,p1,a/b.nii.gz,v1,"Nodule, small.\nClear.",Nodule.,valid,1,\n',
    )
    (row,) = manifest.rows
    assert (row.place, row.volume_id, row.study_id, row.patient_id) == (
        "m.csv, line 2", "v1", "s1", "p1",
    )  # fmt: skip
    assert (row.image, row.split) == ("a/b.nii.gz", "val")
    assert row.report == Report("Nodule, small.\nClear.", "Nodule.")
    assert manifest.label_names == ("nodule", "effusion")
    assert row.labels[0] == 1
    assert math.isnan(row.labels[1])
    assert manifest.folder == tmp_path


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_spreadsheets_of_any_country(delimiter: str, tmp_path: Path) -> None:
    text = "\ufeffstudy_id,patient_id,image,report\r\n1,2,a.nii,Clear.\r\n"
    manifest = _read(tmp_path, text.replace(",", delimiter))
    assert manifest.rows[0].study_id == "1"
    assert manifest.rows[0].report == Report("Clear.")
    assert manifest.rows[0].split is None


def test_json_lines(tmp_path: Path) -> None:
    rows = [
        {"study_id": 17, "patient_id": "p", "image": "a.nii", "label:x": 1},
        {"study_id": 18, "patient_id": "p", "image": "b.nii", "report": "FINDINGS: Clear."},
    ]
    manifest = _read(tmp_path, "\n\n".join(map(json.dumps, rows)), "m.jsonl")
    assert [row.place for row in manifest.rows] == ["m.jsonl, line 1", "m.jsonl, line 3"]
    assert [row.study_id for row in manifest.rows] == ["17", "18"]
    assert manifest.rows[1].report == Report("Clear.")
    assert manifest.rows[0].labels == (1.0,)
    assert math.isnan(manifest.rows[1].labels[0])


def test_volumes_of_a_study_are_numbered_and_share_its_report(tmp_path: Path) -> None:
    manifest = _read(
        tmp_path,
        "study_id,patient_id,image,findings\ns,p,a.nii,\ns,p,b.nii,Clear.\ns,p,c.nii,clear.\n",
    )
    assert [row.volume_id for row in manifest.rows] == ["s", "s_2", "s_3"]
    assert {row.report.findings for row in manifest.rows} == {"Clear."}


def test_lines_are_counted_through_quoted_line_breaks(tmp_path: Path) -> None:
    text = 'study_id,patient_id,image,findings\ns1,p,a.nii,"One.\n\nTwo."\ns2,p,,Clear.\n'
    with pytest.raises(DataError, match="line 5: image is empty"):
        _read(tmp_path, text)


def test_a_label_table_beside_the_manifest(tmp_path: Path) -> None:
    text = "study_id,patient_id,image\ns1,p,a.nii\ns1,p,b.nii\ns2,p,c.nii\n"
    manifest = _read(tmp_path, text, labels="study_id,Lung nodule,Emphysema\ns1,1,0\nother,0,0\n")
    assert manifest.label_names == ("Lung nodule", "Emphysema")
    assert manifest.rows[0].labels == manifest.rows[1].labels == (1.0, 0.0)
    assert all(math.isnan(value) for value in manifest.rows[2].labels)


HEAD = "study_id,patient_id,image,split\n"
MISTAKES = {
    "duplicate volume": (
        "study_id,patient_id,image,volume_id\ns1,p,a.nii,v\ns2,p,b.nii,v\n",
        r"line 3: volume id 'v' stands in m.csv, line 2 too",
    ),
    "duplicate but for case": (
        "study_id,patient_id,image,volume_id\ns1,p,a.nii,V\ns2,p,b.nii,v\n", "m.csv, line 2 too",
    ),
    "patient in two splits": (
        HEAD + "s1,p,a.nii,train\ns2,p,b.nii,test\n",
        r"line 3: patient 'p' is in test, and in train in m.csv, line 2",
    ),
    "study of two patients": (
        HEAD + "s1,p,a.nii,train\ns1,q,b.nii,train\n", "line 3: study 's1' belongs to another",
    ),
    "two reports of a study": (
        "study_id,patient_id,image,report\ns1,p,a.nii,Clear.\ns1,p,b.nii,Nodule.\n",
        "line 3: study 's1' has another report in m.csv, line 2",
    ),
    "unknown split": (
        HEAD + "s1,p,a.nii,holdout\n",
        r"line 2: split is none of train, val, test \(7 characters\)",
    ),
    "split in some rows": (HEAD + "s1,p,a.nii,train\ns2,q,b.nii,\n", "line 3: split is empty"),
    "empty cells": (
        HEAD + "s1,,,train\n", r"line 2: patient_id is empty\n  m.csv, line 2: image is empty",
    ),
    "id that is no file name": (
        HEAD + "a/b,p,a.nii,train\n", r"line 2: study_id \(3 characters\) names files",
    ),
    "id that climbs": (HEAD + "..,p,a.nii,train\n", "names files"),
    "study id that is no file name": (
        "study_id,patient_id,image,volume_id\ns 1,p,a.nii,v\n",
        r"1 problem.*\n  m.csv, line 2: study_id \(3 characters\) names files",
    ),
    "volume id that is no file name": (
        "study_id,patient_id,image,volume_id\ns1,p,a.nii,v/1\n",
        r"1 problem.*\n  m.csv, line 2: volume_id \(3 characters\) names files",
    ),
    "wrong label": (
        "study_id,patient_id,image,label:x\ns,p,a.nii,yes\n",
        "line 2, label 'x': a label is 1, 0 or empty, not 3 characters",
    ),
    "sections and a report": (
        "study_id,patient_id,image,findings,report\ns,p,a.nii,Clear.,Clear.\n", "give one of them",
    ),
    "too many fields": (HEAD + "s,p,a.nii,train,more\n", "line 2: 5 fields, the header has 4"),
    "too few fields": (HEAD + "s,p\n", "line 2: 2 fields, the header has 4"),
    "open quote": (HEAD + 's,p,"a.nii,train\n', "line 2: .*a quote is not closed"),
    "missing column": ("study_id,patient,image\ns,p,a\n", r"'patient_id' \(is 'patient' meant\?\)"),
    "two missing columns": (
        "StudyID,patient_id,file\ns,p,a\n", r"'study_id' \(is 'StudyID' meant\?\), 'image' missing",
    ),
    "no rows": (HEAD, "no rows"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_named(name: str, tmp_path: Path) -> None:
    text, message = MISTAKES[name]
    with pytest.raises(DataError, match=message):
        _read(tmp_path, text)


def test_all_complaints_come_at_once_up_to_twenty(tmp_path: Path) -> None:
    text = HEAD + "".join(f"s{number},p{number},,train\n" for number in range(25))
    with pytest.raises(DataError) as caught:
        _read(tmp_path, text)
    message = str(caught.value)
    assert "25 problem(s)" in message
    assert message.count("image is empty") == 20
    assert message.endswith("and 5 more")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("study,x\ns,1\n", "study_id and one column a finding"),
        ("study_id,x\ns,2\n", "labels.csv, line 2, label 'x': a label is"),
        ("study_id,x\nS,1\n0s,0\n", "labels.csv: none of its 2 study ids is one of the 1 known"),
        (
            "study_id,x\ns,1\ns,0\n",
            "labels.csv, line 3: 's' has labels already in labels.csv, line 2",
        ),
    ],
)
def test_mistakes_in_the_label_table_are_named(labels: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        _read(tmp_path, "study_id,patient_id,image\ns,p,a.nii\n", labels=labels)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (
            "s1,1\nother,0\nanother,0\n",
            [
                ("label_orphan", "2 of 3 rows belong to no study here: labels.csv, line 3, "
                 "labels.csv, line 4"),
                ("label_missing", "1 of 2 study ids have no labels"),
            ],
        ),
        ("s1,1\n", [("label_missing", "1 of 2 study ids have no labels")]),
        ("s1,1\ns2,0\n", []),
    ],
)  # fmt: skip
def test_a_label_table_that_fits_in_part_is_announced(
    labels: str, said: list[tuple[str, str]], tmp_path: Path
) -> None:
    text = "study_id,patient_id,image\ns1,p,a.nii\ns1,p,b.nii\ns2,p,c.nii\n"
    manifest = _read(tmp_path, text, labels="study_id,x\n" + labels)
    assert [(fault.kind, fault.message) for fault in manifest.faults] == said


def test_two_sources_of_labels_are_refused(tmp_path: Path) -> None:
    text = "study_id,patient_id,image,label:x\ns,p,a.nii,1\n"
    with pytest.raises(DataError, match="drop one"):
        _read(tmp_path, text, labels="study_id,x\ns,1\n")


def test_files_that_are_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        read_manifest(tmp_path / "gone.csv")
    with pytest.raises(DataError, match=r"a table is one of \.csv"):
        _read(tmp_path, "x", "m.ods")
    (tmp_path / "latin.csv").write_bytes("study_id\nJos\u00e9\n".encode("latin-1"))
    with pytest.raises(DataError, match="save it as UTF-8"):
        read_manifest(tmp_path / "latin.csv")
    with pytest.raises(DataError, match="line 2: not JSON"):
        _read(tmp_path, '{"study_id": 1}\n{"study', "m.jsonl")
    with pytest.raises(DataError, match="line 1: each line is one JSON object"):
        _read(tmp_path, "[1]\n", "m.jsonl")


MIXED_UP = {
    "report": "s1,p,a.nii,SECRET one.,,\ns1,q,b.nii,SECRET two.,,\n",
    "label": "s1,p,a.nii,Clear.,SECRET one.,\n",
    "split": "s1,p,a.nii,,,SECRET one.\n",
    "study": "SECRET one.,p,a.nii,Clear.,,\nSECRET one.,q,b.nii,Nodule.,,\n",
    "patient": "s1,SECRET one,a.nii,,,train\ns2,SECRET one,b.nii,,,test\n",
}


@pytest.mark.parametrize("column", MIXED_UP)
def test_no_message_holds_report_text(column: str, tmp_path: Path) -> None:
    head = "study_id,patient_id,image,report,label:x,split\n"
    with pytest.raises(DataError, match=r"line \d[:,]") as caught:
        _read(tmp_path, head + MIXED_UP[column])
    assert "secret" not in str(caught.value).lower()


def test_a_table_without_a_header_is_not_printed(tmp_path: Path) -> None:
    text = "S1,P1,Patricia,images,Mr Smith has a nodule.\nS2,P2,Patrick,b.nii,Clear.\n"
    with pytest.raises(DataError, match="The first line must be the header") as caught:
        _read(tmp_path, text)
    message = str(caught.value)
    assert "found: none of them, and 5 others" in message
    assert "'image' (is 'images' meant?)" in message
    assert not any(cell in message for cell in ("Smith", "S1", "P1", "Patricia"))
    with pytest.raises(DataError, match="found: study_id, report, and 1 others") as caught:
        _read(tmp_path, json.dumps({"study_id": 1, "report": "", "x": 1}), "m.jsonl")
    assert "must be the header" not in str(caught.value)


def test_absolute_paths_are_stored_relative(tmp_path: Path) -> None:
    assert relative_image("images/a.nii", tmp_path) == "images/a.nii"
    assert relative_image(str(tmp_path / "images/a.nii"), tmp_path) == "images/a.nii"
    assert relative_image(str(tmp_path / "a.nii"), tmp_path / "sub") == "../a.nii"
