"""Resampling against a plain sum over weights, whatever the memory order; and against SciPy."""

from itertools import permutations, product

import numpy as np
import pytest
from scipy import ndimage

from mg3d.data import resample as module
from mg3d.data.grid import AxisPlan, GridConfig, plan_axes
from mg3d.data.resample import resample, sample_linear, sample_nearest


def _plans(shape: tuple[int, int, int], **settings: object) -> tuple[AxisPlan, AxisPlan, AxisPlan]:
    config = GridConfig(**({"grid": (7, 9, 8), "spacing_mm": (2, 1.5, 0.6)} | settings))  # type: ignore[arg-type]
    return plan_axes(shape, (0.8, 0.9, 1.1), config)


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("slab_bytes", [1, 2**25])
def test_it_is_the_sum_over_the_weights_of_three_axes(
    dtype: type, slab_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SLAB_BYTES", slab_bytes)
    array = np.random.default_rng(0).normal(0, 400, (15, 12, 10)).astype(dtype)
    plans = _plans(array.shape)
    a, b, c = (plan.weights().toarray().astype(np.float64) for plan in plans)
    expected = np.einsum("ai,bj,ck,ijk->abc", a, b, c, array + 1000.0) - 1000
    # Measured 2.0e-4 HU of up to 2,300 in float32.
    np.testing.assert_allclose(resample(array, plans, -1000), expected, atol=1e-3)


def test_memory_order_and_slabs_do_not_change_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.random.default_rng(0).normal(0, 400, (15, 12, 10)).astype(np.int16)
    plans = _plans(array.shape)
    first = resample(array, plans, -1000)
    for order, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        turn = tuple(slice(None, None, sign) for sign in signs)
        stored = np.ascontiguousarray(array.transpose(order)[turn])
        view = stored[turn].transpose(np.argsort(order))
        np.testing.assert_array_equal(resample(view, plans, -1000), first)
    monkeypatch.setattr(module, "_SLAB_BYTES", 1)
    np.testing.assert_array_equal(resample(array.astype(np.float32), plans, -1000), first)


def test_a_grid_beyond_the_array_is_what_lies_outside() -> None:
    plan = AxisPlan(source_size=4, target_size=3, offset=50, step=1)
    out = resample(np.zeros((4, 4, 4), np.int16), (plan, plan, plan), -1000)
    assert (out == -1000).all()


def test_sampling_equals_scipy_inside_and_is_constant_outside() -> None:
    array = np.random.default_rng(0).normal(0, 400, (9, 8, 7)).astype(np.float32)
    matrix = np.eye(4)
    matrix[:3, :3] = [[0.7, 0.2, -0.1], [-0.2, 0.8, 0.1], [0.1, 0, 0.6]]
    matrix[:3, 3] = [-1, 0.5, 0.2]
    shape = (14, 9, 12)
    found = sample_linear(array, matrix, shape, -1000)
    places = (
        np.einsum("ij,jxyz->ixyz", matrix[:3, :3], np.indices(shape))
        + matrix[:3, 3, None, None, None]
    )
    top = np.array(array.shape)[:, None, None, None] - 1
    deep = ((places >= 0) & (places <= top)).all(axis=0)
    far = ((places < -0.51) | (places > top + 0.51)).any(axis=0)
    expected = ndimage.map_coordinates(array.astype(np.float64), places, order=1)
    np.testing.assert_allclose(found[deep], expected[deep], atol=1e-3)  # measured 6e-5
    assert (found[far] == -1000).all()
    assert deep.sum() > 200
    assert far.sum() > 50
    whole = sample_linear(np.rint(array).astype(np.int16), matrix, shape, -1000)
    assert whole.dtype == np.int16


def test_the_nearest_voxel_brings_no_new_value() -> None:
    labels = np.random.default_rng(0).choice([0, 3, 200], (6, 5, 4)).astype(np.uint8)
    matrix = np.diag([0.5, 0.5, 0.5, 1.0])
    matrix[:3, 3] = -0.25  # each voxel falls apart into eight
    fine = sample_nearest(labels, matrix, (12, 10, 8), 0)
    assert fine.dtype == np.uint8
    np.testing.assert_array_equal(fine, labels.repeat(2, 0).repeat(2, 1).repeat(2, 2))
    assert (sample_nearest(labels, np.eye(4), (9, 5, 4), 7)[6:] == 7).all()
