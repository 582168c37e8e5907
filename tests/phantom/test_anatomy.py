import numpy as np
import pytest

from mg3d.phantom.anatomy import LOBES, draw_anatomy, sample_lung
from mg3d.randomness import rng


@pytest.fixture(scope="module")
def patient():
    return draw_anatomy(1.0, 0, "train", 3)


def test_a_patient_depends_on_seed_and_keys_alone():
    assert draw_anatomy(1.0, 0, "train", 3) == draw_anatomy(1.0, 0, "train", 3)
    others = [(1, "train", 3), (0, "train", 4), (0, "test", 3)]
    assert all(draw_anatomy(1.0, 0, "train", 3) != draw_anatomy(1.0, *keys) for keys in others)


def test_no_jitter_makes_all_bodies_alike():
    first, second = draw_anatomy(0.0, 0, "a"), draw_anatomy(0.0, 0, "b")
    assert first.heart == second.heart
    assert first.half_width == second.half_width


def test_heart_is_left_of_the_middle_and_grows_by_the_factor(patient):
    assert patient.heart.center[0] < -5
    grown = patient.heart.enlarged(1.3)
    assert grown.radius == pytest.approx(1.3 * patient.heart.radius)
    assert grown.length == pytest.approx(1.3 * patient.heart.length)


def test_points_on_the_heart_have_distance_zero(patient):
    for along, angle in ((-0.5, 0.0), (0.0, 1.5), (0.6, -2.0)):
        point = (np.float32([value]) for value in patient.heart.surface(along, angle))
        assert float(patient.heart.distance(*point)[0]) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("jitter", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("lobe", [*LOBES, None])
def test_sampled_points_lie_in_their_lobe(jitter, lobe):
    for patient_number in range(12):
        body = draw_anatomy(jitter, 9, patient_number)
        points = sample_lung(body, rng(1, patient_number), 5, margin=12, lobe=lobe)
        x, y, z = np.array(points, np.float32).T
        assert (body.lung_depth(x, y, z) > 0).all()
        assert (body.heart.distance(x, y, z) > 0).all()
        if lobe is not None:
            assert (np.sign(x) == (1 if "right" in lobe else -1)).all()
            assert (body.lobe_distance(x, y, z, lobe) < 0).all()


def test_lobes_share_each_lung_without_overlap(patient):
    points = rng(0, "points").uniform((-120, -75, -50), (120, 75, 100), (3000, 3))
    x, y, z = points.T.astype(np.float32)
    owners = sum((patient.lobe_distance(x, y, z, lobe) < 0).astype(int) for lobe in LOBES)
    assert (owners == 1).all()


def test_lower_lobe_is_behind_and_below(patient):
    back = tuple(np.float32([v]) for v in (60.0, -60.0, -20.0))
    front = tuple(np.float32([v]) for v in (60.0, 60.0, -20.0))
    top = tuple(np.float32([v]) for v in (60.0, 0.0, 80.0))
    assert patient.lobe_distance(*back, "right lower lobe")[0] < 0
    assert patient.lobe_distance(*front, "right middle lobe")[0] < 0
    assert patient.lobe_distance(*top, "right upper lobe")[0] < 0


def test_right_diaphragm_stands_higher():
    for number in range(20):
        body = draw_anatomy(1.0, 4, number)
        assert body.dome_right > body.dome_left
