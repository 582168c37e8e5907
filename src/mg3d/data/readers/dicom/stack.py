"""Stack: how the frames of a series lie above each other, by their positions alone.

Thickness, distance and tilt in the header are not used; where they contradict the positions a
fault says so. A stack that is not an even, upright pile is given a plan of how to resample it, or
refused; it is never taken for even.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mg3d.data.readers.dicom.evenness import evenness
from mg3d.data.readers.dicom.frame import Frame
from mg3d.data.readers.dicom.plan import ResamplingPlan
from mg3d.data.scan_error import ScanError

Faults = tuple[tuple[str, str], ...]

SAME_MM = 0.01
"""Slices nearer than this lie at one position."""

_SHIFT_PIXELS = 0.5
"""Up to this drift over the whole stack, slices stay as they are and the affine leans."""
_AGREE = 0.01
_TILT_DEGREES = 0.5
_STRAIGHT = 1e-2
"""Tolerated error of the length of direction cosines and of their right angle."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Stack:
    """Frames in the order of the normal of their planes."""

    places: tuple[tuple[Frame, ...], ...]
    """Frames at each position, one unless several lie at the same."""
    affine: npt.NDArray[np.float64]
    """(4, 4) from (column, row, slice) to patient mm, RAS+; of the resampled stack, if planned."""
    plan: ResamplingPlan | None
    """How to make it even and upright; None where it is."""
    faults: Faults


def stack(frames: Sequence[Frame]) -> Stack:
    """Pile up frames of equal size, orientation and spacing.

    Args:
        frames: All with position, orientation and spacing.

    Returns:
        The stack, with notes and warnings about what is unusual.

    Raises:
        ScanError: Damaged orientation, a single position, slices beside instead of above each
            other, or a gap too wide to interpolate.
    """
    first = frames[0]
    rows, columns = _directions(first)
    normal = np.cross(rows, columns)
    places = piles(frames, normal)
    if len(places) < 2:
        raise ScanError(
            f"{len(frames)} slice(s) at a single position: no volume. Give the folder of the whole "
            "series.",
            "dicom_too_few_slices",
        )
    positions = np.array([pile[0].position_mm for pile in places])
    relative = positions - positions[0]
    distances = relative @ normal
    offsets = np.stack([relative @ rows, relative @ columns], axis=1)
    pixel_mm = _pixel_mm(first)
    _check_above_each_other(offsets, pixel_mm * (first.columns, first.rows))
    even, uneven_faults = evenness(distances, float(positions[0] @ normal))
    shifted = bool(np.abs(offsets / pixel_mm).max() > _SHIFT_PIXELS)
    plan, origin, step = None, positions[0], relative[-1] / (len(places) - 1)
    if even is not None or shifted:
        plan = ResamplingPlan(
            shape=(first.columns, first.rows),
            distances=distances,
            targets=distances if even is None else even,
            shifts=offsets / pixel_mm if shifted else np.zeros_like(offsets),
        )
        origin = positions[0] + (plan.corner * pixel_mm) @ np.stack([rows, columns])
        # Unshifted slices keep their drift of less than half a pixel, in the affine.
        step = (normal * distances[-1] if shifted else relative[-1]) / (plan.num_slices - 1)
    return Stack(
        places=places,
        affine=_to_ras(rows * pixel_mm[0], columns * pixel_mm[1], step, origin),
        plan=plan,
        faults=(
            *_header_faults(first, distances, offsets, normal),
            *uneven_faults,
            *(_tilt_faults(distances, offsets) if shifted else ()),
        ),
    )


def piles(
    frames: Sequence[Frame], normal: npt.NDArray[np.float64]
) -> tuple[tuple[Frame, ...], ...]:
    """Frames in the order of their positions along a direction, equal positions together."""
    heights = [float(np.dot(frame.position_mm or (0, 0, 0), normal)) for frame in frames]
    order = sorted(
        range(len(frames)), key=lambda i: (heights[i], frames[i].path.as_posix(), frames[i].index)
    )
    found: list[list[Frame]] = []
    last = -math.inf
    for index in order:
        if heights[index] - last > SAME_MM:
            found.append([])
            last = heights[index]
        found[-1].append(frames[index])
    return tuple(map(tuple, found))


def normal_of(frame: Frame) -> npt.NDArray[np.float64]:
    """Unit vector at right angles to the plane of a frame, LPS.

    Raises:
        ScanError: If the orientation is damaged.
    """
    return np.cross(*_directions(frame))


def _directions(frame: Frame) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    cosines = np.array(frame.orientation, dtype=np.float64).reshape(2, 3)
    lengths = np.linalg.norm(cosines, axis=1)
    if np.abs(lengths - 1).max() > _STRAIGHT or abs(cosines[0] @ cosines[1]) > _STRAIGHT:
        raise ScanError(
            f"direction cosines of lengths {lengths[0]:g} and {lengths[1]:g}, product "
            f"{cosines[0] @ cosines[1]:g}: not two unit vectors at right angles. Export the series "
            "again.",
            "geometry_damaged",
        )
    rows = cosines[0] / lengths[0]
    columns = cosines[1] - rows * (cosines[1] @ rows)
    return rows, columns / np.linalg.norm(columns)


def _pixel_mm(frame: Frame) -> npt.NDArray[np.float64]:
    """(2,) distance of pixels along a row, then along a column: DICOM states them swapped."""
    assert frame.spacing_mm is not None
    row_mm, column_mm = frame.spacing_mm
    if row_mm <= 0 or column_mm <= 0:
        raise ScanError(
            f"pixel spacing ({row_mm:g}, {column_mm:g}) mm is not above 0; the header is damaged. "
            "Export the series again.",
            "geometry_zero_spacing",
        )
    return np.array([column_mm, row_mm])


def _check_above_each_other(
    offsets: npt.NDArray[np.float64], size_mm: npt.NDArray[np.float64]
) -> None:
    aside = np.ptp(offsets, axis=0)
    if (aside > size_mm).any():
        raise ScanError(
            f"slices of {size_mm[0]:g} x {size_mm[1]:g} mm lie up to {aside.max():g} mm beside "
            "each other: parts of different scans. Split the series.",
            "dicom_mixed_slices",
        )


def _to_ras(
    along_row: npt.NDArray[np.float64],
    along_column: npt.NDArray[np.float64],
    step: npt.NDArray[np.float64],
    origin: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """DICOM counts to the left and to the back, this package to the right and to the front."""
    affine = np.eye(4)
    affine[:3] = np.stack([along_row, along_column, step, origin], axis=1)
    affine[:2] *= -1
    return affine


def _tilt_faults(distances: npt.NDArray[np.float64], offsets: npt.NDArray[np.float64]) -> Faults:
    """Whether slices drift evenly, as under a tilted gantry, or jump."""
    drift = offsets[-1] / distances[-1]
    straight = np.abs(offsets - distances[:, None] * drift).max() <= 1.0
    if straight:
        degrees = math.degrees(math.atan(float(np.linalg.norm(drift))))
        message = f"{degrees:.1f} degrees; slices shifted to stand upright, in-plane interpolation"
        return (("dicom_gantry_tilt", message),)
    widest = float(np.linalg.norm(offsets - offsets[0], axis=1).max())
    message = f"by up to {widest:.1f} mm within their plane; shifted back, in-plane interpolation"
    return (("dicom_shifted_slices", message),)


def _header_faults(
    frame: Frame,
    distances: npt.NDArray[np.float64],
    offsets: npt.NDArray[np.float64],
    normal: npt.NDArray[np.float64],
) -> Faults:
    """Where the header contradicts the positions, which win."""
    faults = []
    usual = float(np.median(np.diff(distances)))
    for kind, name, stated in (
        ("dicom_thickness", "SliceThickness", frame.thickness_mm),
        ("dicom_distance_at_odds", "SpacingBetweenSlices", frame.between_mm),
    ):
        # The sign of SpacingBetweenSlices says in which direction a scanner counts.
        if stated and abs(abs(stated) - usual) > max(_AGREE * usual, SAME_MM):
            faults.append((kind, f"{name} {stated:g} mm, positions {usual:g} mm apart; they win"))
    if frame.tilt_degrees is not None:
        # Planes may lean against the stack, or the whole stack against the patient.
        lean = math.degrees(math.atan(float(np.linalg.norm(offsets[-1]) / distances[-1])))
        turn = math.degrees(math.acos(min(1.0, abs(float(normal[2])))))
        stated = abs(frame.tilt_degrees)
        if min(abs(stated - lean), abs(stated - turn)) > _TILT_DEGREES:
            message = f"GantryDetectorTilt {stated:g} degrees, positions {lean:.1f}; they win"
            faults.append(("dicom_tilt_at_odds", message))
    return tuple(faults)
