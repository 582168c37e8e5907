from pathlib import Path

import numpy as np
import pytest

from mg3d.errors import DataError
from mg3d.evaluation.subject import Subject


@pytest.fixture
def subject(small_run: Path) -> Subject:
    return Subject.open(small_run, None, "test", batch_size=4, accelerator="cpu")


def test_embedded_rows_belong_together(subject: Subject) -> None:
    embedded = subject.embedded("test")
    assert embedded.volume_ids == tuple(row.volume_id for row in subject.rows)
    assert embedded.finding_names == ("Pleural effusion", "Lung nodule")
    for place, row in enumerate(subject.rows):
        image = subject.image(row.volume_id)
        alone = subject.release.model.embed_image(image)[0].detach().numpy()
        np.testing.assert_allclose(embedded.image[place], alone, atol=1e-6)  # 1.2e-7 measured
        np.testing.assert_array_equal(embedded.labels[place], row.labels)
    assert subject.spacing_mm(subject.rows[0].volume_id) == pytest.approx((20.0, 20.0, 20.0))


def test_probe_studies_are_a_random_but_repeatable_choice(subject: Subject) -> None:
    def patients(seed: int, most: int | None) -> tuple[str, ...]:
        return subject.probed("train", seed=seed, most_studies=most)["voxels"].patient_ids

    everyone = patients(0, None)
    assert len(everyone) == 14
    assert patients(0, 100) == everyone
    some = patients(0, 6)
    assert len(set(some)) == 6
    assert set(some) < set(everyone)
    assert some == patients(0, 6)
    assert some != everyone[:6]
    assert patients(1, 6) != some


def test_a_probe_row_is_a_study(subject: Subject) -> None:
    probed = subject.probed("test", seed=0)
    arrays = {row.study_id: [] for row in subject.rows}
    for row in subject.rows:
        arrays[row.study_id].append(subject.image(row.volume_id)[0, 0, :2, :3, :2].mean().item())
    assert len(probed["voxels"].features) == len(arrays) == 14
    means = [np.mean(values) for _, values in sorted(arrays.items())]
    np.testing.assert_allclose(probed["voxels"].features[:, 0], means, atol=1e-6)


def test_obstacles_are_named(small_run: Path, subject: Subject) -> None:
    assert not any(subject.obstacles().values())
    train = Subject.open(small_run, None, "train", batch_size=4, accelerator="cpu")
    assert train.obstacles()["zero_shot"] is None
    assert "other than the one that is judged" in str(train.obstacles()["baselines"])


def test_an_empty_split_lists_the_others(
    small_run: Path, small_store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(small_store), "select", lambda store, *splits: ())
    with pytest.raises(DataError, match=r"no volume in split 'val' \(volumes: train 0, val 0"):
        Subject.open(small_run, None, "val", batch_size=4, accelerator="cpu")
