import numpy as np
import pytest

from mg3d.phantom.canvas import Canvas, ellipsoid_distance, segment_distance, waves


@pytest.fixture
def canvas() -> Canvas:
    x, y, z = (np.arange(-n, n + 1, dtype=np.float32) * 2 for n in (20, 18, 16))
    return Canvas(x=x.reshape(-1, 1, 1), y=y.reshape(1, -1, 1), z=z.reshape(1, 1, -1))


def test_a_painted_ellipsoid_has_its_volume(canvas):
    canvas.ellipsoid((3, -2, 1), (20, 14, 10), 1000, label=7)
    share = (canvas.hu + 1000) / 2000
    volume = float(share.sum()) * canvas.softness**3
    # measured 0.7 %: the edge is exact to first order in the curvature
    assert volume == pytest.approx(4 / 3 * np.pi * 20 * 14 * 10, rel=0.02)
    x, y, z = np.nonzero(canvas.label == 7)
    assert 2 * x.mean() - 40 == pytest.approx(3, abs=0.2)
    assert 2 * y.mean() - 36 == pytest.approx(-2, abs=0.2)
    assert 2 * z.mean() - 32 == pytest.approx(1, abs=0.2)


def test_a_painted_tube_has_its_volume(canvas):
    canvas.tube([(-15, 0, 0), (15, 0, 0)], 8, 1000)
    share = (canvas.hu + 1000) / 2000
    volume = float(share.sum()) * canvas.softness**3
    expected = np.pi * 64 * 30 + 4 / 3 * np.pi * 512  # a cylinder with two half balls
    assert volume == pytest.approx(expected, rel=0.02)  # measured 0.6 %


def test_a_shape_outside_the_grid_changes_nothing(canvas):
    canvas.ellipsoid((500, 0, 0), (10, 10, 10), 1000, label=7)
    canvas.tube([(0, -900, 0), (0, -800, 0)], 5, 1000, label=7)
    assert (canvas.hu == -1000).all()
    assert not canvas.label.any()


def test_lung_only_stays_inside_the_lung_and_leaves_no_rim(canvas):
    canvas.lung[:20] = 1
    canvas.lung[20] = 0.5
    canvas.tube([(-30, 0, 0), (30, 0, 0)], 6, 50, label=9, lung_only=True)
    assert (canvas.hu[21:] == -1000).all()
    assert canvas.hu[20, 18, 16] == 50  # a voxel half in the lung is filled whole
    assert not (canvas.label[21:] == 9).any()


def test_solid_shapes_displace_lung(canvas):
    canvas.lung[:] = 1
    canvas.ellipsoid((0, 0, 0), (12, 12, 12), 40, solid=True)
    assert canvas.lung[20, 18, 16] == 0
    assert canvas.lung[0, 0, 0] == 1


def test_distances_against_brute_force():
    points = np.random.default_rng(0).uniform(-30, 30, (200, 3)).astype(np.float32)
    start, stop = (-10.0, 5.0, 0.0), (12.0, -8.0, 9.0)
    line = np.linspace(start, stop, 20001)
    nearest = [np.linalg.norm(line - point, axis=1).min() for point in points]
    found = segment_distance(*points.T, start, stop)
    np.testing.assert_allclose(found, nearest, atol=1e-3)  # measured 3e-6
    ball = ellipsoid_distance(*points.T, (1, 2, 3), (9, 9, 9))
    exact = np.linalg.norm(points - (1, 2, 3), axis=1) - 9
    np.testing.assert_allclose(ball, exact, atol=1e-4)  # measured 1.1e-5


def test_waves_are_smooth_bounded_and_repeatable():
    axes = (np.arange(60.0).reshape(-1, 1, 1), np.arange(50.0).reshape(1, -1, 1),
            np.arange(40.0).reshape(1, 1, -1))  # fmt: skip
    field = waves(axes, np.random.default_rng(3), 4, 20.0)
    again = waves(axes, np.random.default_rng(3), 4, 20.0)
    assert (field == again).all()
    assert np.abs(field).max() <= 4 + 1e-5
    assert field.std() == pytest.approx(np.sqrt(2), rel=0.15)
    steepest = 4 * 2 * np.pi / (20 * 0.8)  # four waves of the shortest period in step
    assert np.abs(np.diff(field, axis=0)).max() <= steepest


def test_the_centre_of_an_ellipsoid_lies_deepest():
    centre = (np.zeros(1, np.float32),) * 3
    assert ellipsoid_distance(*centre, (0, 0, 0), (20, 12, 16))[0] == pytest.approx(-12, rel=1e-3)
