"""Removing a patient: not a byte is left, whenever it is killed, and the patient stays away."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mg3d import files
from mg3d.cli import main
from mg3d.data.preparation import remove as removal
from mg3d.data.preparation.prepare import prepare
from mg3d.data.preparation.remove import RemoveConfig, remove
from mg3d.data.store import VolumeStore
from mg3d.errors import ConfigError, DataError, StorageError

Tree = Callable[[Path], dict[str, bytes]]
PATIENT = "MRN-4711"


@pytest.fixture
def site(make_site: Any) -> Any:
    """Eight studies; the third and fourth, and one that is set aside, are one patient's."""
    made = make_site(8)
    for number, row in enumerate(made.rows):
        row["findings"] = f"Finding number {number} of its own kind."
        row["split"] = "train" if number < 6 else "test"
        if number in (2, 3, 4):
            row["patient_id"], row["split"] = PATIENT, "train"
    made.rows[5]["patient_id"] = "p9"
    made.image(4).write_bytes(b"broken")
    made.write()
    return made


@pytest.fixture
def folders(site: Any, tmp_path: Path) -> dict[str, Path]:
    """A store, a run trained on it with its evaluation, and an audit."""
    store = prepare(site.config(tmp_path / "store", allow_quarantine=True))
    run = tmp_path / "runs/one"
    _make_run(run, store)
    audit = tmp_path / "audit"
    for number in range(8):
        name, row = f"facts{number}", site.rows[number]
        facts = {"volume_id": row["study_id"], "study_id": row["study_id"]}
        files.write_json(audit / f"facts/{name}.json", facts | {"patient_id": row["patient_id"]})
        files.write_atomic(audit / f"thumbnails/{name}.png", f"picture {number}")
    files.write_atomic(audit / "audit.html", "<b>s2</b>")
    files.write_json(audit / "audit.json", {"patients": [PATIENT]})
    return {"store": store.path, "run": run, "audit": audit}


def _make_run(run: Path, store: VolumeStore) -> None:
    named = os.path.relpath(store.path, run)
    files.write_json(run / "provenance.json", {"store": named, "store_hash": store.content_hash})
    files.write_json(run / "evaluation/zero_shot.json", {"store_hash": store.content_hash})
    files.write_atomic(run / "evaluation/features/0af3/test-000000-000007.safetensors", "features")
    for study in ("s2", "s7"):
        files.write_json(run / f"evaluation/examples/{study}.json", {"study_id": study})
        files.write_atomic(run / f"evaluation/examples/{study}.safetensors", f"planes of {study}")
    files.write_atomic(run / "report.html", "<figure>s2</figure>")
    files.write_atomic(run / "release/model.safetensors", "weights")


def _secrets(store: Path, site: Any) -> list[bytes]:
    """Whatever could tell of the patient: ids, texts, hashes of scans."""
    rows = [*_lines(store / "index.jsonl"), *_lines(store / "quarantine.jsonl")]
    own = [row for row in rows if row["patient_id"] == PATIENT]
    assert len(own) == 3
    hashes = [row[k] for row in own for k in ("source_sha256", "volume_sha256") if k in row]
    texts = [site.rows[number]["findings"] for number in (2, 3, 4)]
    names = ['"s2"', '"s3"', '"s4"', "s2.", "s3.", "s4.", ">s2<", "planes of s2", "picture 3"]
    return [secret.encode() for secret in (PATIENT, *hashes, *texts, *names)]


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _settings(folders: dict[str, Path]) -> RemoveConfig:
    return RemoveConfig(
        store=folders["store"], patient=PATIENT, runs=(folders["run"].parent,),
        audits=(folders["audit"],),
    )  # fmt: skip


def _assert_gone(folders: dict[str, Path], secrets: list[bytes], tree: Tree) -> None:
    for folder in folders.values():
        for name, content in tree(folder).items():
            for secret in secrets:
                assert secret not in content, (name, secret)
                assert secret not in name.encode(), (name, secret)


def test_nothing_is_left_and_the_rest_is_whole(
    folders: dict[str, Path], site: Any, tree: Tree, tmp_path: Path
) -> None:
    secrets = _secrets(folders["store"], site)
    found = remove(_settings(folders))
    assert (found.num_volumes, found.num_reports) == (3, 3)
    assert found.exposures == {folders["run"]: "trained"}
    _assert_gone(folders, secrets, tree)
    store = VolumeStore.open(folders["store"])
    assert [row.volume_id for row in store.rows] == ["s0", "s1", "s5", "s6", "s7"]
    site.rows = [row for row in site.rows if row["patient_id"] != PATIENT]
    site.write()
    fresh = tree(prepare(site.config(tmp_path / "fresh")).path)
    left = tree(store.path)
    assert b"4711" not in left.pop("removed.jsonl")
    assert left == fresh
    assert set(tree(folders["run"])) == {
        "provenance.json", "evaluation/zero_shot.json", "evaluation/examples/s7.json",
        "evaluation/examples/s7.safetensors", "release/model.safetensors",
    }  # fmt: skip
    kept = [name for n in (0, 1, 5, 6, 7) for name in (f"facts/facts{n}", f"thumbnails/facts{n}")]
    assert {name.partition(".")[0] for name in tree(folders["audit"])} == set(kept)


def test_the_same_source_does_not_bring_the_patient_back(
    folders: dict[str, Path], site: Any, tree: Tree
) -> None:
    secrets = _secrets(folders["store"], site)
    whole = tree(folders["store"])
    remove(_settings(folders))
    settings = site.config(folders["store"])  # 3 rows of the patient stand in its manifest
    assert len(prepare(settings)) == 5  # and exits well: a barred scan is not set aside
    _assert_gone(folders, secrets, tree)
    with pytest.raises(DataError, match="1 of 8 volumes were set aside"):
        prepare(replace(settings, readmit=(PATIENT,)))
    assert tree(folders["store"]) == whole


def test_killed_anywhere_the_same_command_goes_on(
    folders: dict[str, Path], site: Any, tree: Tree, tmp_path: Path
) -> None:
    """Every write, rename and deletion fails once; then the command is given again."""
    secrets = _secrets(folders["store"], site)
    before = {name: tree(folder) for name, folder in folders.items()}
    shutil.copytree(tmp_path, tmp_path.parent / "copy")
    remove(_settings(folders))
    expected = {name: set(tree(folder)) for name, folder in folders.items()}
    for stop in range(1, 100):
        for folder in folders.values():
            shutil.rmtree(folder)
        shutil.copytree(tmp_path.parent / "copy", tmp_path, dirs_exist_ok=True)
        assert {name: tree(folder) for name, folder in folders.items()} == before
        with pytest.MonkeyPatch.context() as patch:
            _die_at(patch, stop)
            try:
                remove(_settings(folders))
                break
            except (StorageError, OSError):
                pass
        found = remove(_settings(folders))
        assert found.exposures == {folders["run"]: "trained"}, stop
        _assert_gone(folders, secrets, tree)
        found_files = {name: set(tree(folder)) for name, folder in folders.items()}
        # Killed at the very end, nobody knows whose the examples are, and all of them go.
        lost = expected["run"] - found_files["run"]
        assert not lost or lost == {name for name in expected["run"] if "/examples/" in name}
        assert found_files | {"run": expected["run"]} == expected, stop
        assert found_files["run"] <= expected["run"]
        VolumeStore.open(folders["store"])
    assert stop > 20
    shutil.rmtree(tmp_path.parent / "copy")


def _die_at(patch: pytest.MonkeyPatch, stop: int) -> None:
    """Fail at the given change of the disk, whichever it is."""
    count = 0

    def dying(change: Callable[..., Any]) -> Callable[..., Any]:
        def changed(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count == stop:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return change(*arguments, **options)

        return changed

    patch.setattr(Path, "unlink", dying(Path.unlink))
    patch.setattr(Path, "replace", dying(Path.replace))
    patch.setattr(files, "_write_all", dying(files._write_all))
    patch.setattr(shutil, "rmtree", dying(shutil.rmtree))


def test_a_store_half_removed_from_is_neither_read_nor_prepared(
    folders: dict[str, Path], site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*arguments: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(removal, "clean_audit", die)
        with pytest.raises(KeyboardInterrupt):
            remove(_settings(folders))
    with pytest.raises(DataError, match="run the same `mg3d remove` again"):
        VolumeStore.open(folders["store"])
    with pytest.raises(ConfigError, match="run the same `mg3d remove` again"):
        prepare(site.config(folders["store"]))
    remove(_settings(folders))
    assert len(VolumeStore.open(folders["store"])) == 5


def test_another_run_can_be_asked_about_later(folders: dict[str, Path], tmp_path: Path) -> None:
    """By then the store has forgotten which studies were the patient's."""
    store = VolumeStore.open(folders["store"])
    _make_run(tmp_path / "runs/two", store)
    remove(RemoveConfig(store=store.path, patient=PATIENT))
    _make_run(tmp_path / "runs/three", VolumeStore.open(folders["store"]))
    found = remove(_settings(folders))
    names = {run.name: exposure for run, exposure in found.exposures.items()}
    assert names == {"one": "trained", "two": "trained", "three": "none"}
    assert not (tmp_path / "runs/two/evaluation/examples/s2.json").exists()
    assert not (tmp_path / "runs/two/report.html").exists()


def test_who_is_unknown_is_said_and_nothing_changes(
    folders: dict[str, Path], tree: Tree, tmp_path: Path
) -> None:
    before = tree(tmp_path)
    with pytest.raises(DataError, match="no volume of this patient"):
        remove(replace(_settings(folders), patient="nobody"))
    with pytest.raises(DataError, match="no run in it"):
        remove(replace(_settings(folders), runs=(tmp_path / "run",)))
    with pytest.raises(DataError, match="no audit in it"):
        remove(replace(_settings(folders), audits=(tmp_path / "store",)))
    with pytest.raises(DataError, match="no store here"):
        remove(RemoveConfig(store=tmp_path / "none", patient=PATIENT))
    (folders["store"] / "preparing.json").write_text("{}")
    with pytest.raises(DataError, match="let it come to its end"):
        remove(_settings(folders))
    (folders["store"] / "preparing.json").unlink()
    assert tree(tmp_path) == before
    assert not (tmp_path / "none").exists()


def test_a_file_that_still_names_the_patient_is_pointed_at(folders: dict[str, Path]) -> None:
    note = folders["run"] / "notes.json"
    note.write_text(json.dumps({"look at": "s3"}))
    with pytest.raises(
        DataError, match=r"was removed, but these files still name(?s:.)*notes.json"
    ):
        remove(_settings(folders))
    note.unlink()
    remove(_settings(folders))


def test_the_command_lists_the_weights(
    folders: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    from mg3d.progress import console

    console.quiet = False
    words = ["remove", str(folders["store"]), PATIENT, "--runs", f"[{folders['run']}]"]
    assert main(words) == 0
    shown = " ".join(capsys.readouterr().err.split())
    assert "3 volumes of 3 studies removed" in shown
    assert "weights trained on the patient" in shown
    assert PATIENT not in shown
