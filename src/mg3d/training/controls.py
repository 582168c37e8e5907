"""Control experiments: the same training on data from which nothing can be learned."""

import dataclasses

from mg3d.data.store import VolumeStore
from mg3d.errors import DataError
from mg3d.randomness import rng


def with_shuffled_reports(store: VolumeStore, seed: int) -> VolumeStore:
    """The store with every training study's report given to another patient's study.

    A run on it shows what the evaluation prints where volumes and reports have nothing in common;
    anything but chance would be a leak. Reports of other splits stay.

    Raises:
        DataError: If the training split holds reports of one patient only.
    """
    train = store.select("train")
    patients = {row.study_id: row.patient_id for row in train}
    studies = sorted(study for study in patients if not store.report(study).is_empty)
    order = [studies[i] for i in rng(seed, "shuffled_reports").permutation(len(studies))]
    donors = _donors(order, patients, store)
    rows = tuple(
        dataclasses.replace(row, report_id=store.report(donors[row.study_id]).report_id)
        if row.study_id in donors
        else row
        for row in store.rows
    )
    all_studies = {row.study_id for row in store.rows}
    reports = {study: store.report(donors.get(study, study)) for study in all_studies}
    return VolumeStore(
        store.path, store.settings, rows, reports, store.label_names, store.content_hash
    )


def _donors(order: list[str], patients: dict[str, str], store: VolumeStore) -> dict[str, str]:
    """Study -> the study whose report it gets: the shortest rotation without a common patient."""
    for shift in range(1, len(order)):
        pairs = dict(zip(order, order[shift:] + order[:shift], strict=True))
        if all(patients[study] != patients[donor] for study, donor in pairs.items()):
            return pairs
    raise DataError(
        f"{store.path}: reports cannot be shuffled between patients; the training split needs "
        "several patients, none with half of the studies"
    )
