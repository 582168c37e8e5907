"""What is known about one scan once it is read: its facts, and everything that is wrong with it.

`mg3d audit` shows it and `mg3d prepare` acts on it, so that both judge a scan alike.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mg3d.data.anatomy import Anatomy, look_at
from mg3d.data.hounsfield import check_hu
from mg3d.data.scan import Scan
from mg3d.data.volume import Volume

_RIGHT_ANGLE_DEGREES = 0.5


@dataclass(frozen=True, kw_only=True)
class ScanFacts:
    """Figures of one scan, for tables and outliers; nothing personal."""

    shape: tuple[int, int, int]
    """Voxels along the stored axes."""
    spacing_mm: tuple[float, float, float]
    """Along the stored axes."""
    axes: str
    """Patient directions in which the stored indices grow, e.g. "LPS"."""
    tilt_degrees: float
    """Largest angle between a stored axis and the patient axis nearest to it."""
    extent_mm: tuple[float, float, float]
    """What the scan covers along left-right, back-front, feet-head."""
    lowest_hu: float
    highest_hu: float
    lung_litres: float | None
    """Air in lungs; None where a crop cuts them."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Examination:
    """A scan that can be used, with what to know about it."""

    facts: ScanFacts
    faults: tuple[tuple[str, str], ...]
    """(kind, message) of warnings and notes, those of the reader first."""


def examine(scan: Scan) -> Examination:
    """Check a scan: Hounsfield units, geometry, anatomy.

    Args:
        scan: As `read_scan` returns it.

    Returns:
        Facts and warnings.

    Raises:
        ScanError: If the voxels are not Hounsfield units.
    """
    volume = scan.volume
    unusual = check_hu(volume.array)
    anatomy = look_at(volume)
    faults = (*scan.faults, *unusual, *check_geometry(volume), *anatomy.faults)
    return Examination(facts=_facts(volume, anatomy), faults=faults)


def check_geometry(volume: Volume) -> tuple[tuple[str, str], ...]:
    """(kind, message) of what is unusual about the axes of a volume."""
    found = []
    if volume.shear_degrees > _RIGHT_ANGLE_DEGREES:
        message = f"two axes are {volume.shear_degrees:.1f} degrees off a right angle"
        found.append(("geometry_sheared", message))
    if volume.is_oblique:
        message = f"turned by {volume.tilt_degrees:.1f} degrees against the patient's axes"
        found.append(("geometry_oblique", message))
    return tuple(found)


def _facts(volume: Volume, anatomy: Anatomy) -> ScanFacts:
    ras = volume.reorient_ras()
    x, y, z = (size * mm for size, mm in zip(ras.shape, ras.spacing_mm, strict=True))
    return ScanFacts(
        shape=volume.shape,
        spacing_mm=volume.spacing_mm,
        axes=volume.axes,
        tilt_degrees=volume.tilt_degrees,
        extent_mm=(x, y, z),
        lowest_hu=float(np.min(volume.array)),
        highest_hu=float(np.max(volume.array)),
        lung_litres=anatomy.lung_litres,
    )
