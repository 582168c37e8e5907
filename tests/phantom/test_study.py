from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mg3d.phantom.settings import PhantomConfig
from mg3d.phantom.study import list_visits, plan_study, render
from mg3d.phantom.thorax import HEART_LABEL, LUNG_LABEL


def test_a_plan_depends_on_seed_split_patient_and_visit_alone(settings):
    plan = plan_study(settings, "train", 5)
    assert plan == plan_study(settings, "train", 5)
    more = replace(settings, num_train=9999, num_workers=2, out=Path("elsewhere"))
    assert plan == plan_study(more, "train", 5)
    for other in (
        plan_study(replace(settings, seed=12), "train", 5),
        plan_study(settings, "test", 5),
        plan_study(settings, "train", 6),
    ):
        assert other.anatomy != plan.anatomy
        assert other.scan != plan.scan


def test_a_follow_up_has_the_same_body_and_findings_of_its_own(settings):
    first, second = plan_study(settings, "train", 5), plan_study(settings, "train", 5, 2)
    assert first.anatomy == second.anatomy
    assert first.patient_id == second.patient_id
    assert first.study_id != second.study_id
    assert first.scan != second.scan
    assert first.lesions != second.lesions


@pytest.mark.parametrize(("share", "low", "high"), [(0.0, 0, 0), (0.1, 60, 140), (1.0, 1000, 1000)])
def test_share_of_follow_ups(share, low, high):
    settings = PhantomConfig(
        out=Path("unused"), num_train=1000, num_val=0, num_test=0, follow_up_share=share
    )
    visits = list(list_visits(settings))
    assert low <= len(visits) - 1000 <= high
    assert len({(visit.split, visit.patient) for visit in visits}) == 1000


def test_the_same_plan_renders_the_same_voxels(settings):
    plan = plan_study(settings, "train", 2)
    first, second = render(plan), render(plan)
    assert (first.hu == second.hu).all()
    assert (first.masks == second.masks).all()
    assert first.hu.dtype == np.int16
    assert first.masks.dtype == np.uint8
    assert first.hu.shape == first.masks.shape


@pytest.mark.parametrize("index", range(6))
def test_ras_reorientation_puts_the_heart_left_and_the_liver_right(settings, index):
    """As a reader of the stored file would see it: only voxels and affine are used."""
    plan = replace(plan_study(settings, "train", index), lesions={})
    hu, masks, affine = render(plan)
    voxels = np.asarray(nib.as_closest_canonical(nib.Nifti1Image(hu, affine)).dataobj)
    labels = np.asarray(nib.as_closest_canonical(nib.Nifti1Image(masks, affine)).dataobj)
    x, y, z = (np.nonzero(labels == LUNG_LABEL)[axis].mean() for axis in range(3))
    heart = np.argwhere(labels == HEART_LABEL).mean(0)
    assert heart[0] < x  # first axis runs to the patient's right
    assert heart[1] > y  # second to the front
    assert heart[2] < z  # third to the head
    soft = np.argwhere((voxels[..., :8] > 40) & (voxels[..., :8] < 140))
    middle = np.argwhere(voxels[..., :8] > -500)[:, 0].mean()
    assert soft[:, 0].mean() > middle + 1  # the liver is larger than the spleen


def test_noise_is_the_same_with_and_without_a_finding(plan_with):
    plan = plan_with(9, 4)
    with_nodule, without = render(plan), render(replace(plan, lesions={}))
    changed = with_nodule.hu != without.hu
    assert 0 < changed.sum() < 0.02 * changed.size


def test_labels_follow_the_lesions(plans):
    for plan in plans[:50]:
        assert {k for k, label in enumerate(plan.labels) if label} == set(plan.lesions)
