"""Stacks against an analytic scan: a linear field survives every correct resampling exactly."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_cases import (
    COLUMN_MM,
    COLUMNS,
    CORNER,
    ROW_MM,
    ROWS,
    STEP_MM,
    ct_slice,
    lps_affine,
    set_cells,
    write,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mg3d.data.readers.dicom import reader as dicom
from mg3d.data.readers.dicom.frame import frames_of
from mg3d.data.readers.dicom.stack import stack
from mg3d.data.scan import Scan, ScanSource
from mg3d.data.scan_error import ScanError

GRADIENT = np.array([0.9, -1.7, 2.3])
"""HU for each mm in LPS."""
TILTED_STEP_MM = 0.4
"""Slices of the cases are 5 x 6 mm; a tilted stack drifts by a third of that."""


def _field(points: np.ndarray) -> np.ndarray:
    return points @ GRADIENT


def _frame_points(position, orientation) -> np.ndarray:
    """(rows, columns, 3) LPS of the pixels of a slice: PS3.3 C.7.6.2.1.1."""
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    across = np.arange(COLUMNS)[None, :, None] * COLUMN_MM * row
    down = np.arange(ROWS)[:, None, None] * ROW_MM * column
    return np.array(position) + across + down


def _write(folder: Path, positions, orientation=(1, 0, 0, 0, 1, 0), **elements) -> Path:
    """A series that samples the field at true positions, in steps of 1/64 HU."""
    for index, position in enumerate(positions):
        header = ct_slice(index)
        header.ImagePositionPatient = [float(mm) for mm in position]
        header.ImageOrientationPatient = [float(cosine) for cosine in orientation]
        stored = np.rint((_field(_frame_points(position, orientation)) + 500) * 64)
        header.BitsStored, header.HighBit = 16, 15
        header.RescaleSlope, header.RescaleIntercept = 1 / 64, -500
        for keyword, value in elements.items():
            setattr(header, keyword, value)
        set_cells(header, stored.astype(np.uint16))
        write(folder / f"{index}", header)
    return folder


def _error_inside(scan: Scan) -> float:
    """Largest difference from the field where a voxel has data on all sides."""
    volume = scan.volume
    index = np.indices(volume.shape).reshape(3, -1)
    ras = (volume.affine @ np.vstack([index, np.ones(index.shape[1])]))[:3]
    expected = _field(ras.T * (-1, -1, 1)).reshape(volume.shape)
    return float(np.abs(np.where(_inside(volume.array), volume.array - expected, 0)).max())


def _inside(array: np.ndarray) -> np.ndarray:
    """Voxels too far from air that came in from aside to hold any of it, off the edges."""
    inner = array > -900
    for axis in (0, 1, 2, 0, 1):
        padded = np.pad(inner, [(int(axis == each),) * 2 for each in range(3)], mode="edge")
        size = inner.shape[axis]
        inner = inner & padded.take(range(size), axis) & padded.take(range(2, size + 2), axis)
    inner[[0, -1]] = inner[:, [0, -1]] = False
    assert inner.any(axis=(0, 1)).all(), "every slice has an inside"
    return inner


def _kinds(scan: Scan) -> list[str]:
    return [kind for kind, _ in scan.faults]


def _read(folder: Path) -> Scan:
    return dicom.read(ScanSource(path=folder))


def _tilted(degrees: float, num: int = 12) -> tuple[list[np.ndarray], tuple[float, ...]]:
    """The table moves along the patient; the planes lean by an angle about the left-right axis."""
    angle = np.radians(degrees)
    orientation = (1, 0, 0, 0, np.cos(angle), np.sin(angle))
    return [np.add(CORNER, (0, 0, index * TILTED_STEP_MM)) for index in range(num)], orientation


@pytest.mark.parametrize("degrees", [15, -22.5])
def test_a_tilted_stack_stands_upright_after_reading(degrees, tmp_path):
    positions, orientation = _tilted(degrees)
    scan = _read(_write(tmp_path, positions, orientation, GantryDetectorTilt=degrees))
    # storing in 1/64 HU leaves 1/128; float32 the rest: measured 0.0079
    assert _error_inside(scan) < 0.01
    axes = scan.volume.affine[:3, :3] / scan.volume.spacing_mm
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-12)  # right angles
    assert scan.volume.spacing_mm[2] == pytest.approx(TILTED_STEP_MM * np.cos(np.radians(degrees)))
    shift = (len(positions) - 1) * TILTED_STEP_MM * abs(np.sin(np.radians(degrees))) / ROW_MM
    assert scan.volume.shape == (COLUMNS, ROWS + np.ceil(shift), len(positions))
    assert _kinds(scan) == ["dicom_thickness", "dicom_gantry_tilt"]
    assert f"{abs(degrees):.1f} degrees" in scan.faults[1][1]


def test_nothing_of_a_tilted_stack_is_cut_off(tmp_path):
    """Each slice's HU sum, weighted by what linear shifting keeps of it, is that of its file."""
    positions, orientation = _tilted(20)
    scan = _read(_write(tmp_path, positions, orientation))
    for index, position in enumerate(positions):
        stored = _field(_frame_points(position, orientation)) + 1000  # air is nothing
        kept = (scan.volume.array[:, :, index] + 1000.0).sum()
        assert kept == pytest.approx(stored.sum(), rel=1e-4)


def test_a_stack_may_drift_in_both_directions(tmp_path):
    positions = [np.add(CORNER, (0.7 * i, -0.4 * i, STEP_MM * i)) for i in range(8)]
    scan = _read(_write(tmp_path, positions))
    assert _error_inside(scan) < 0.01
    assert "dicom_gantry_tilt" in _kinds(scan)
    expected = np.degrees(np.arctan(np.hypot(0.7, 0.4) / STEP_MM))
    assert f"{expected:.1f} degrees" in scan.faults[-1][1]


def test_jumping_slices_are_shifted_back(tmp_path):
    jumps = [0, 0, 1.1, 0, -0.6, 0, 0]
    positions = [np.add(CORNER, (x, 0, STEP_MM * i)) for i, x in enumerate(jumps)]
    scan = _read(_write(tmp_path, positions))
    assert _error_inside(scan) < 0.01
    assert _kinds(scan) == ["dicom_shifted_slices"]


def test_a_drift_below_half_a_pixel_is_kept_in_the_affine(tmp_path):
    positions = [np.add(CORNER, (0.04 * i, 0, STEP_MM * i)) for i in range(5)]
    scan = _read(_write(tmp_path, positions))
    assert scan.faults == ()
    assert scan.volume.shape == (COLUMNS, ROWS, 5)
    np.testing.assert_allclose(scan.volume.affine, lps_affine((0.04, 0, STEP_MM)), atol=1e-9)


def test_slices_that_lie_beside_each_other_are_refused(tmp_path):
    positions = [np.add(CORNER, (300 * (i > 2), 0, STEP_MM * i)) for i in range(6)]
    with pytest.raises(ScanError) as caught:
        _read(_write(tmp_path, positions))
    assert caught.value.kind == "dicom_mixed_slices"


def test_few_missing_slices_are_interpolated_and_the_others_untouched(tmp_path):
    heights = [0, 2, 4, 8, 10, 12, 14, 16]  # 6 is missing
    whole = [np.add(CORNER, (0, 0, z)) for z in heights]
    scan = _read(_write(tmp_path, whole, SliceThickness=2))
    assert _error_inside(scan) < 0.01
    assert scan.volume.shape[2] == 9
    assert scan.volume.spacing_mm[2] == pytest.approx(2)
    assert _kinds(scan) == ["dicom_missing_slices"]
    assert "1 of 9 slices missing" in scan.faults[0][1]
    assert "after 104.0 mm" in scan.faults[0][1]
    for index, z in enumerate(heights):
        position = np.add(CORNER, (0, 0, z))
        stored = np.rint((_field(_frame_points(position, (1, 0, 0, 0, 1, 0))) + 500) * 64)
        np.testing.assert_array_equal(
            scan.volume.array[:, :, z // 2], (stored / 64 - 500).T.astype(np.float32), str(index)
        )


def test_a_wide_gap_is_refused_and_named(tmp_path):
    heights = [0, 1, 2, 3, 14, 15, 16]
    with pytest.raises(ScanError) as caught:
        _read(_write(tmp_path, [np.add(CORNER, (0, 0, z)) for z in heights]))
    assert caught.value.kind == "dicom_gap"
    message = str(caught.value)
    assert "about 10 slices missing in 1 gap(s)" in message
    assert "11.0 mm from 103.0 to 114.0 mm" in message


def test_uneven_slices_are_interpolated_to_even_ones(tmp_path):
    heights = [0, 1.4, 3.2, 4.5, 6.4, 8, 9.5]
    scan = _read(_write(tmp_path, [np.add(CORNER, (0, 0, z)) for z in heights]))
    assert _error_inside(scan) < 0.01
    np.testing.assert_allclose(scan.volume.spacing_mm[2], 9.5 / 6)
    assert _kinds(scan)[-1] == "dicom_uneven_slices"


def test_distances_without_a_common_measure_are_refused(tmp_path):
    heights = [0, 0.1, 0.2, 0.3, 0.4, 4, 8, 12]
    with pytest.raises(ScanError) as caught:
        _read(_write(tmp_path, [np.add(CORNER, (0, 0, z)) for z in heights]))
    assert caught.value.kind == "dicom_gap"


def test_positions_rounded_by_the_scanner_are_even(tmp_path):
    heights = np.round(np.arange(20) * 0.625, 1)
    scan = _read(_write(tmp_path, [np.add(CORNER, (0, 0, z)) for z in heights]))
    assert _kinds(scan) == ["dicom_thickness"]
    assert scan.volume.shape[2] == 20
    assert scan.volume.spacing_mm[2] == pytest.approx(0.625, abs=0.06 / 19)


def test_a_tilted_and_uneven_stack(tmp_path):
    positions, orientation = _tilted(12)
    scan = _read(_write(tmp_path, [*positions[:5], *positions[6:]], orientation))
    assert _error_inside(scan) < 0.02  # two interpolations of stored values
    assert _kinds(scan)[-2:] == ["dicom_missing_slices", "dicom_gantry_tilt"]


@settings(max_examples=25, deadline=None)
@given(
    degrees=st.floats(-6, 6),
    turn=st.floats(-180, 180),
    gaps=st.lists(st.floats(0.5, 4.9), min_size=3, max_size=6),
)
def test_any_stack_is_read_right_or_refused(degrees, turn, gaps, tmp_path_factory):
    angle, yaw = np.radians(degrees), np.radians(turn)
    spin = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    orientation = (*spin @ (1, 0, 0), *spin @ (0, np.cos(angle), np.sin(angle)))
    heights = np.concatenate([[0], np.cumsum(gaps)])
    folder = tmp_path_factory.mktemp("stack")
    try:
        scan = _read(_write(folder, [np.add(CORNER, (0, 0, z)) for z in heights], orientation))
    except ScanError as refusal:
        assume(refusal.kind not in ("dicom_gap", "dicom_mixed_slices"))
        raise
    # measured at most 0.1: even positions may differ from true ones by 0.06 mm of rounding
    assert _error_inside(scan) < 0.06 * np.abs(GRADIENT).sum() + 0.02


@pytest.mark.parametrize(
    ("elements", "kind"),
    [
        ({"SliceThickness": 5}, "dicom_thickness"),
        ({"SpacingBetweenSlices": 1.25}, "dicom_distance_at_odds"),
        ({"GantryDetectorTilt": 10}, "dicom_tilt_at_odds"),
    ],
)
def test_positions_win_over_what_the_header_says(elements, kind, tmp_path):
    positions = [np.add(CORNER, (0, 0, STEP_MM * i)) for i in range(4)]
    scan = _read(_write(tmp_path, positions, **elements))
    assert _kinds(scan) == [kind]
    np.testing.assert_allclose(scan.volume.affine, lps_affine(), atol=1e-12)


def test_the_sign_of_the_stated_distance_is_a_habit(tmp_path):
    positions = [np.add(CORNER, (0, 0, STEP_MM * i)) for i in range(4)]
    assert _read(_write(tmp_path, positions, SpacingBetweenSlices=-STEP_MM)).faults == ()


def test_a_leaning_stack_agrees_with_the_tilt_in_its_header(tmp_path):
    """Slices above each other along their normal: nothing to correct, the scan is oblique."""
    _, orientation = _tilted(10)
    normal = np.cross(orientation[:3], orientation[3:])
    positions = [np.add(CORNER, STEP_MM * i * normal) for i in range(4)]
    assert _read(_write(tmp_path, positions, orientation, GantryDetectorTilt=10)).faults == ()


@pytest.mark.parametrize("cosines", [(1, 0, 0, 1, 0, 0), (2, 0, 0, 0, 1, 0), (0, 0, 0, 0, 0, 0)])
def test_directions_that_are_none(cosines, tmp_path):
    header = ct_slice(0)
    (frame,) = frames_of(header, tmp_path)
    frames = [replace(frame, orientation=tuple(map(float, cosines)))] * 2
    with pytest.raises(ScanError) as caught:
        stack(frames)
    assert caught.value.kind == "geometry_damaged"


def test_cosines_rounded_in_the_header_are_made_orthogonal(tmp_path):
    angle = np.radians(20)
    rounded = [1, 0, 0, 0, round(np.cos(angle), 3), round(np.sin(angle), 3)]
    normal = np.cross(rounded[:3], rounded[3:])
    positions = [np.array(CORNER) + STEP_MM * i * normal for i in range(4)]
    volume = _read(_write(tmp_path, positions, rounded)).volume
    axes = volume.affine[:3, :3] / volume.spacing_mm
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-9)


def test_repeats_share_a_place(tmp_path):
    frames = []
    for index in (2, 0, 1, 0):
        header = pydicom.Dataset()
        header.update(ct_slice(index))
        frames += frames_of(header, tmp_path / str(len(frames)))
    pile = stack(frames)
    assert [len(place) for place in pile.places] == [2, 1, 1]
