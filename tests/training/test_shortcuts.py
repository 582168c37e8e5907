"""The check sees one modality only, and needs no more memory than a step."""

from dataclasses import replace

import pytest
from task_worker import CONTEXT, MODEL, OBJECTIVES, make_batch, make_task
from torch import Tensor

from mg3d.objectives.contrast import pair_cosines, top1_share
from mg3d.objectives.registry import OBJECTIVES as ALL
from mg3d.objectives.registry import ObjectivesConfig
from mg3d.training.engine import launch
from mg3d.training.shortcuts import shortcut_shares
from mg3d.training.task import Modality, TrainingTask

CONTRASTIVE = ("plain_alignment", "global_alignment", "aggregation_contrast")


def check(task: TrainingTask, micro_batch_size: int = 0) -> dict[str, Tensor]:
    fabric = launch("cpu", "32-true")
    wrapped = fabric.setup_module(task)
    return shortcut_shares(fabric, wrapped, task, make_batch(), CONTEXT, micro_batch_size)


def test_every_contrastive_term_is_measured_without_either_side() -> None:
    shares = check(make_task(MODEL))
    sides = ("image", "report")
    assert set(shares) == {f"{n}.top1_{side}_blanked" for n in CONTRASTIVE for side in sides}
    assert not any(value.requires_grad for value in shares.values())


@pytest.mark.parametrize("side", ["image", "report"])
def test_the_side_that_is_named_is_the_blanked_one(side: Modality) -> None:
    """What `blanked` hides is shown in test_task; here, which pair of views is judged."""
    task, batch = make_task(MODEL), make_batch()
    views = task.blanked(batch, CONTEXT, side)
    left_and_right = {
        "plain_alignment": (views.image_embedding, views.text_embedding),
        "global_alignment": (views.fused_pair, views.plain_pair),
        "aggregation_contrast": (views.aggregated, views.aggregation_anchor),
    }
    shares = check(task)
    for name, pair in left_and_right.items():
        pairs = pair_cosines(*pair, views.has_report, batch.identities())
        assert shares[f"{name}.top1_{side}_blanked"] == top1_share(pairs), name
    other = "report" if side == "image" else "image"  # 1 of 2 x 7 answers, and of 2 x 8
    name = "plain_alignment.top1_"
    assert shares[f"{name}{side}_blanked"] != shares[f"{name}{other}_blanked"]


def test_no_more_volumes_are_encoded_at_once_than_in_a_step() -> None:
    task, rows = make_task(MODEL), []
    original = task.model.encode_image
    task.model.encode_image = lambda image: (rows.append(len(image)), original(image))[1]
    expected = check(task)
    assert rows == [8, 8]
    rows.clear()
    found = check(task, 3)
    assert rows == [3, 3, 2] * 2
    assert found.keys() == expected.keys()
    for name in expected:  # with all images alike studies tie, and rounding decides
        if "report" in name:
            assert found[name] == expected[name], name


def test_a_run_without_contrast_has_no_shortcuts() -> None:
    objectives = {name: replace(getattr(OBJECTIVES, name), weight=0.0) for name in ALL}
    objectives["masked_report"] = OBJECTIVES.masked_report
    assert check(make_task(MODEL, ObjectivesConfig(**objectives))) == {}
