"""What a table states about a file, used only where the file itself is silent.

Two rules, for all formats. Geometry: a header is silent when it places nothing, or when all its
spacings are exactly 1 mm; where both speak they must agree within 1 %. Rescale: a header is silent
when it holds none; then the stored values are taken as they are if they look like Hounsfield
units, else rescaled as stated if that makes them look so. Both cannot happen to one scan, so none
is rescaled twice.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from mg3d.data.hounsfield import looks_like_hu
from mg3d.data.scan import Stated
from mg3d.data.scan_error import ScanError

Faults = tuple[tuple[str, str], ...]

_AGREE = 0.01
_AXES = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
_INT16 = np.iinfo(np.int16)


def rescale(
    array: npt.NDArray[Any], stated: Stated, *, in_header: bool
) -> tuple[npt.NDArray[Any], Faults]:
    """Bring stored values to HU if nothing else did.

    Args:
        array: The voxels, the rescale of the header applied.
        stated: Slope and intercept of a table, or none.
        in_header: Whether the header held a rescale.

    Returns:
        The voxels in HU and what was noticed.

    Raises:
        ScanError: If stored and rescaled values both look like HU.
    """
    if stated.rescale is None or in_header or stated.rescale == (1, 0):
        return array, ()
    slope, intercept = stated.rescale
    rescaled = _rescaled(array, slope, intercept)
    as_stored, as_stated = looks_like_hu(array), looks_like_hu(rescaled)
    if as_stored and as_stated:
        raise ScanError(
            f"the values look like HU both as stored and with the slope {slope:g} and intercept "
            f"{intercept:g} of the table. Write the rescale into the file, or drop it from the "
            "table.",
            "hu_contradiction",
        )
    if as_stated:
        message = f"slope {slope:g} and intercept {intercept:g} come from the table"
        return rescaled, (("hu_stated_rescale", message),)
    return array, ()


def _rescaled(array: npt.NDArray[Any], slope: float, intercept: float) -> npt.NDArray[Any]:
    """In int16 where that is exact, slice by slice so that memory holds two arrays at most."""
    low, high = sorted((float(array.min()) * slope, float(array.max()) * slope))
    whole = array.dtype == np.int16 and float(slope).is_integer() and float(intercept).is_integer()
    fits = low + intercept >= _INT16.min and high + intercept <= _INT16.max
    out = np.empty_like(array, dtype=np.int16 if whole and fits else np.float32)
    for index in range(array.shape[2]):
        plane = array[:, :, index].astype(np.float64)
        out[:, :, index] = plane * slope + intercept
    return out


def place(
    shape: tuple[int, ...], affine: npt.NDArray[np.float64] | None, stated: Stated
) -> tuple[npt.NDArray[np.float64], Faults]:
    """Where voxels lie, by header and table.

    Args:
        shape: Voxels along the three axes.
        affine: (4, 4) of the header, None where it has no orientation.
        stated: What the table says.

    Returns:
        The (4, 4) affine to patient mm, RAS+, and what was noticed.

    Raises:
        ScanError: If neither says enough, or they contradict each other.
    """
    if affine is None:
        return _from_table(shape, stated)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if stated.affine is not None:
        _agree(np.linalg.norm(np.array(stated.affine)[:3, :3], axis=0), spacing)
    if stated.spacing_mm is None:
        return affine, ()
    if not (spacing == 1).all():
        _agree(np.array(stated.spacing_mm), spacing)
        return affine, ()
    if stated.spacing_mm == (1, 1, 1):
        return affine, ()
    _check_spacing(stated.spacing_mm)
    affine = affine.copy()
    affine[:3, :3] *= _as_stored(stated.spacing_mm)
    return affine, (("geometry_stated", f"{_shown(stated.spacing_mm)} come from the table"),)


def _from_table(shape: tuple[int, ...], stated: Stated) -> tuple[npt.NDArray[np.float64], Faults]:
    if stated.affine is not None:
        return np.array(stated.affine), (("geometry_stated", "the affine comes from the table"),)
    if not stated.axes:
        raise ScanError(
            "the header says nothing about orientation, so left and right are unknown. Export "
            "the image again, or state its affine if you know it.",
            "geometry_no_orientation",
        )
    if sorted(_AXES[letter][0] for letter in stated.axes if letter in _AXES) != [0, 1, 2]:
        raise ScanError(
            f"axes {stated.axes!r}: three letters, one of R L, one of A P, one of S I",
            "geometry_no_orientation",
        )
    if stated.spacing_mm is None:
        raise ScanError("neither file nor table says the spacing", "geometry_no_spacing")
    _check_spacing(stated.spacing_mm)
    affine = np.zeros((4, 4))
    for column, (letter, mm) in enumerate(
        zip(stated.axes, _as_stored(stated.spacing_mm), strict=True)
    ):
        world, sign = _AXES[letter]
        affine[world, column] = sign * mm
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape[:3]) - 1) / 2  # the middle is the origin
    affine[3, 3] = 1
    return affine, (
        ("geometry_stated", f"axes {stated.axes}, {_shown(stated.spacing_mm)} are stated"),
    )


def _check_spacing(spacing: tuple[float, float, float]) -> None:
    if len(spacing) != 3 or not all(np.isfinite(mm) and mm > 0 for mm in spacing):
        raise ScanError(
            f"stated spacing {spacing}: three lengths in mm, above 0", "geometry_zero_spacing"
        )


def _as_stored(spacing: tuple[float, float, float]) -> npt.NDArray[np.float64]:
    """Rounded as a NIfTI header rounds it, so that two generations of a scan are equal."""
    return np.array(spacing, dtype=np.float32).astype(np.float64)


def _agree(stated: npt.NDArray[np.float64], stored: npt.NDArray[np.float64]) -> None:
    if (np.abs(stated - stored) <= _AGREE * stored).all():
        return
    raise ScanError(
        f"the file says {_shown(stored)}, the table {_shown(stated)}. Find out which is true and "
        "correct the other.",
        "geometry_contradiction",
    )


def _shown(spacing: Any) -> str:
    return "spacing (" + ", ".join(f"{float(mm):g}" for mm in spacing) + ") mm"
