"""CT-RATE: names, generations, tables that do not fit the scans, and what metadata may state."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mg3d.data.layouts.catalogue import Catalogue
from mg3d.data.layouts.ct_rate import HELD_OUT, KEY, LAYOUT, PREPROCESSED
from mg3d.data.layouts.layout import LayoutOptions
from mg3d.data.layouts.table_error import TableError
from mg3d.data.scan import Stated
from mg3d.data.splits import split_of

Kinds = Callable[[Catalogue], list[str]]


def _site(folder: Path, *scans: str) -> Path:
    """Empty scans, and reports of train_1 (two reconstructions) and valid_2."""
    for scan in scans:
        (folder / scan).parent.mkdir(parents=True, exist_ok=True)
        (folder / scan).touch()
    reports = folder / "radiology_text_reports"
    reports.mkdir(parents=True, exist_ok=True)
    head = f"{KEY},Findings_EN,Impressions_EN\n"
    (reports / "train_reports.csv").write_text(
        head + "train_1_a_1.nii.gz,Clear.,Not given.\ntrain_1_a_2.nii.gz,Clear.,Not given.\n"
    )
    (reports / "validation_reports.csv").write_text(head + "valid_2_b_1.nii.gz,,Nodule.\n")
    return folder


def _metadata(folder: Path, *rows: str) -> None:
    (folder / "metadata").mkdir(exist_ok=True)
    text = f"{KEY},XYSpacing,ZSpacing,RescaleSlope,RescaleIntercept\n" + "\n".join(rows) + "\n"
    (folder / "metadata/train_metadata.csv").write_text(text)


def _read(folder: Path, **options: Any) -> Catalogue:
    return LAYOUT.read(folder, LayoutOptions(**options))


TRAIN = "dataset/train_fixed/train_1/train_1_a/train_1_a_1.nii.gz"
SECOND = TRAIN.replace("a_1.nii", "a_2.nii")
VALID = "dataset/valid_fixed/valid_2/valid_2_b/valid_2_b_1.nii.gz"


def test_names_say_study_patient_and_split(tmp_path: Path) -> None:
    catalogue = _read(_site(tmp_path, VALID, SECOND, TRAIN))
    assert [row.volume_id for row in catalogue.rows] == [
        "train_1_a_1",
        "train_1_a_2",
        "valid_2_b_1",
    ]
    assert [row.study_id for row in catalogue.rows] == ["train_1_a", "train_1_a", "valid_2_b"]
    assert [row.patient_id for row in catalogue.rows] == ["train_1", "train_1", "valid_2"]
    assert [row.split for row in catalogue.rows] == [
        split_of("train_1", HELD_OUT), split_of("train_1", HELD_OUT), "test",
    ]  # fmt: skip
    assert [row.image for row in catalogue.rows] == [TRAIN, SECOND, VALID]
    assert catalogue.rows[0].report.findings == "Clear."
    assert catalogue.rows[0].report.impression == ""
    assert catalogue.faults == ()


def test_a_twentieth_of_the_training_patients_is_held_out(tmp_path: Path, kinds: Kinds) -> None:
    scans = [f"train_fixed/train_{n}_a_1.nii.gz" for n in range(400)]
    catalogue = _read(_site(tmp_path, *scans, VALID))
    num_val = sum(row.split == "val" for row in catalogue.rows)
    assert 8 <= num_val <= 36  # 20 expected; beyond is five standard deviations of a fair draw
    assert kinds(catalogue) == ["split_rule"]
    more = _read(_site(tmp_path, *scans, "train_fixed/train_900_a_1.nii.gz", VALID))
    known = {row.patient_id: row.split for row in catalogue.rows}
    assert all(known.get(row.patient_id, row.split) == row.split for row in more.rows)


def test_volumes_that_are_not_here_stay_as_missing_files(tmp_path: Path, kinds: Kinds) -> None:
    catalogue = _read(_site(tmp_path, TRAIN, VALID))
    (row,) = [row for row in catalogue.rows if row.volume_id == "train_1_a_2"]
    assert row.image == "train_fixed/train_1/train_1_a/train_1_a_2.nii.gz"
    assert not row.source.path.exists()
    assert kinds(catalogue) == []


def test_a_split_of_which_nothing_is_here_is_left_out_and_said(
    tmp_path: Path, kinds: Kinds
) -> None:
    catalogue = _read(_site(tmp_path, VALID))
    assert [row.volume_id for row in catalogue.rows] == ["valid_2_b_1"]
    assert kinds(catalogue) == ["table_split_absent"]
    assert "none of the 2 volumes that the tables of train name" in catalogue.faults[0].message


def test_the_second_generation_is_never_rescaled(tmp_path: Path) -> None:
    first = "dataset/train/train_1/train_1_a/train_1_a_2.nii.gz"
    site = _site(tmp_path, TRAIN, first, "elsewhere/train_3_a_1.nii.gz")
    _metadata(
        site,
        'train_1_a_1.nii.gz,"[0.7, 0.8]",1.5,1,-8192',
        'train_1_a_2.nii.gz,"[0.7, 0.8]",1.5,1.0,-8192.0',
        'train_3_a_1.nii.gz,"[0.7, 0.7]",1.0,1,-1024',
    )
    stated = {row.volume_id: row.source.stated for row in _read(site).rows}
    assert stated["train_1_a_1"] == Stated(spacing_mm=(0.8, 0.7, 1.5))
    assert stated["train_1_a_2"] == Stated(spacing_mm=(0.8, 0.7, 1.5), rescale=(1.0, -8192.0))
    assert stated["train_3_a_1"] == Stated(spacing_mm=(0.7, 0.7, 1.0), rescale=(1.0, -1024.0))


def test_of_both_generations_the_second_is_taken(tmp_path: Path, kinds: Kinds) -> None:
    old = "dataset/train/train_1/train_1_a/train_1_a_1.nii.gz"
    catalogue = _read(_site(tmp_path, old, TRAIN, SECOND, VALID))
    assert [row.image for row in catalogue.rows] == [TRAIN, SECOND, VALID]
    assert kinds(catalogue) == ["scan_left_out"]


def test_segmentations_of_the_same_name_are_no_scans(tmp_path: Path) -> None:
    mask = "ts_seg/ts_total/train_fixed/train_1/train_1_a/train_1_a_1.nii.gz"
    catalogue = _read(_site(tmp_path, mask, TRAIN, SECOND, VALID))
    assert [row.image for row in catalogue.rows] == [TRAIN, SECOND, VALID]


def test_preprocessed_arrays_state_their_grid(tmp_path: Path) -> None:
    array = "train/train_1_a_1.npz"
    catalogue = _read(_site(tmp_path, array, SECOND, VALID))
    assert catalogue.rows[0].image == array
    assert catalogue.rows[0].source.stated == PREPROCESSED


def test_volumes_not_of_the_chest_are_left_out(tmp_path: Path, kinds: Kinds) -> None:
    site = _site(tmp_path, TRAIN, SECOND, VALID)
    (site / "metadata").mkdir()
    (site / "metadata/no_chest_train.txt").write_text("train_1_a_2.nii.gz\n\n")
    catalogue = _read(site)
    assert [row.volume_id for row in catalogue.rows] == ["train_1_a_1", "valid_2_b_1"]
    assert kinds(catalogue) == ["scan_left_out"]


@pytest.mark.parametrize(
    "cells", ["0.7,1.5,1,-1024", '"[0.7, nan]",1.5,1,-1024', "nonsense,1.5,1,-1024"]
)
def test_metadata_that_make_no_sense_are_named(cells: str, tmp_path: Path, kinds: Kinds) -> None:
    site = _site(tmp_path, "x/train_1_a_1.nii.gz", SECOND, VALID)
    _metadata(site, f"train_1_a_1.nii.gz,{cells}", 'train_1_a_2.nii.gz,"[1, 1]",1,1,0')
    catalogue = _read(site)
    assert kinds(catalogue) == ["table_fact_malformed", "table_fact_missing"]
    assert catalogue.faults[0].place == "train_metadata.csv, line 2"
    assert "1 volumes have no row in the metadata: valid_2_b_1" in catalogue.faults[1].message
    assert catalogue.rows[0].source.stated.spacing_mm is None


def test_labels_of_both_splits_are_one_table(tmp_path: Path, kinds: Kinds) -> None:
    site = _site(tmp_path, TRAIN, SECOND, VALID)
    labels = site / "multi_abnormality_labels"
    labels.mkdir()
    (labels / "train_predicted_labels.csv").write_text(
        f"{KEY},Emphysema,Lung nodule\ntrain_1_a_1.nii.gz,1,0\ntrain_7_a_1.nii.gz,1,1\n"
    )
    (labels / "valid_predicted_labels.csv").write_text(
        f"{KEY},Emphysema,Lung nodule\nvalid_2_b_1.nii.gz,0,1\n"
    )
    catalogue = _read(site)
    assert catalogue.label_names == ("Emphysema", "Lung nodule")
    assert catalogue.rows[0].labels == (1.0, 0.0)
    assert catalogue.rows[2].labels == (0.0, 1.0)
    assert kinds(catalogue) == ["label_orphan", "label_missing"]
    other = tmp_path / "other.csv"
    other.write_text(f"{KEY},x\ntrain_1_a_1,1\ntrain_1_a_2,1\nvalid_2_b_1,0\n")
    assert _read(site, labels=other).label_names == ("x",)


def test_reports_may_lie_elsewhere_by_volume_or_study(tmp_path: Path, kinds: Kinds) -> None:
    scans = _site(tmp_path / "a", TRAIN, SECOND, VALID)
    for table in (scans / "radiology_text_reports").iterdir():
        table.unlink()
    by_study = tmp_path / "s.csv"
    by_study.write_text("study_id,report\ntrain_1_a,Clear.\nvalid_2_b,Nodule.\n")
    by_volume = tmp_path / "v.csv"
    by_volume.write_text(f"{KEY},findings\ntrain_1_a_2.nii.gz,Clear.\nvalid_2_b_1.nii.gz,Nodule.\n")
    for path in (by_study, by_volume):
        catalogue = _read(scans, reports=path)
        assert [row.report.findings for row in catalogue.rows] == ["Clear.", "Clear.", "Nodule."]
        assert kinds(catalogue) == []


def test_faults_of_the_tables(tmp_path: Path, kinds: Kinds) -> None:
    site = _site(tmp_path, TRAIN, SECOND, VALID, "dataset/train_fixed/stray.nii.gz")
    path = site / "radiology_text_reports/train_reports.csv"
    path.write_text(
        f"{KEY},Findings_EN,Impressions_EN\ntrain_1_a_1.nii.gz,Clear.,\n"
        "train_1_a_1.nii.gz,Clear.,\ntrain_1_a_2.nii.gz,Nodule.,\nhead_1.nii.gz,Clear.,\n"
    )
    catalogue = _read(site)
    assert kinds(catalogue) == [
        "file_unlisted", "table_row_twice", "id_unsafe", "report_contradiction",
    ]  # fmt: skip
    assert "train_reports.csv, line 2" in catalogue.faults[3].message
    path.write_text("Volume,Findings_EN,Impressions_EN\n")
    with pytest.raises(TableError, match="column 'VolumeName'"):
        _read(site)


def test_nothing_at_all_is_a_fault(tmp_path: Path, kinds: Kinds) -> None:
    assert "scan_none" in kinds(_read(_site(tmp_path)))
    with pytest.raises(TableError, match="no such folder"):
        _read(tmp_path / "gone")


def test_folders_of_volumes_are_recognised_without_tables(tmp_path: Path) -> None:
    assert not LAYOUT.recognise(tmp_path)
    (tmp_path / "valid_fixed/valid_1").mkdir(parents=True)
    assert LAYOUT.recognise(tmp_path)
