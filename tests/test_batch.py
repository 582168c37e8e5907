"""StudyBatch: identities say which rows may not be each other's negatives."""

from dataclasses import replace

import pytest
import torch

from mg3d.batch import StudyBatch
from mg3d.data.hounsfield import scale_hu


def make(volumes, studies, patients, reports) -> StudyBatch:
    count = len(volumes)
    ids = torch.zeros(count, 4, dtype=torch.int64)
    return StudyBatch(
        image=torch.zeros(count, 1, 2, 2, 2),
        token_ids=ids,
        token_mask=ids.bool(),
        clause_ids=ids,
        word_ids=ids,
        volume_ids=volumes,
        study_ids=studies,
        patient_ids=patients,
        report_ids=reports,
    )


def test_equal_names_give_equal_numbers_and_kinds_do_not_mix() -> None:
    batch = make(("v1", "v2", "v3"), ("s1", "s1", "s2"), ("p1", "p1", "s1"), ("r", "r", "q"))
    ids = batch.identities()
    assert ids.shape == (3, 3)
    assert torch.equal(ids[0], ids[1])
    assert ids[2, 1] != ids[0, 0]  # patient "s1" is not study "s1"
    assert (ids[2] != ids[0]).all()


def test_missing_reports_are_nobody_elses() -> None:
    ids = make(("v1", "v2"), ("s1", "s2"), ("p1", "p2"), ("", "")).identities()
    assert ids[0, 2] != ids[1, 2]


def test_moving_keeps_names() -> None:
    batch = make(("v",), ("s",), ("p",), ("r",)).to("cpu")
    assert batch.volume_ids == ("v",)
    assert len(batch) == 1
    assert batch.to("meta").identities().device.type == "meta"  # sent along, not made there


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_hu_of_16_bits_is_scaled_on_arrival_as_scale_hu_does(device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    hu = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(1, 1, 32, 32, 64)
    batch = replace(make(("v",), ("s",), ("p",), ("r",)), image=hu)
    assert torch.equal(batch.to(device).image.cpu(), torch.from_numpy(scale_hu(hu.numpy())))
    assert batch.image is hu  # the sender's
    part = replace(batch, image=hu[:, :, 3:5])
    assert torch.equal(part.to("cpu").image, torch.from_numpy(scale_hu(hu[:, :, 3:5].numpy())))
    assert replace(batch, image=hu[:, :, :0]).to("cpu").image.shape == (1, 1, 0, 32, 64)


def test_what_is_scaled_stays_as_it_is() -> None:
    batch = make(("v",), ("s",), ("p",), ("r",)).to("cpu")
    assert batch.to("cpu").image is batch.image
