"""Whether slices are evenly spaced, and where to interpolate new ones if they are not."""

import numpy as np
import numpy.typing as npt

from mg3d.data.readers.dicom.plan import even_positions
from mg3d.data.scan_error import ScanError

Faults = tuple[tuple[str, str], ...]

_ROUNDING_MM = 0.06
"""Scanners round positions, some to 0.1 mm; less than this is no unevenness."""
_SMALL_GAP_MM = 5.0
_SMALL_GAP_STEPS = 1.5
"""A gap is small, and interpolated over, up to the larger of 5 mm and 1.5 usual distances."""
_MOST_NEW_SLICES = 4
"""Even slices for each stored one; more means that the distances have no common measure."""


def evenness(
    distances: npt.NDArray[np.float64], start_mm: float
) -> tuple[npt.NDArray[np.float64] | None, Faults]:
    """Judge the distances between slices.

    Args:
        distances: (N,) mm from the first slice along the normal, growing, N at least 2.
        start_mm: Where the first slice lies, for messages.

    Returns:
        Even positions to interpolate to, None where the slices have them; and what was noticed.

    Raises:
        ScanError: If a gap is too wide, or the distances have no common measure.
    """
    gaps = np.diff(distances)
    usual = float(np.median(gaps))
    numbers = np.arange(len(distances))
    line = np.polynomial.Polynomial.fit(numbers, distances, 1)
    if np.abs(distances - line(numbers)).max() <= _ROUNDING_MM:
        return None, ()
    limit = max(_SMALL_GAP_MM, _SMALL_GAP_STEPS * usual)
    num_even = distances[-1] / usual + 1
    if (gaps > limit).any() or num_even > _MOST_NEW_SLICES * len(distances):
        raise ScanError(_gap_message(distances, start_mm, usual, limit), "dicom_gap")
    even = even_positions(distances, usual)
    num_missing = _missing(gaps, usual)
    shown = f"distances of {gaps.min():g} to {gaps.max():g} mm, usually {usual:g}"
    if num_missing.sum():
        first = start_mm + distances[int(num_missing.argmax())]
        message = (
            f"{num_missing.sum()} of {len(distances) + num_missing.sum()} slices missing ({shown}; "
            f"the first after {first:.1f} mm), interpolated"
        )
        return even, (("dicom_missing_slices", message),)
    return even, (("dicom_uneven_slices", f"{shown}; interpolated to {even[1]:g} mm"),)


def _missing(gaps: npt.NDArray[np.float64], usual: float) -> npt.NDArray[np.int64]:
    """How many slices each gap lacks, judged by the usual distance."""
    return np.maximum(np.rint(gaps / usual).astype(np.int64) - 1, 0)


def _gap_message(
    distances: npt.NDArray[np.float64], start_mm: float, usual: float, limit: float
) -> str:
    gaps = np.diff(distances)
    widest = int(gaps.argmax())
    low, high = start_mm + distances[widest], start_mm + distances[widest + 1]
    return (
        f"about {_missing(gaps, usual).sum():,} slices missing in {(gaps > limit).sum()} gap(s), "
        f"the widest of {gaps[widest]:.1f} mm from {low:.1f} to {high:.1f} mm; slices are usually "
        f"{usual:g} mm apart, and gaps up to {limit:g} mm are interpolated. Copy the whole series."
    )
