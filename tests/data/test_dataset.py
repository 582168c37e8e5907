"""From a store to batches: scaling, padding, identities, labels; and once with real scans."""

import csv
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from mg3d.batch import StudyBatch
from mg3d.data.dataset import StudyDataset, collate
from mg3d.data.grid import GridConfig
from mg3d.data.hounsfield import scale_hu
from mg3d.data.preparation.prepare import PrepareConfig, prepare
from mg3d.data.sampler import EpochSampler
from mg3d.data.store import VolumeStore
from mg3d.data.text.tokens import ReportTokenizer
from mg3d.errors import ConfigError


@pytest.fixture
def store(make_site: Callable[..., Any], tmp_path: Path) -> VolumeStore:
    site = make_site(4)
    site.rows[3] |= {"findings": "", "impression": ""}
    site.write()
    return prepare(site.config(tmp_path / "store", keep_without_report=True))


@pytest.fixture
def tokenizer(store: VolumeStore) -> ReportTokenizer:
    texts = [" ".join(store.report(row.study_id).clauses()) for row in store.rows]
    return ReportTokenizer.train(texts, 300)


def test_a_batch_holds_what_the_store_holds(store: VolumeStore, tokenizer: ReportTokenizer) -> None:
    dataset = StudyDataset(store, store.rows, tokenizer)
    batch = collate([dataset[index] for index in range(4)])
    assert isinstance(batch, StudyBatch)
    for image, row in zip(batch.image, store.rows, strict=True):
        assert np.array_equal(image[0].numpy(), store.read_hu(row.volume_id))
    batch = batch.to("cpu")
    assert batch.image.shape == (4, 1, 8, 8, 8)
    assert batch.image.dtype == torch.float32
    for index, row in enumerate(store.rows):
        hu = store.read_hu(row.volume_id).astype(np.float64)
        expected = (np.clip(hu, -1000, 1000) + 1000) / 2000
        # float32 rounding: measured 3e-8.
        np.testing.assert_allclose(batch.image[index, 0].numpy(), expected, atol=1e-7)
    assert batch.volume_ids == batch.study_ids == ("s0", "s1", "s2", "s3")
    assert batch.patient_ids == ("p0", "p0", "p1", "p1")
    assert batch.report_ids == tuple(row.report_id for row in store.rows)
    assert batch.labels is not None
    assert batch.labels[:3].tolist() == [[0], [1], [0]]
    assert batch.labels[3].isnan().all()
    assert batch.identities().shape == (4, 3)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_images_are_those_of_scale_hu_to_the_bit(
    num_workers: int, store: VolumeStore, tokenizer: ReportTokenizer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("mg3d.batch._CACHED_VOXELS", 100)  # 512 voxels: five chunks and a rest
    dataset = StudyDataset(store, store.rows, tokenizer)
    (batch,) = DataLoader(dataset, batch_size=4, collate_fn=collate, num_workers=num_workers)
    assert batch.image.dtype == torch.int16
    scaled = batch.to("cpu").image
    for image, row in zip(scaled, store.rows, strict=True):
        assert torch.equal(image[0], torch.from_numpy(scale_hu(store.read_hu(row.volume_id))))
    for number, image in enumerate(scaled):
        assert torch.equal(image, dataset[number].image)


def test_a_worker_gets_the_corpus_without_the_tables_of_the_store(
    store: VolumeStore, tokenizer: ReportTokenizer
) -> None:
    dataset = StudyDataset(store, store.rows, tokenizer)
    (batch,) = DataLoader(
        dataset, batch_size=4, collate_fn=collate, num_workers=1, multiprocessing_context="spawn"
    )
    assert batch.volume_ids == tuple(row.volume_id for row in store.rows)
    sent = pickle.loads(pickle.dumps(dataset))
    assert (sent.store.rows, sent.store.report("s0").is_empty) == ((), True)
    assert dataset.store.rows == store.rows


def test_reports_are_padded_and_nothing_else(
    store: VolumeStore, tokenizer: ReportTokenizer
) -> None:
    dataset = StudyDataset(store, store.rows, tokenizer)
    items = [dataset[index] for index in range(4)]
    batch = collate(items)
    longest = max(len(item.report.token_ids) for item in items)
    length = batch.token_ids.shape[1]
    assert length % 8 == 0
    assert longest <= length < longest + 8
    for index, item in enumerate(items):
        size = len(item.report.token_ids)
        assert batch.token_mask[index].tolist() == [True] * size + [False] * (length - size)
        assert batch.token_ids[index, :size].tolist() == item.report.token_ids.tolist()
        assert (batch.token_ids[index, size:] == tokenizer.pad_token_id).all()
        for name in ("clause_ids", "word_ids"):
            numbers = getattr(batch, name)[index]
            assert numbers[:size].tolist() == getattr(item.report, name).tolist()
            assert (numbers[size:] == 0).all()
    assert batch.clause_ids[3].sum() == 0  # no report: special tokens only
    assert batch.token_mask[3].sum() == 2


def test_truncation_is_counted(store: VolumeStore, tokenizer: ReportTokenizer) -> None:
    assert StudyDataset(store, store.rows, tokenizer).num_truncated_reports == 0
    short = ReportTokenizer(tokenizer.tokenizer, max_tokens=8)
    dataset = StudyDataset(store, store.rows, short)
    assert dataset.num_truncated_reports == 3
    lengths = [len(tokenizer(store.report(row.study_id)).token_ids) for row in store.rows]
    assert dataset.num_truncated_tokens == sum(max(0, length - 8) for length in lengths)


def test_workers_and_order_change_nothing(store: VolumeStore, tokenizer: ReportTokenizer) -> None:
    dataset = StudyDataset(store, store.rows, tokenizer)
    sampler = EpochSampler(4, 2, seed=0, patient_ids=dataset.patient_ids)
    loads = [
        list(DataLoader(dataset, batch_sampler=sampler, collate_fn=collate, num_workers=workers))
        for workers in (0, 2)
    ]
    for one, two in zip(*loads, strict=True):
        assert one.volume_ids == two.volume_ids
        assert len(set(one.patient_ids)) == 2
        assert torch.equal(one.image, two.image)
        assert torch.equal(one.token_ids, two.token_ids)


def test_another_clause_rule_is_refused(store: VolumeStore, tokenizer: ReportTokenizer) -> None:
    other = ReportTokenizer(tokenizer.tokenizer, clauses="sen_comma")
    with pytest.raises(ConfigError, match=r"'sen_comma'.*'sentence'"):
        StudyDataset(store, store.rows, other)


def test_without_label_columns_there_are_no_labels(
    make_site: Callable[..., Any], tmp_path: Path, tokenizer: ReportTokenizer
) -> None:
    site = make_site(2, tmp_path / "plain")
    for row in site.rows:
        del row["label:nodule"]
    site.write()
    plain = prepare(site.config(tmp_path / "plain_store"))
    assert collate([StudyDataset(plain, plain.rows, tokenizer)[0]]).labels is None


@pytest.mark.real_data
def test_real_scans_and_reports_become_a_batch(
    real_folder: Path, real_reports: list[dict[str, str]], tmp_path: Path
) -> None:
    """Plumbing only: these scans and reports do not belong together."""
    scans = sorted(real_folder.glob("ibsi_sts/*/CT_image.nii.gz"))
    scans += sorted(real_folder.glob("totalsegmentator/example_ct*.nii.gz"))
    with (tmp_path / "manifest.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["study_id", "patient_id", "image", "findings", "impression"])
        for number, (scan, report) in enumerate(zip(scans, real_reports, strict=True)):
            patient = scan.parent.name
            texts = report["findings"], report["impression"]
            writer.writerow([f"study{number}", patient, scan.resolve(), *texts])
    store = prepare(
        PrepareConfig(
            data=tmp_path / "manifest.csv",
            out=tmp_path / "store",
            geometry=GridConfig(grid=(32, 32, 32), spacing_mm=(5, 5, 5)),
            num_workers=1,
        )
    )
    assert len(store) == 8
    texts = [" ".join(store.report(row.study_id).clauses()) for row in store.rows]
    tokenizer = ReportTokenizer.train(texts, 1500, max_tokens=600)
    dataset = StudyDataset(store, store.rows, tokenizer)
    assert dataset.num_truncated_tokens == 0
    batch = collate([dataset[index] for index in range(8)]).to("cpu")
    assert batch.image.shape == (8, 1, 32, 32, 32)
    for index, item in enumerate(batch.study_ids):
        assert int(batch.clause_ids[index].max()) == len(store.report(item).clauses())
        image = batch.image[index]
        tissue = ((image > 0.45) & (image < 0.6)).float().mean()  # -100 to 200 HU
        assert 0.02 < tissue < 0.9
        assert image.min() < 0.05  # air or gas, -900 HU
