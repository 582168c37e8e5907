"""Resampling of stacks; the analytic cases are in test_dicom_stack."""

import numpy as np
import pytest

from mg3d.data.readers.dicom.plan import ResamplingPlan, even_positions


def _run(plan: ResamplingPlan, planes: list[np.ndarray]) -> list[np.ndarray]:
    asked: list[int] = []
    made: dict[int, np.ndarray] = {}

    def give(index: int) -> np.ndarray:
        asked.append(index)
        return planes[index]

    plan.run(give, lambda index, plane: made.update({index: plane.copy()}))
    assert asked == sorted(set(asked)), "each plane once, in order"
    assert list(made) == list(range(plan.num_slices))
    return list(made.values())


def test_even_positions_end_where_the_slices_do():
    np.testing.assert_allclose(
        even_positions(np.array([0, 1, 2.2, 4.1]), 1.0), np.arange(5) * 1.025
    )
    np.testing.assert_allclose(even_positions(np.array([0, 0.4]), 1.0), [0, 0.4])


def test_slices_between_slices():
    planes = [np.full((2, 3), value, dtype=np.int32) for value in (0, 100, 400)]
    distances = np.array([0.0, 1.0, 3.0])
    plan = ResamplingPlan(
        shape=(3, 2), distances=distances, targets=np.arange(4.0), shifts=np.zeros((3, 2))
    )
    assert plan.new_shape == (3, 2, 4)
    assert [float(plane[0, 0]) for plane in _run(plan, planes)] == [0, 100, 250, 400]


def test_whole_shifts_move_pixels_and_let_air_in():
    plane = np.arange(6).reshape(2, 3)
    shifts = np.array([[0, 0], [1, -2]])
    plan = ResamplingPlan(
        shape=(3, 2), distances=np.array([0.0, 1]), targets=np.array([0.0, 1]), shifts=shifts
    )
    assert plan.corner.tolist() == [0, -2]
    assert plan.new_shape == (4, 4, 2)
    first, second = _run(plan, [plane, plane])
    expected = np.full((4, 4), -1000.0)
    expected[2:, :3] = plane
    np.testing.assert_array_equal(first, expected)
    expected = np.full((4, 4), -1000.0)
    expected[:2, 1:] = plane
    np.testing.assert_array_equal(second, expected)


@pytest.mark.parametrize("part", [0.25, 0.9999, 1e-5])
def test_parts_of_pixels_are_shared_out(part):
    plane = np.array([[0.0, 1000.0, 500.0]])
    plan = ResamplingPlan(
        shape=(3, 1),
        distances=np.array([0.0, 1]),
        targets=np.array([0.0, 1]),
        shifts=np.array([[0, 0], [part, 0]]),
    )
    _, moved = _run(plan, [plane, plane])
    padded = np.array([-1000.0, 0, 1000, 500, -1000])
    expected = part * padded[:-1] + (1 - part) * padded[1:]
    np.testing.assert_allclose(moved[0], expected, atol=1.0)  # below 0.001 of a pixel: none
