"""The store as a format: what goes in comes out, and a damaged one says so."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mg3d.data.grid import GridConfig
from mg3d.data.preparation.prepare import prepare
from mg3d.data.splits import SplitConfig
from mg3d.data.store import (
    StoreRow,
    StoreSettings,
    VolumeStore,
    volume_path,
)
from mg3d.data.text.reports import Report
from mg3d.errors import DataError


@pytest.fixture
def store(make_site: Callable[..., Any], tmp_path: Path) -> VolumeStore:
    return prepare(make_site().config(tmp_path / "store"))


def test_rows_and_settings_survive_json() -> None:
    row = StoreRow(
        volume_id="v", study_id="s", patient_id="p", report_id="", split="val", image="a.nii",
        source_sha256="0", volume_sha256="1", faults=(("hu_no_air", "no air"),),
        labels=(1.0, math.nan),
    )  # fmt: skip
    again = StoreRow.from_json(json.loads(json.dumps(row.to_json())))
    assert again.to_json() == row.to_json()
    assert math.isnan(again.labels[1])
    for geometry in (
        GridConfig(),
        GridConfig(grid=(8, 8, 8), spacing_mm=None, crop_fraction=(0.5, 0.5, 1)),
    ):
        settings = StoreSettings(
            geometry=geometry, clauses="sen_comma", split=SplitConfig(seed=3),
            keep_without_report=True,
        )  # fmt: skip
        assert StoreSettings.from_json(json.loads(json.dumps(settings.to_json()))) == settings


def test_a_store_answers_for_its_volumes(store: VolumeStore) -> None:
    assert [row.volume_id for row in store.rows] == ["s0", "s1", "s2", "s3"]
    assert len(store) == 4
    assert store.label_names == ("nodule",)
    assert [row.labels[0] for row in store.rows[:3]] == [0, 1, 0]
    assert math.isnan(store.rows[3].labels[0])
    assert store.report("s3") == Report("Lungs are clear.")
    assert store.row("s1").patient_id == "p0"
    assert store.read_hu("s0").shape == (8, 8, 8)
    assert store.read_hu("s0").dtype == np.int16
    facts = store.facts("s0")
    assert facts["source_shape"] == [20, 18, 16]
    assert facts["source_spacing_mm"] == [3, 3, 4]
    with pytest.raises(DataError, match="no volume 'x'"):
        store.row("x")


def test_splits_are_disjoint_in_patients(store: VolumeStore) -> None:
    sides = [store.select(split) for split in ("train", "val", "test")]  # type: ignore[arg-type]
    assert sum(map(len, sides)) == 4
    patients = [{row.patient_id for row in side} for side in sides]
    assert sum(map(len, patients)) == len(set().union(*patients))
    assert set(store.select("train", "val", "test")) == set(store.rows)


def test_grid_indices_lead_back_to_patient_millimetres(
    store: VolumeStore, body: Callable[..., Any]
) -> None:
    """The centre of the grid is the centre of the scan, in the patient's own coordinates."""
    volume = store.read_volume("s2")
    grid_centre = volume.affine @ [3.5, 3.5, 3.5, 1]
    source = np.array(store.facts("s2")["source_affine"])
    np.testing.assert_allclose(grid_centre, source @ [9.5, 8.5, 7.5, 1], atol=1e-9)
    assert volume.spacing_mm == (6, 6, 8)


def test_a_store_holds_no_absolute_path(store: VolumeStore, tree: Any, tmp_path: Path) -> None:
    for name, content in tree(store.path).items():
        assert str(tmp_path).encode() not in content, name


def _damage(path: Path, name: str) -> None:
    target = path / name
    target.write_bytes(target.read_bytes()[:-30])


def test_damage_is_named_with_a_remedy(store: VolumeStore) -> None:
    volume = volume_path(store.path, "s1")
    whole = volume.read_bytes()
    for broken in (whole[:-10], whole[:5], b"", b"\xff" * 100):
        volume.write_bytes(broken)
        with pytest.raises(DataError, match=r"'s1'.*damaged.*mg3d prepare"):
            store.read_hu("s1")
    volume.unlink()
    with pytest.raises(DataError, match=r"'s1'.*No such file.*only what is missing is made"):
        store.read_hu("s1")


@pytest.mark.parametrize("name", ["index.jsonl", "reports.jsonl"])
def test_an_edited_store_is_noticed(name: str, store: VolumeStore) -> None:
    _damage(store.path, name)
    with pytest.raises(DataError, match=r"edited or copied in part.*mg3d prepare"):
        VolumeStore.open(store.path)
    (store.path / name).unlink()
    with pytest.raises(DataError, match=f"{name} is missing"):
        VolumeStore.open(store.path)


def test_labels_under_another_name_are_another_store(
    make_site: Callable[..., Any], tmp_path: Path, store: VolumeStore
) -> None:
    site = make_site(folder=tmp_path / "other")
    site.rows = [
        {name.replace("nodule", "mass"): value for name, value in row.items()} for row in site.rows
    ]
    site.write()
    other = prepare(site.config(tmp_path / "other_store"))
    assert [row.volume_sha256 for row in other.rows] == [row.volume_sha256 for row in store.rows]
    assert other.content_hash != store.content_hash
    description = json.loads((store.path / "store.json").read_text())
    changed = json.dumps(description | {"label_names": ["mass"]})
    (store.path / "store.json").write_text(changed)
    with pytest.raises(DataError, match="edited or copied in part"):
        VolumeStore.open(store.path)


def test_a_store_of_the_schema_before_is_brought_up_by_the_same_command(
    make_site: Callable[..., Any], tmp_path: Path, tree: Any
) -> None:
    settings = make_site().config(tmp_path / "store")
    store = prepare(settings)
    fresh = tree(store.path)
    made = volume_path(store.path, "s0").stat().st_mtime_ns
    description = json.loads((store.path / "store.json").read_text())
    older = description | {"schema": "mg3d.store/2", "content_hash": "0"}
    (store.path / "store.json").write_text(json.dumps(older))
    with pytest.raises(DataError, match=r"same options again; volumes that still hold are kept"):
        VolumeStore.open(store.path)
    prepare(settings)
    assert tree(store.path) == fresh
    assert volume_path(store.path, "s0").stat().st_mtime_ns == made


def test_what_is_no_store_says_so(store: VolumeStore, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no store here.*Give the folder"):
        VolumeStore.open(tmp_path / "nowhere")
    description = json.loads((store.path / "store.json").read_text())
    (store.path / "store.json").write_text(json.dumps(description | {"schema": "mg3d.store/9"}))
    with pytest.raises(DataError, match=r"schema 'mg3d.store/9'.*reads 'mg3d.store/3'"):
        VolumeStore.open(store.path)
    (store.path / "store.json").write_text("{")
    with pytest.raises(DataError, match="not readable"):
        VolumeStore.open(store.path)
