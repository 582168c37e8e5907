from dataclasses import replace

import numpy as np
import pytest

from mg3d.phantom.findings import FINDINGS, FIRST_LESION_LABEL
from mg3d.phantom.study import paint

NUMBER = {finding.name: k for k, finding in enumerate(FINDINGS)}


def painted(plan_with, name, index, difficulty="easy"):
    k = NUMBER[name]
    plan = plan_with(k, index, difficulty)
    canvas = paint(plan)
    return plan, plan.lesions[k], canvas, canvas.label == FIRST_LESION_LABEL + k


@pytest.mark.parametrize("index", range(8))
def test_a_nodule_has_the_stated_size_and_side(plan_with, index):
    plan, lesion, canvas, _ = painted(plan_with, "Lung nodule", index)
    assert lesion.size_mm == round(2 * max(lesion.sizes))
    assert (lesion.centers[0][0] > 0) == (lesion.side == "right")
    assert lesion.place.startswith(lesion.side)
    if len(lesion.centers) == 1:
        empty = paint(replace(plan, lesions={}))
        air = empty.hu < -600
        share = (canvas.hu - empty.hu)[air] / (60 - empty.hu[air])
        diameter = 2 * (3 * share.sum() * canvas.softness**3 / (4 * np.pi)) ** (1 / 3)
        assert diameter == pytest.approx(lesion.size_mm, abs=2)  # measured up to 0.7 mm


@pytest.mark.parametrize("name", ["Consolidation", "Bronchiectasis", "Atelectasis"])
def test_a_lobar_finding_lies_on_its_side(plan_with, name):
    for index in range(6):
        _, lesion, canvas, own = painted(plan_with, name, index)
        x = np.broadcast_to(canvas.x, own.shape)[own]
        right = (x > 0).mean()
        assert (right > 0.9) if lesion.side == "right" else (right < 0.1)


def test_consolidation_stops_at_the_fissure(plan_with):
    for index in range(6):
        plan, lesion, canvas, own = painted(plan_with, "Consolidation", index)
        beyond = plan.anatomy.lobe_distance(*canvas.axes(canvas.everywhere), lesion.place)
        assert np.broadcast_to(beyond, own.shape)[own].max() < canvas.softness


def test_bronchiectasis_holds_air_inside_walls(plan_with):
    for index in range(5):
        _, _, canvas, own = painted(plan_with, "Bronchiectasis", index)
        assert np.percentile(canvas.hu[own], 10) < -840
        assert np.percentile(canvas.hu[own], 90) > -500


def test_emphysema_prefers_the_upper_half(plan_with):
    for index in range(5):
        plan, _, canvas, own = painted(plan_with, "Emphysema", index)
        z = np.broadcast_to(canvas.z, own.shape)[own]
        assert z.mean() > 0.15 * plan.anatomy.apex


def test_septal_lines_stay_near_the_chest_wall(plan_with):
    for index in range(3):
        plan, _, canvas, own = painted(plan_with, "Interlobular septal thickening", index)
        depth = plan.anatomy.wall_depth(*canvas.axes(canvas.everywhere))
        assert depth[own].max() < 36


def test_fibrotic_bands_start_at_the_named_apex(plan_with):
    for index in range(6):
        plan, lesion, canvas, own = painted(plan_with, "Pulmonary fibrotic sequela", index)
        x = np.broadcast_to(canvas.x, own.shape)[own]
        z = np.broadcast_to(canvas.z, own.shape)[own]
        assert np.median(z) > 0.35 * plan.anatomy.apex
        right = (x > 0).mean()
        if lesion.side == "bilateral":
            assert 0.2 < right < 0.8
        else:
            assert right == (1.0 if lesion.side == "right" else 0.0)


def test_more_severe_mosaic_covers_more_lung(plan_with):
    shares = {}
    for index in range(12):
        _, lesion, canvas, own = painted(plan_with, "Mosaic attenuation pattern", index, "standard")
        shares[lesion.sizes[0]] = own.sum() / (canvas.lung > 0.5).sum()
    extents = sorted(shares)
    assert np.corrcoef(extents, [shares[extent] for extent in extents])[0, 1] > 0.8
    assert 0.15 < min(shares.values()) < max(shares.values()) < 0.9


def test_thick_bronchial_walls_keep_their_lumen_open(plan_with):
    plan, _, canvas, _ = painted(plan_with, "Peribronchial thickening", 1)
    middle = plan.anatomy.bronchi()[0][1][1]
    nearest = tuple(
        int(np.abs(axis.ravel() - value).argmin())
        for axis, value in zip((canvas.x, canvas.y, canvas.z), middle, strict=True)
    )
    assert canvas.hu[nearest] < -500
