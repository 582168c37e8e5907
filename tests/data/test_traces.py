"""Traces outside a store: which runs saw a patient, what is cleaned and what is left alone."""

from pathlib import Path
from typing import Any

import pytest

from mg3d.data.preparation.removed import History
from mg3d.data.preparation.traces import Exposure, Traces, clean_run, find_runs, still_naming
from mg3d.errors import DataError
from mg3d.files import write_atomic, write_json

TRACES = Traces(
    patient_id="p1", volume_ids=frozenset({"v1"}), study_ids=frozenset({"s1"}), split="train"
)


def _history(split: str = "train") -> History:
    return History(
        split=split, with_patient=frozenset({"old", "older"}), without_patient=frozenset({"new"})
    )


def _run(folder: Path, **provenance: Any) -> Path:
    write_json(folder / "provenance.json", provenance)
    write_atomic(folder / "evaluation/features/f.safetensors", "")
    write_atomic(folder / "evaluation/examples/s1.safetensors", "")
    write_atomic(folder / "report.html", "")
    return folder


@pytest.mark.parametrize(
    ("trained_on", "split", "exposure"),
    [
        ("old", "train", "trained"),
        ("older", "train", "trained"),
        ("older", "test", "judged"),
        ("old", "val", "judged"),
        ("old", "", "none"),
        ("new", "train", "none"),
        ("other", "train", "unknown"),
        (None, "train", "unknown"),
    ],
)
def test_what_a_run_of_this_store_has_seen(
    trained_on: str | None, split: str, exposure: Exposure, tmp_path: Path
) -> None:
    run = _run(tmp_path / "run", store="../store", store_hash=trained_on)
    assert clean_run(run, tmp_path / "store", TRACES, _history(split)) == exposure
    assert not (run / "evaluation/features").exists()
    assert not (run / "report.html").exists()


def test_a_run_on_another_store_is_left_alone(tmp_path: Path) -> None:
    run = _run(tmp_path / "run", store="../another", store_hash="other")
    assert clean_run(run, tmp_path / "store", TRACES, _history()) == "none"
    assert (run / "evaluation/examples/s1.safetensors").exists()
    assert (run / "report.html").exists()


def test_a_moved_store_is_known_by_its_hash_and_a_judged_one_by_the_evaluation(
    tmp_path: Path,
) -> None:
    run = _run(tmp_path / "a", store="../gone", store_hash="old")
    assert clean_run(run, tmp_path / "store", TRACES, _history()) == "trained"
    run = _run(tmp_path / "b", store="../gone", store_hash="other")
    write_json(run / "evaluation/retrieval.json", {"store_hash": "old"})
    assert clean_run(run, tmp_path / "store", TRACES, _history()) == "none"
    assert not (run / "evaluation/examples/s1.safetensors").exists()


def test_runs_are_found_at_any_depth_and_once(tmp_path: Path) -> None:
    one, two = _run(tmp_path / "a/b/one"), _run(tmp_path / "two")
    assert find_runs([tmp_path, two]) == [one, two]
    with pytest.raises(DataError, match="no run in it"):
        find_runs([tmp_path / "a/b/one/evaluation"])


def test_names_are_found_in_texts_and_file_names_and_not_inside_words(tmp_path: Path) -> None:
    for name, text in {
        "a.json": '{"x": "v1"}', "b.html": "<td>s1</td>", "c.jsonl": '{"x": "v12"}',
        "d.csv": "av1b", "e.bin": '"v1"', "volumes/v1.safetensors": "", "f.log": "volumes/v1.png",
    }.items():  # fmt: skip
        write_atomic(tmp_path / name, text)
    found = {path.name for path in still_naming([tmp_path], TRACES)}
    assert found == {"a.json", "b.html", "v1.safetensors", "f.log"}
