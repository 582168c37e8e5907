"""A scan before and after it is read: where its voxels lie, and what came of them."""

from dataclasses import dataclass, field
from pathlib import Path

from mg3d.data.volume import Volume

Matrix = tuple[tuple[float, float, float, float], ...]

PICTURES = (".jpg", ".jpeg", ".png")
"""Endings of slices in a folder; a folder with DICOM files holds a series, pictures or not."""


@dataclass(frozen=True, kw_only=True)
class Stated:
    """What a table says about a file; used only where the file itself is silent.

    A reader that finds both, and finds them at odds, says so instead of choosing.
    """

    affine: Matrix | None = None
    """(4, 4) voxel index -> patient mm in RAS+, for arrays without geometry."""
    spacing_mm: tuple[float, float, float] | None = None
    """Along the array's axes, for headers that carry orientation but no spacing."""
    rescale: tuple[float, float] | None = None
    """Slope and intercept from stored values to HU, for files whose header carries none."""
    window_hu: tuple[float, float] | None = None
    """HU of grey 0 and grey 255, for 8-bit pictures."""
    array_name: str = ""
    """Name of the array in an NPZ file; "" for its only one."""
    axes: str = ""
    """Patient directions in which the indices of an array grow, e.g. "IPL"; "" as stored."""


@dataclass(frozen=True, kw_only=True)
class ScanSource:
    """Where the voxels of one volume lie."""

    path: Path
    """A file, or the folder of a DICOM series or of slices."""
    series_uid: str = ""
    """DICOM: SeriesInstanceUID of the series to take; "" = by the rule of the reader."""
    stated: Stated = field(default_factory=Stated)


@dataclass(frozen=True, eq=False)
class Scan:
    """A scan as read: the volume and what its reader noticed on the way."""

    volume: Volume
    faults: tuple[tuple[str, str], ...] = ()
    """(kind, message) of warnings and notes; kinds are keys of `mg3d.data.faults.FAULTS`."""
