"""Shuffled reports: nobody keeps a report of the own patient, and nothing else changes."""

from pathlib import Path

import pytest

from mg3d.data.store import StoreRow, StoreSettings, VolumeStore
from mg3d.data.text.reports import Report
from mg3d.errors import DataError
from mg3d.training.controls import with_shuffled_reports

# study -> (patient, split, number of volumes); s3 has no report
STUDIES = {
    "s0": ("a", "train", 2), "s1": ("a", "train", 1), "s2": ("b", "train", 1),
    "s3": ("b", "train", 1), "s4": ("c", "train", 1), "s5": ("d", "train", 1),
    "s6": ("e", "val", 1), "s7": ("f", "test", 2),
}  # fmt: skip


def make_store(studies: dict[str, tuple[str, str, int]] = STUDIES) -> VolumeStore:
    reports = {s: Report("" if s == "s3" else f"Findings of {s}.") for s in studies}
    rows = tuple(
        StoreRow(
            volume_id=f"{study}_{number}",
            study_id=study,
            patient_id=patient,
            report_id=reports[study].report_id,
            split=split,
            image="scan.nii.gz",
            source_sha256="",
            volume_sha256="",
        )
        for study, (patient, split, volumes) in studies.items()
        for number in range(volumes)
    )
    return VolumeStore(Path("store"), StoreSettings(), rows, reports, (), "hash")


def texts(store: VolumeStore) -> dict[str, str]:
    return {row.study_id: store.report(row.study_id).findings for row in store.rows}


@pytest.mark.parametrize("seed", range(20))
def test_no_training_study_keeps_a_report_of_its_patient(seed: int) -> None:
    before = make_store()
    own = {study: patient for study, (patient, _, _) in STUDIES.items()}
    given = texts(with_shuffled_reports(before, seed))
    donors = {s: text.removeprefix("Findings of ").rstrip(".") for s, text in given.items()}
    train = {"s0", "s1", "s2", "s4", "s5"}
    assert {donors[study] for study in train} == train  # each report is given once
    assert all(own[donors[study]] != own[study] for study in train)


def test_other_splits_empty_reports_volumes_and_the_store_itself_stay() -> None:
    before = make_store()
    after = with_shuffled_reports(before, 0)
    assert texts(before) == texts(make_store())
    for study in ("s3", "s6", "s7"):
        assert after.report(study) == before.report(study)
    assert [row.volume_id for row in after.rows] == [row.volume_id for row in before.rows]
    assert [row.split for row in after.rows] == [row.split for row in before.rows]
    for row in after.rows:  # false negatives are found by this hash
        assert row.report_id == after.report(row.study_id).report_id


def test_the_seed_decides() -> None:
    store = make_store()
    assert texts(with_shuffled_reports(store, 1)) == texts(with_shuffled_reports(store, 1))
    shuffles = {tuple(texts(with_shuffled_reports(store, seed)).values()) for seed in range(10)}
    assert len(shuffles) > 3


def test_two_patients_exchange_their_reports() -> None:
    two = {"s0": ("a", "train", 1), "s1": ("b", "train", 1)}
    given = texts(with_shuffled_reports(make_store(two), 0))
    assert given == {"s0": "Findings of s1.", "s1": "Findings of s0."}


def test_reports_of_one_patient_cannot_be_shuffled() -> None:
    alone = {"s0": ("a", "train", 1), "s1": ("a", "train", 1), "s6": ("e", "val", 1)}
    with pytest.raises(DataError, match="needs several patients"):
        with_shuffled_reports(make_store(alone), 0)
