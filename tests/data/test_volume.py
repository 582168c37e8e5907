"""Geometry of volumes: whatever the storage order, a place in the patient keeps its value."""

from collections.abc import Callable
from itertools import permutations, product
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mg3d.data.grid import GridConfig
from mg3d.data.scan_error import ScanError
from mg3d.data.volume import Volume

SLOPE_HU_PER_MM = np.array([1.3, -2.1, 0.7])


def _affine(order: tuple[int, ...], signs: tuple[int, ...], spacing: Any) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (world, sign) in enumerate(zip(order, signs, strict=True)):
        affine[world, axis] = sign * spacing[axis]
    affine[:3, 3] = [-31.5, 12.25, 100]
    return affine


def _rotation(x: float, y: float, z: float) -> np.ndarray:
    def turn(a: int, b: int, angle: float) -> np.ndarray:
        matrix = np.eye(3)
        matrix[[a, b], [a, b]] = np.cos(angle)
        matrix[a, b], matrix[b, a] = -np.sin(angle), np.sin(angle)
        return matrix

    return turn(1, 2, x) @ turn(0, 2, y) @ turn(0, 1, z)


def _millimetres(volume: Volume) -> np.ndarray:
    index = np.stack(np.meshgrid(*map(np.arange, volume.shape), indexing="ij"), axis=-1)
    return index @ volume.affine[:3, :3].T + volume.affine[:3, 3]


def _ramp(affine: np.ndarray, shape: tuple[int, int, int] = (17, 13, 11)) -> Volume:
    """A volume whose HU are a linear function of patient mm, so interpolation can be exact."""
    blank = Volume(np.zeros(shape, np.float32), affine)
    return Volume((_millimetres(blank) @ SLOPE_HU_PER_MM).astype(np.float32), affine)


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("signs", list(product((1, -1), repeat=3)))
def test_every_storage_order_becomes_ras_with_the_same_values_in_place(
    order: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    source = _ramp(_affine(order, signs, (0.9, 1.7, 2.5)))
    ras = source.reorient_ras()
    assert (np.diag(ras.affine)[:3] > 0).all()
    assert np.count_nonzero(ras.affine[:3, :3]) == 3
    # float32 HU of up to 200: measured 3.7e-6.
    np.testing.assert_allclose(ras.array, _millimetres(ras) @ SLOPE_HU_PER_MM, atol=4e-5)
    assert ras.array.size == source.array.size


@settings(max_examples=60, deadline=None)
@given(
    order=st.permutations(range(3)), signs=st.tuples(*[st.sampled_from([1, -1])] * 3),
    angles=st.tuples(*[st.floats(-0.35, 0.35)] * 3), shrink=st.floats(0.3, 0.99),
)  # fmt: skip
def test_grid_values_are_those_at_their_place_in_the_patient(
    order: list[int], signs: tuple[int, ...], angles: tuple[float, ...], shrink: float
) -> None:
    """Oblique, flipped, anisotropic: the returned affine says where each grid voxel lies."""
    affine = _affine(tuple(order), signs, (0.9, 1.7, 2.5))
    affine[:3, :3] = _rotation(*angles) @ affine[:3, :3]
    source = _ramp(affine)
    ras_spacing = source.reorient_ras().spacing_mm
    spacing = tuple(shrink * mm for mm in ras_spacing)
    grid = source.to_grid(GridConfig(grid=(6, 5, 7), spacing_mm=spacing))  # type: ignore[arg-type]
    # The grid lies within the scan, so linear interpolation of a linear function is exact:
    # largest of 300 draws 2.8e-4 HU of up to 1,500 in float32.
    np.testing.assert_allclose(grid.array, _millimetres(grid) @ SLOPE_HU_PER_MM, atol=2e-3)
    np.testing.assert_allclose(grid.spacing_mm, spacing, rtol=1e-6)


def test_shrinking_keeps_the_place_within_a_tenth_of_a_voxel() -> None:
    """Sampled tents of broken width are not exact averages; Pillow and torch share this."""
    source = _ramp(np.diag([1.0, 1.0, 1.0, 1.0]), (60, 60, 60))
    worst = 0.0
    for spacing in (1.3, 1.9, 2.4, 3.7):
        grid = source.to_grid(GridConfig(grid=(9, 9, 9), spacing_mm=(spacing,) * 3))
        error = grid.array - _millimetres(grid) @ SLOPE_HU_PER_MM
        worst = max(worst, float(np.abs(error).max() / np.abs(SLOPE_HU_PER_MM).sum()))
    assert worst < 0.1  # voxels of the source; measured 0.075


def test_enlarging_equals_torch_trilinear() -> None:
    array = np.random.default_rng(0).normal(0, 300, (7, 9, 5)).astype(np.float32)
    config = GridConfig(grid=(12, 20, 15), spacing_mm=None, crop_fraction=(1, 1, 1))
    ours = Volume(array, np.eye(4)).to_grid(config).array
    expected = F.interpolate(
        torch.from_numpy(array)[None, None], size=(12, 20, 15), mode="trilinear"
    )[0, 0]
    # Measured 6.1e-4 HU of up to 1,000: we compute on HU + 1000 in float32.
    np.testing.assert_allclose(ours, expected.numpy(), atol=3e-3)


def test_same_grid_changes_nothing(body: Callable[..., Any]) -> None:
    array = body()
    config = GridConfig(grid=array.shape, spacing_mm=(1, 1, 1))
    grid = Volume(array, np.eye(4)).to_grid(config)
    np.testing.assert_array_equal(np.rint(grid.array), array)
    np.testing.assert_allclose(grid.affine, np.eye(4), atol=1e-12)


def test_outside_the_scan_is_air() -> None:
    grid = Volume(np.full((4, 4, 4), 50, np.int16), np.eye(4)).to_grid(
        GridConfig(grid=(8, 4, 4), spacing_mm=(1, 1, 1))
    )
    assert (grid.array[:2] == -1000).all()
    assert (grid.array[-2:] == -1000).all()
    assert (grid.array[2:6] == 50).all()
    assert grid.affine[0, 3] == -2  # the first grid voxel lies 2 mm left of the first source voxel


def test_cropping_takes_the_middle() -> None:
    array = np.arange(10, dtype=np.float32)[:, None, None] * np.ones((10, 3, 3), np.float32)
    grid = Volume(array, np.eye(4)).to_grid(GridConfig(grid=(4, 3, 3), spacing_mm=(1, 1, 1)))
    assert grid.array[:, 1, 1].tolist() == [3, 4, 5, 6]


def test_a_source_is_never_changed(body: Callable[..., Any]) -> None:
    array = body()
    before = array.copy()
    Volume(array, np.diag([-1.0, 1, 1, 1])).to_grid(GridConfig(grid=(8, 8, 8)))
    np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize(
    ("affine", "kind", "message"),
    [
        (np.diag([0.7, 0.7, 0.0, 1]), "zero_spacing", r"spacing \(0.7, 0.7, 0\) mm has a zero"),
        (np.diag([np.nan, 1, 1, 1]), "damaged", "finite numbers"),
        (np.diag([1, 1, 500.0, 1]), "spacing_range", "outside 0.01 to 100 mm"),
        (np.diag([1e-4, 1e-4, 1e-4, 1]), "spacing_range", "outside 0.01 to 100 mm"),
        (
            np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]),
            "not_invertible",
            "inverted",
        ),
        (np.eye(3), "damaged", "4 x 4"),
    ],
)
def test_affines_that_place_nothing_are_refused(affine: Any, kind: str, message: str) -> None:
    with pytest.raises(ScanError, match=message) as caught:
        Volume(np.zeros((2, 2, 2), np.int16), affine)
    assert caught.value.kind == f"geometry_{kind}"


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 0), (4, 4, 4, 2)])
def test_only_three_axes_make_a_volume(shape: tuple[int, ...]) -> None:
    with pytest.raises(ScanError, match="three axes"):
        Volume(np.zeros(shape, np.int16), np.eye(4))


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_the_grid_is_the_same_to_the_bit_however_a_scan_is_stored(
    order: tuple[int, ...], body: Callable[..., Any]
) -> None:
    """So that a scan gives the same store as NIfTI, DICOM and NPZ, and in float or in int16."""
    config = GridConfig(grid=(9, 8, 7), spacing_mm=(1.7, 2.9, 4.1))
    scan = Volume(body(), np.diag([0.7, 1.3, 2.5, 1.0]))
    reference = scan.to_grid(config).array
    for signs in product((1, -1), repeat=3):
        matrix = np.zeros((4, 4))
        matrix[3, 3] = 1
        for new, old in enumerate(order):
            matrix[old, new] = signs[new]
            matrix[old, 3] = scan.shape[old] - 1 if signs[new] < 0 else 0
        turned = scan.array.transpose(order)[tuple(slice(None, None, sign) for sign in signs)]
        rounded = np.float32(scan.affine @ matrix).astype(np.float64)  # as a NIfTI header does
        for array in (np.ascontiguousarray(turned), turned.astype(np.float32, order="F")):
            np.testing.assert_array_equal(Volume(array, rounded).to_grid(config).array, reference)


@pytest.mark.parametrize(("degrees", "oblique"), [(0.9, False), (1.1, True)])
def test_from_one_degree_on_the_grid_lies_in_the_patients_axes(
    degrees: float, oblique: bool
) -> None:
    affine = _affine((0, 1, 2), (-1, 1, 1), (0.9, 1.7, 2.5))
    affine[:3, :3] = _rotation(0, np.radians(degrees), 0) @ affine[:3, :3]
    source = _ramp(affine, (40, 30, 20))
    assert source.is_oblique == oblique
    assert source.tilt_degrees == pytest.approx(degrees, abs=1e-6)
    config = GridConfig(grid=(8, 7, 6), spacing_mm=(1.5, 2, 3))
    grid = source.to_grid(config)
    assert np.allclose(grid.affine[:3, :3], np.diag([1.5, 2, 3]), atol=1e-6) == oblique
    np.testing.assert_array_equal(grid.affine, source.grid_affine(config))
    middle = _millimetres(source).reshape(-1, 3).mean(axis=0)
    np.testing.assert_allclose(_millimetres(grid).reshape(-1, 3).mean(axis=0), middle, atol=1e-4)


def test_straightening_keeps_every_value_in_its_place() -> None:
    affine = _affine((2, 0, 1), (1, -1, 1), (0.9, 1.7, 2.5))
    affine[:3, :3] = _rotation(0.2, -0.1, 0.3) @ affine[:3, :3]
    affine[:3, 2] += 0.2 * affine[:3, 1]  # sheared as well
    source = _ramp(affine, (40, 30, 20))
    straight = source.straighten()
    assert straight.axes == "RAS"
    assert straight.tilt_degrees == 0
    corners = source.affine @ [*np.array(source.shape) - 1, 1]
    inside = np.linalg.inv(straight.affine) @ corners
    assert (inside[:3] > -1e-6).all()
    assert (inside[:3] < np.array(straight.shape) - 1 + 1e-6).all()
    kept = straight.array != -1000
    places = _millimetres(straight) @ np.linalg.inv(source.affine)[:3, :3].T
    places += np.linalg.inv(source.affine)[:3, 3]
    deep = ((places >= 0) & (places <= np.array(source.shape) - 1)).all(axis=-1)
    assert kept[deep].all()
    # Trilinear interpolation of a linear function: measured 1e-4 HU in float32.
    np.testing.assert_allclose(
        straight.array[deep], (_millimetres(straight) @ SLOPE_HU_PER_MM)[deep], atol=1e-3
    )
    whole = Volume(np.rint(source.array).astype(np.int16), affine).straighten()
    assert whole.array.dtype == np.int16


def test_axes_are_named_and_shear_is_measured() -> None:
    assert Volume(np.zeros((2, 2, 2)), _affine((2, 0, 1), (-1, 1, -1), (1, 1, 1))).axes == "IRP"
    sheared = np.diag([1.0, 1, 2, 1])
    sheared[1, 2] = 2 * np.tan(np.radians(10))
    volume = Volume(np.zeros((2, 2, 2)), sheared)
    assert volume.shear_degrees == pytest.approx(10)
    assert volume.tilt_degrees == pytest.approx(10)
    assert Volume(np.zeros((2, 2, 2)), np.eye(4)).shear_degrees == 0
