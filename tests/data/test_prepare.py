"""`prepare` as a whole: the same bytes however it works, and never over another store."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mg3d.data.grid import GridConfig
from mg3d.data.preparation.intake import take_in
from mg3d.data.preparation.lock import locked
from mg3d.data.preparation.prepare import PrepareConfig, prepare
from mg3d.data.splits import SplitConfig
from mg3d.data.store import VolumeStore, volume_path
from mg3d.errors import ConfigError, DataError
from mg3d.progress import console

Tree = Callable[[Path], dict[str, bytes]]


def test_workers_and_folders_change_no_byte(make_site: Any, tree: Tree, tmp_path: Path) -> None:
    one = make_site(5, tmp_path / "here")
    two = make_site(5, tmp_path / "else/where")
    prepare(one.config(tmp_path / "a"))
    prepare(two.config(tmp_path / "b/c", num_workers=2))
    assert tree(tmp_path / "a") == tree(tmp_path / "b/c")
    assert set(tree(tmp_path / "a")) == {
        "store.json", "index.jsonl", "reports.jsonl", "quarantine.jsonl",
        *(f"volumes/s{number}.safetensors" for number in range(5)),
    }  # fmt: skip


def test_a_limit_gives_the_store_of_the_first_volumes(
    make_site: Any, tree: Tree, tmp_path: Path
) -> None:
    site = make_site(5)
    settings = site.config(tmp_path / "store", limit=2)
    assert [row.volume_id for row in prepare(settings).rows] == ["s0", "s1"]
    made = volume_path(settings.out, "s0").stat().st_mtime_ns
    prepare(replace(settings, limit=0))
    assert volume_path(settings.out, "s0").stat().st_mtime_ns == made
    with pytest.raises(ConfigError, match="holds 3 volumes that this manifest does not ask for"):
        prepare(settings)
    prepare(replace(settings, out=tmp_path / "fresh", limit=0))
    assert tree(settings.out) == tree(tmp_path / "fresh")
    with pytest.raises(ConfigError, match="limit -1"):
        replace(settings, limit=-1)


def test_a_store_is_read_while_it_grows(
    make_site: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the new index is there the old one holds, and every volume that it names."""
    site = make_site(6)
    settings = site.config(tmp_path / "store")
    prepare(replace(settings, limit=3))
    seen = []

    def look_and_take_in(job: Any) -> Any:
        outcome = take_in(job)
        store = VolumeStore.open(settings.out)
        seen.append([store.read_hu(row.volume_id).shape for row in store.rows])
        return outcome

    monkeypatch.setattr("mg3d.data.preparation.prepare.take_in", look_and_take_in)
    assert len(prepare(settings)) == 6
    assert seen == [[(8, 8, 8)] * 3] * 6


def test_two_commands_do_not_write_to_one_store(make_site: Any, tmp_path: Path) -> None:
    settings = make_site(2).config(tmp_path / "store")
    with (
        locked(settings.out, "prepare"),
        pytest.raises(ConfigError, match=r"`mg3d prepare` \(process \d+ on .*is writing"),
    ):
        prepare(settings)
    assert len(prepare(settings)) == 2


def test_warnings_of_a_scan_are_in_the_index_with_their_names(
    make_site: Any, tmp_path: Path, body: Any, write_nifti: Any
) -> None:
    site = make_site(3)
    no_air = np.where(body() < -700, -650, body()).astype(np.int16)
    write_nifti(site.image(1), no_air, np.diag([3.0, 3, 4, 1]))
    for _ in range(2):  # also when the volume is already there
        store = prepare(site.config(tmp_path / "store"))
        assert "hu_no_air" in dict(store.row("s1").faults)
        assert "hu_no_air" not in dict(store.row("s0").faults)


def test_a_second_run_writes_nothing(
    make_site: Any, tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_site().config(tmp_path / "store")
    prepare(settings)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*.*")}
    monkeypatch.setattr("mg3d.data.preparation.intake.read_scan", None)
    prepare(settings)
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*.*")}
    assert before == after


def test_a_changed_site_gives_the_store_of_a_fresh_run(
    make_site: Any, tree: Tree, tmp_path: Path, body: Any, write_nifti: Any
) -> None:
    site = make_site()
    prepare(site.config(tmp_path / "store"))
    write_nifti(site.image(1), body(seed=77), np.diag([3.0, 3, 4, 1]))
    del site.rows[0]
    site.rows[1]["findings"] = "Another wording."
    site.write()
    prepare(site.config(tmp_path / "store", overwrite=True))
    prepare(site.config(tmp_path / "fresh"))
    assert tree(tmp_path / "store") == tree(tmp_path / "fresh")
    assert not volume_path(tmp_path / "store", "s0").exists()


def test_a_wrong_manifest_does_not_empty_a_store(
    make_site: Any, tree: Tree, tmp_path: Path
) -> None:
    settings = make_site(4).config(tmp_path / "store")
    prepare(settings)
    before = tree(tmp_path / "store")
    other = make_site(1, tmp_path / "other")
    with pytest.raises(ConfigError, match=r"holds 3 volumes .* \(the first is 's1'\)"):
        prepare(other.config(tmp_path / "store"))
    lost_reports = make_site(4)
    for row in lost_reports.rows:
        row |= {"findings": "", "impression": ""}
    lost_reports.write()
    with pytest.raises(ConfigError, match="holds 4 volumes"):
        prepare(settings)
    assert tree(tmp_path / "store") == before


def test_a_wrong_manifest_stops_before_anything_is_written(make_site: Any, tmp_path: Path) -> None:
    site = make_site(3)
    site.rows[2]["study_id"] = "s1"
    site.rows[2]["patient_id"] = "someone else"
    site.write()
    with pytest.raises(DataError, match="line 4: study 's1' belongs to another patient"):
        prepare(site.config(tmp_path / "store"))
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        (
            {"geometry": GridConfig(grid=(8, 8, 6), spacing_mm=(6, 6, 8))},
            r"geometry.grid: \[8, 8, 8\] there",
        ),
        ({"clauses": "sen_comma"}, "clauses: sentence there, sen_comma asked for"),
        ({"split": SplitConfig(seed=5)}, "split.seed: 0 there, 5 asked for"),
        ({"keep_without_report": True}, "keep_without_report: False there"),
        ({"mask_identifiers": True}, "mask_identifiers: False there"),
    ],
)  # fmt: skip
def test_other_settings_need_another_folder_or_a_word(
    change: dict[str, Any], shown: str, make_site: Any, tree: Tree, tmp_path: Path
) -> None:
    site = make_site(3)
    settings = site.config(tmp_path / "store")
    prepare(settings)
    before = tree(tmp_path / "store")
    with pytest.raises(ConfigError, match=rf"other settings \({shown}.*--overwrite true"):
        prepare(replace(settings, **change))
    assert tree(tmp_path / "store") == before
    prepare(replace(settings, **change, overwrite=True))
    prepare(replace(settings, **change, out=tmp_path / "fresh"))
    assert tree(tmp_path / "store") == tree(tmp_path / "fresh")


def test_labels_may_come_from_their_own_table(make_site: Any, tmp_path: Path) -> None:
    site = make_site(3)
    for row in site.rows:
        del row["label:nodule"]
    site.write()
    (site.folder / "labels.csv").write_text("study_id,Nodule,Effusion\ns0,1,0\ns2,,1\n")
    store = prepare(site.config(tmp_path / "store", labels=site.folder / "labels.csv"))
    assert store.label_names == ("Nodule", "Effusion")
    assert store.row("s0").labels == (1, 0)
    assert np.isnan(store.row("s1").labels).all()
    assert store.row("s2").labels[1] == 1


def test_splits_of_the_manifest_win(make_site: Any, tmp_path: Path) -> None:
    site = make_site(4)
    for row, split in zip(site.rows, ("val", "val", "test", "test"), strict=True):
        row["split"] = split
    site.write()
    store = prepare(site.config(tmp_path / "store"))
    assert [row.split for row in store.rows] == ["val", "val", "test", "test"]


PLANTED = ("Zzyzx", "0048291", "03/14/2019", "555-201-4477")


def test_planted_identifiers_do_not_reach_a_masked_store(
    make_site: Any, tree: Tree, tmp_path: Path, capsys: Any
) -> None:
    name, record, date, phone = PLANTED
    site = make_site(3)
    site.rows[0]["findings"] = f"Compared to {date}. MRN: {record}. No nodule."
    site.rows[1]["impression"] = f"Dr. {name} was called on {date}, phone {phone}."
    site.write()
    plain = prepare(site.config(tmp_path / "plain"))
    stored = b"".join(tree(plain.path).values()).decode("latin-1")
    assert all(planted in stored for planted in PLANTED)
    console.quiet = False
    masked = prepare(site.config(tmp_path / "masked", mask_identifiers=True))
    said = "".join(capsys.readouterr())
    for text in (said, b"".join(tree(masked.path).values()).decode("latin-1")):
        assert not [planted for planted in PLANTED if planted in text]
    assert "masked in the reports: date 2, name 1, phone 1, record_number 1" in said
    assert masked.report("s0").findings == "Compared to [date]. MRN: [record_number]. No nodule."
    assert masked.report("s2") == plain.report("s2")
    assert masked.settings.mask_identifiers
    assert masked.content_hash != plain.content_hash


def test_faults_of_reports_are_stored_by_kind(make_site: Any, tmp_path: Path) -> None:
    site = make_site(4)
    site.rows[0] |= {
        "findings": "The lungs are clear and the heart of normal size with",
        "impression": "",
    }
    site.rows[1]["findings"] = "Discussed with Dr. Zzyzx. No pleural effusion is seen today."
    site.rows[2] |= {"findings": "", "impression": ""}
    site.write()
    store = prepare(site.config(tmp_path / "store", keep_without_report=True))
    lines = (store.path / "reports.jsonl").read_text().splitlines()
    found = {row["study_id"]: row["faults"] for row in map(json.loads, lines)}
    assert found["s0"] == ["report_impression_missing", "report_truncated"]
    assert found["s1"] == ["report_identifiers"]
    assert found["s2"] == []  # kept by choice


def test_what_the_tables_have_wrong_is_said(
    make_site: Any, tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    site = make_site(3)
    site.image(0).with_name("forgotten.nii.gz").write_bytes(b"")
    console.quiet = False
    monkeypatch.setattr(console, "width", 300)  # no name is folded
    prepare(site.config(tmp_path / "store"))
    said = "".join(capsys.readouterr().err.split())
    assert said.count("file_unlisted") == 1
    assert "forgotten.nii.gz" in said


def test_key_and_links_are_refused_where_they_mean_nothing(make_site: Any, tmp_path: Path) -> None:
    for option in ("key", "links"):
        with pytest.raises(ConfigError, match="key and links are for layouts of identified data"):
            prepare(make_site(2).config(tmp_path / "store", **{option: tmp_path / "file"}))


def test_a_negative_number_of_workers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="num_workers -1"):
        PrepareConfig(data=tmp_path, out=tmp_path, num_workers=-1)
