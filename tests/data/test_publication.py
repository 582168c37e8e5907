"""Publishing: tables that belong together, the description last, nothing that is not in them."""

import json
from pathlib import Path

import pytest

from mg3d.data.layouts.catalogue import CatalogueRow
from mg3d.data.preparation.intake import ScanOutcome
from mg3d.data.preparation.publication import make_tables, publish
from mg3d.data.scan import ScanSource
from mg3d.data.store import StoreSettings, VolumeStore
from mg3d.data.text.reports import Report

SETTINGS = StoreSettings()


def _rows(*names: str) -> list[CatalogueRow]:
    return [
        CatalogueRow(
            place="", volume_id=name, study_id=f"s{name}", patient_id=f"p{name}",
            source=ScanSource(path=Path(name)), image=f"{name}.nii", report=Report(f"text {name}"),
            labels=(1.0, float("nan")),
        )
        for name in names
    ]  # fmt: skip


def _outcomes(*names: str, aside: tuple[str, ...] = ()) -> dict[str, ScanOutcome]:
    return {
        name: ScanOutcome(
            volume_id=name, image=f"{name}.nii", source_sha256="a", volume_sha256="b",
            faults=(("hu_no_air", "odd"),), problem="unreadable" if name in aside else "",
            message="cut off" if name in aside else "",
        )
        for name in names
    }  # fmt: skip


def test_kept_and_set_aside_part_ways(tmp_path: Path) -> None:
    publish(tmp_path, _rows("a", "b"), ("x", "y"), SETTINGS, _outcomes("a", "b", aside=("b",)))
    store = VolumeStore.open(tmp_path)
    assert [row.volume_id for row in store.rows] == ["a"]
    assert store.rows[0].faults == (("hu_no_air", "odd"),)
    assert store.report("sa") == Report("text a")
    assert store.report("sb").is_empty
    aside = json.loads((tmp_path / "quarantine.jsonl").read_text())
    assert aside == {
        "volume_id": "b", "study_id": "sb", "patient_id": "pb", "image": "b.nii",
        "kind": "unreadable", "message": "cut off",
    }  # fmt: skip


def test_volumes_outside_the_index_and_marks_go(tmp_path: Path) -> None:
    for name in ("volumes/a.safetensors", "volumes/z.safetensors", ".in_flight/a"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "preparing.json").touch()
    publish(tmp_path, _rows("a"), (), SETTINGS, _outcomes("a"))
    assert [path.name for path in (tmp_path / "volumes").iterdir()] == ["a.safetensors"]
    assert not (tmp_path / ".in_flight").exists()
    assert not (tmp_path / "preparing.json").exists()


def test_the_hash_covers_all_but_the_quarantine(tmp_path: Path) -> None:
    settings = SETTINGS.to_json()
    row, report = {"volume_id": "a"}, {"study_id": "s"}
    base = make_tables(settings, ["x"], [row], [report], []).content_hash
    others = [
        make_tables({**settings, "clauses": "sen_comma"}, ["x"], [row], [report], []),
        make_tables(settings, ["y"], [row], [report], []),
        make_tables(settings, ["x"], [{"volume_id": "b"}], [report], []),
        make_tables(settings, ["x"], [row], [{"study_id": "t"}], []),
    ]
    assert base not in {tables.content_hash for tables in others}
    assert make_tables(settings, ["x"], [row], [report], [row]).content_hash == base


def test_the_description_goes_first_and_comes_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = make_tables(SETTINGS.to_json(), [], [], [], [])
    tables.write(tmp_path)
    written: list[str] = []

    def write(path: Path, content: bytes) -> None:
        assert path.name == "store.json" or not (tmp_path / "store.json").exists()
        written.append(path.name)

    monkeypatch.setattr("mg3d.data.preparation.publication.write_atomic", write)
    tables.write(tmp_path)
    assert written == []
    make_tables(SETTINGS.to_json(), ["x"], [], [], []).write(tmp_path)
    assert written[-1] == "store.json"
    assert len(written) == 4
