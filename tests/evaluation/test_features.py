"""Encoding once, in parts; a killed evaluation goes on."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mg3d.batch import StudyBatch
from mg3d.data.dataset import StudyDataset
from mg3d.evaluation import features as module
from mg3d.evaluation.features import FeatureCache, embedding_features, probe_features
from mg3d.evaluation.prompts import PromptPair
from mg3d.model.outputs import ImageFeatures
from mg3d.weights.release import Release, load_model


@pytest.fixture
def release(small_run: Path) -> Release:
    return load_model(small_run / "release")


@pytest.fixture
def dataset(small_store, release: Release) -> StudyDataset:
    return StudyDataset(small_store, small_store.rows, release.tokenizer)


def cache(folder: Path, batch_size: int = 5) -> FeatureCache:
    return FeatureCache.of(
        folder, "weights", "store", batch_size=batch_size, device=torch.device("cpu")
    )


def test_rows_and_parts_do_not_depend_on_batches(
    tmp_path: Path, dataset: StudyDataset, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches of 3 against 5, parts of 8 against one: 2.4e-7 measured."""
    makers = embedding_features(release.model)
    whole = cache(tmp_path / "a").compute("all", dataset, makers)
    monkeypatch.setattr(module, "PART_VOLUMES", 8)
    parts = cache(tmp_path / "b", batch_size=3).compute("all", dataset, makers)
    assert len(list((tmp_path / "b").rglob("*.safetensors"))) == 5
    for key in ("image", "text"):
        assert whole[key].shape == (38, 8)
        np.testing.assert_allclose(parts[key], whole[key], atol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(whole[key], axis=1), 1, atol=1e-6)


def test_a_killed_evaluation_goes_on_after_its_last_part(
    tmp_path: Path, dataset: StudyDataset, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PART_VOLUMES", 10)
    makers = embedding_features(release.model)
    expected = cache(tmp_path / "undisturbed").compute("all", dataset, makers)
    encoded: list[str] = []

    def image(batch: StudyBatch) -> torch.Tensor:
        if len(encoded) == 20:
            raise KeyboardInterrupt
        encoded.extend(batch.volume_ids)
        return makers["image"](batch)

    with pytest.raises(KeyboardInterrupt):
        cache(tmp_path / "killed").compute("all", dataset, {**makers, "image": image})
    encoded[:] = []
    files = sorted((tmp_path / "killed").rglob("*.safetensors"))
    assert len(files) == 2
    files[1].write_bytes(files[1].read_bytes()[:-4])  # and one part is torn

    def watched(batch: StudyBatch) -> torch.Tensor:
        encoded.extend(batch.volume_ids)
        return makers["image"](batch)

    again = cache(tmp_path / "killed").compute("all", dataset, {**makers, "image": watched})
    assert encoded == [row.volume_id for row in dataset.rows[10:]]
    for key in makers:
        np.testing.assert_array_equal(again[key], expected[key])


def test_a_new_feature_is_added_to_what_is_there(tmp_path: Path, dataset: StudyDataset) -> None:
    first = cache(tmp_path).compute("all", dataset, {"mean": lambda b: b.image.mean((1, 2, 3, 4))})

    def never(batch: StudyBatch) -> torch.Tensor:
        raise AssertionError("computed twice")

    makers = {"mean": never, "max": lambda b: b.image.amax((1, 2, 3, 4))}
    second = cache(tmp_path).compute("all", dataset, makers)
    np.testing.assert_array_equal(first["mean"], second["mean"])
    assert (second["max"] >= second["mean"]).all()


def test_other_weights_or_store_never_read_these(tmp_path: Path) -> None:
    device = torch.device("cpu")
    folders = {
        FeatureCache.of(tmp_path, *key, batch_size=1, device=device).folder
        for key in (("a", "b"), ("a", "c"), ("b", "a"), ("ab", ""))
    }
    assert len(folders) == 4


@pytest.mark.parametrize(("name", "other"), [("_FEATURES_VERSION", 0), ("VOXEL_GRID", (4, 4, 4))])
def test_features_that_mean_something_else_never_read_these(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, other: object
) -> None:
    before = cache(tmp_path).folder
    monkeypatch.setattr(module, name, other)
    assert cache(tmp_path).folder != before


def test_a_report_shared_in_a_batch_is_read_once(
    small_store, release: Release, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = [row for row in small_store.rows if row.study_id in ("p02_s", "p04_s")]
    assert [row.study_id for row in rows] == ["p02_s", "p02_s", "p04_s"]
    dataset = StudyDataset(small_store, rows, release.tokenizer)
    read: list[int] = []
    real = release.model.embed_text

    def embed_text(ids, mask, clauses):
        read.append(len(ids))
        return real(ids, mask, clauses)

    monkeypatch.setattr(release.model, "embed_text", embed_text)
    text = cache(tmp_path).compute("some", dataset, embedding_features(release.model))["text"]
    assert read == [2]
    np.testing.assert_array_equal(text[0], text[1])
    assert not np.allclose(text[0], text[2])


def test_prompts_are_embedded_as_reports_and_padding_changes_nothing(release: Release) -> None:
    short, long = "Nodule.", "There is a lung nodule of 12 mm."
    device = torch.device("cpu")
    both = module.embed_prompts(release, {"x": PromptPair((short, long), (long,))}, device)
    single = module.embed_prompts(release, {"x": PromptPair((short,), (long,))}, device)
    mean = single.positive + single.negative
    np.testing.assert_allclose(both.positive, mean / np.linalg.norm(mean), atol=1e-6)
    np.testing.assert_allclose(both.negative, single.negative, atol=1e-6)


def test_octants_keep_where_something_is() -> None:
    tokens = torch.zeros(1, 4 * 2 * 4, 3)
    tokens[0, (3 * 2 + 1) * 4 + 0] = torch.tensor([1.0, 2.0, 3.0])  # x high, y high, z low
    means = module.octant_means(ImageFeatures(tokens=tokens, grid=(4, 2, 4))).reshape(3, 2, 2, 2)
    expected = torch.zeros(3, 2, 2, 2)
    expected[:, 1, 1, 0] = torch.tensor([1.0, 2.0, 3.0]) / 4
    torch.testing.assert_close(means, expected)


def test_probe_features_and_the_seed_of_the_untrained_encoder(
    dataset: StudyDataset, release: Release, tmp_path: Path
) -> None:
    state = torch.random.get_rng_state()
    made = cache(tmp_path).compute("all", dataset, probe_features(release.model, 1))
    again = cache(tmp_path / "b").compute("all", dataset, probe_features(release.model, 1))
    other = cache(tmp_path / "c").compute("all", dataset, probe_features(release.model, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    np.testing.assert_array_equal(made["random_encoder_1"], again["random_encoder_1"])
    assert not np.allclose(made["random_encoder_1"], other["random_encoder_2"])
    assert not np.allclose(made["random_encoder_1"], made["trained_encoder"])
    assert made["voxels"].shape == (38, 8 * 6 * 8)
    corner = dataset[0].image[0, :2, :3, :2].mean()  # 16 voxels in 8 and 6 blocks
    assert made["voxels"][0, 0] == pytest.approx(float(corner), abs=1e-6)
