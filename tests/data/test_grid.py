"""The grid against independent interpolation, and its plan against the geometry it promises."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from mg3d.data.grid import AxisPlan, GridConfig, grid_to_source, plan_axes
from mg3d.errors import ConfigError

WHOLE = (1.0, 1.0, 1.0)


def _resize(signal: np.ndarray, size: int) -> np.ndarray:
    settings = GridConfig(grid=(size, 1, 1), spacing_mm=None, crop_fraction=WHOLE)
    plan = plan_axes((len(signal), 1, 1), WHOLE, settings)[0]
    return np.asarray(plan.weights() @ signal)


@pytest.mark.parametrize(("source", "target"), [(7, 7), (10, 25), (96, 64), (72, 13), (300, 128)])
def test_resizing_equals_torch_with_antialias(source: int, target: int) -> None:
    signal = np.random.default_rng(source).normal(0, 1, source).astype(np.float32)
    picture = torch.from_numpy(signal)[None, None, :, None].expand(1, 1, source, 2)
    expected = F.interpolate(
        picture, size=(target, 2), mode="bilinear", antialias=True, align_corners=False
    )[0, 0, :, 0]
    # Largest difference measured over these sizes: 5.7e-7 of values up to 3.
    np.testing.assert_allclose(_resize(signal, target), expected.numpy(), atol=5e-6)


@given(
    source=st.integers(2, 60), target=st.integers(1, 60),
    offset=st.floats(-10, 30), step=st.floats(0.2, 5),
)  # fmt: skip
def test_rows_average_inside_the_scan_and_are_empty_outside(
    source: int, target: int, offset: float, step: float
) -> None:
    plan = AxisPlan(source_size=source, target_size=target, offset=offset, step=step)
    weights = plan.weights().toarray()
    positions = offset + step * np.arange(target)
    assert (weights >= 0).all()
    sums = weights.sum(axis=1)
    inside = (positions > -0.499) & (positions < source - 0.501)
    outside = (positions < -0.501) | (positions > source - 0.499)
    np.testing.assert_allclose(sums[inside], 1, atol=1e-5)  # measured 1.2e-7
    assert (sums[outside] == 0).all()


def test_no_source_voxel_is_skipped_when_shrinking() -> None:
    settings = GridConfig(grid=(13, 1, 1), spacing_mm=None, crop_fraction=WHOLE)
    weights = plan_axes((100, 1, 1), WHOLE, settings)[0].weights().toarray()
    assert (weights.sum(axis=0) > 0).all()


def test_spacing_alone_keeps_millimetres_and_the_centre() -> None:
    settings = GridConfig(grid=(11, 8, 5), spacing_mm=(2.0, 3.0, 5.0))
    spacing = (0.7, 1.3, 2.5)
    matrix = grid_to_source(plan_axes((100, 40, 30), spacing, settings))
    steps_mm = np.diag(matrix)[:3] * spacing
    # The spacing is rounded to float32, as most headers hold it: measured 3.7e-8.
    np.testing.assert_allclose(steps_mm, (2.0, 3.0, 5.0), rtol=1e-7)
    centre = matrix @ [(11 - 1) / 2, (8 - 1) / 2, (5 - 1) / 2, 1]
    np.testing.assert_allclose(centre[:3], [49.5, 19.5, 14.5], rtol=1e-12)


def test_fraction_alone_covers_that_part_whatever_the_size() -> None:
    settings = GridConfig(grid=(10, 10, 10), spacing_mm=None, crop_fraction=(0.5, 0.8, 1.0))
    for shape in ((100, 50, 37), (41, 200, 80)):
        matrix = grid_to_source(plan_axes(shape, (0.7, 0.7, 1.0), settings))
        for axis, fraction in enumerate((0.5, 0.8, 1.0)):
            step, offset = matrix[axis, axis], matrix[axis, 3]
            low, high = offset - step / 2, offset + step * 9 + step / 2
            assert high - low == pytest.approx(fraction * shape[axis])
            assert (low + high) / 2 == pytest.approx((shape[axis] - 1) / 2)


def test_spacing_and_fraction_lie_like_the_fraction_and_smooth_like_both() -> None:
    spacing = (0.7, 0.7, 1.0)
    both = GridConfig(grid=(20, 20, 20), spacing_mm=(3, 3, 3), crop_fraction=(0.8, 0.8, 0.8))
    alone = GridConfig(grid=(20, 20, 20), spacing_mm=None, crop_fraction=(0.8, 0.8, 0.8))
    plans, plain = (plan_axes((100, 90, 80), spacing, config) for config in (both, alone))
    np.testing.assert_array_equal(grid_to_source(plans), grid_to_source(plain))
    ramp = np.arange(100, dtype=np.float32)
    middle = slice(1, -1)
    # Both place a ramp alike: measured 0.018 voxels apart, tents on a grid are not exact averages.
    np.testing.assert_allclose(
        (plans[0].weights() @ ramp)[middle], (plain[0].weights() @ ramp)[middle], atol=0.05
    )
    noise = np.random.default_rng(0).normal(0, 1, 100).astype(np.float32)
    assert np.std(plans[0].weights() @ noise) < 0.9 * np.std(plain[0].weights() @ noise)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"grid": (0, 8, 8)}, "at least 1"),
        ({"grid": (8, 8)}, "three numbers"),
        ({"spacing_mm": (1, 0, 1)}, "above 0"),
        ({"spacing_mm": (1, float("nan"), 1)}, "above 0"),
        ({"crop_fraction": (1, 1.2, 1)}, "at most 1"),
        ({"spacing_mm": None}, "size of the grid is unknown"),
    ],
)
def test_impossible_grids_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        GridConfig(**settings)  # type: ignore[arg-type]


def test_settings_are_equal_wherever_they_come_from() -> None:
    listed = GridConfig(grid=[8, 8, 8], spacing_mm=[6, 6, 8])  # type: ignore[arg-type]
    assert listed == GridConfig(grid=(8, 8, 8), spacing_mm=(6.0, 6.0, 8.0))
    assert repr(listed.spacing_mm) == "(6.0, 6.0, 8.0)"
