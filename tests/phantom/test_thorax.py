from dataclasses import replace

import numpy as np
import pytest

from mg3d.phantom.anatomy import draw_anatomy
from mg3d.phantom.findings import CARDIOMEGALY
from mg3d.phantom.study import paint
from mg3d.phantom.thorax import HEART_LABEL, LUNG_LABEL, vessel_tree


@pytest.fixture(scope="module")
def canvas(healthy):
    return paint(healthy)


def hu_at(canvas, point, reach=4.0):
    box = canvas.around(point, reach)
    return float(np.median(canvas.hu[box]))


def test_tissues_have_their_density(canvas, healthy):
    body = healthy.anatomy
    assert hu_at(canvas, body.place(72, 40, 20)) == pytest.approx(body.lung_hu, abs=40)
    assert 40 < hu_at(canvas, (60, 0, body.dome_right - 40)) < 130  # liver
    assert hu_at(canvas, body.place(0, -14, 120)) < -700  # trachea
    assert 100 < hu_at(canvas, body.aorta()[7]) < 200  # enhanced blood
    assert hu_at(canvas, (0, -body.chest[1] + 22, 25 * body.stature * 2)) > 150  # vertebra
    assert hu_at(canvas, (0, body.half_depth - 6, 0), 2) < 0  # fat under the skin
    assert (canvas.hu[:, -1] < -900).all()  # air in front of the patient


def test_organs_have_a_plausible_volume(canvas):
    voxel_ml = canvas.softness**3 / 1000
    lungs = (canvas.label == LUNG_LABEL).sum() * voxel_ml
    heart = (canvas.label == HEART_LABEL).sum() * voxel_ml
    assert 3000 < lungs < 7000
    assert 350 < heart < 750


def test_heart_is_on_the_left_and_liver_on_the_right(canvas, healthy):
    x = np.broadcast_to(canvas.x, canvas.hu.shape)
    assert x[canvas.label == HEART_LABEL].mean() < -8
    low = canvas.z.ravel() < healthy.anatomy.dome_left - 20
    soft = (canvas.hu > 75) & (canvas.hu < 130)  # the liver takes up contrast agent
    assert (x[:, :, low][soft[:, :, low]]).mean() > 15


def test_an_enlarged_heart_changes_nothing_far_from_it(plan_with):
    plan = plan_with(CARDIOMEGALY, 1)
    before, after = paint(replace(plan, lesions={})), paint(plan)
    heart = plan.anatomy.heart.enlarged(plan.lesions[CARDIOMEGALY].sizes[0])
    far = heart.distance(*before.axes(before.everywhere)) > 3 * before.softness
    assert far.mean() > 0.5
    assert (before.hu[far] == after.hu[far]).all()
    assert not (before.hu == after.hu).all()


def test_vessels_grow_inside_their_lung_and_get_thinner():
    body = draw_anatomy(1.0, 2, "tree")
    segments = vessel_tree(body, 30)
    assert len(segments) == 60
    assert vessel_tree(body, 30) == segments
    ends = np.array([stop for _, stop, _ in segments], np.float32)
    assert (body.lung_depth(*ends.T) > 0).all()
    assert (np.sign(ends[:30, 0]) == 1).all()
    assert (np.sign(ends[30:, 0]) == -1).all()
    radius_at = {stop: radius for _, stop, radius in segments}
    for start, _, radius in segments:
        assert radius <= radius_at.get(start, 5.0)
