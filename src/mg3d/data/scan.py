"""A scan before it is read: where its voxels lie, and how they become a Volume.

Errors do not name the file: who reads it knows its study and says so.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mg3d.data.scan_error import ScanError
from mg3d.data.volume import Volume

Matrix = tuple[tuple[float, float, float, float], ...]

READERS = {
    ".nii.gz": "nifti",
    ".nii": "nifti",
    ".nrrd": "nrrd",
    ".nhdr": "nrrd",
    ".mha": "metaimage",
    ".mhd": "metaimage",
    ".npz": "npz",
    ".dcm": "dicom.reader",
    ".dicom": "dicom.reader",
    ".ima": "dicom.reader",
    "dicomdir": "dicom.reader",
}
"""Ending of a file -> module of `mg3d.data.readers`; its function `read` takes a ScanSource.

Files of other endings, and without, are DICOM if they begin as DICOM does."""
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


def read_scan(source: ScanSource) -> Scan:
    """Read one scan.

    Args:
        source: A file whose ending is one of `READERS`, or a folder.

    Returns:
        The voxels in HU (int16 where they are, else float32) and what is unusual about the file.

    Raises:
        ScanError: Missing, of an unknown format, unreadable, not 3D, or without usable geometry.
    """
    read: Callable[[ScanSource], Scan] = _reader(source.path).read
    return read(source)


def read_volume(path: Path | str) -> Volume:
    """The volume of `read_scan`, for a file that needs no further facts.

    Raises:
        ScanError: As `read_scan`.
    """
    return read_scan(ScanSource(path=Path(path))).volume


def source_files(source: ScanSource) -> tuple[Path, ...]:
    """The files that decide a scan's voxels, in a stable order: what identity hashes cover.

    Raises:
        ScanError: If the file system refuses to answer, or there is no such file.
    """
    files: tuple[Path, ...] = _reader(source.path).files(source)
    return files


def _reader(path: Path) -> Any:
    """The module that reads such a path; imported only now, since some load heavy libraries."""
    if ask(path.is_dir):
        name = "pictures" if ask(lambda: _holds_pictures_alone(path)) else "dicom.reader"
        return importlib.import_module(f"mg3d.data.readers.{name}")
    if not ask(path.is_file):
        raise ScanError("no such file; check the path in the table or list", "missing_file")
    for ending, name in READERS.items():
        if path.name.lower().endswith(ending):
            return importlib.import_module(f"mg3d.data.readers.{name}")
    if _begins_as_dicom(path):
        return importlib.import_module("mg3d.data.readers.dicom.reader")
    raise ScanError(
        f"unknown format {path.suffix!r}; supported: {', '.join(READERS)}, a folder of DICOM "
        f"files, a folder of slices ({', '.join(PICTURES)}). Convert the image, for example to "
        "NIfTI.",
        "file_format",
    )


def _holds_pictures_alone(folder: Path) -> bool:
    """Whether a folder holds pictures and no DICOM: viewers on discs add pictures to a series."""
    if not any(entry.suffix.lower() in PICTURES for entry in folder.iterdir()):
        return False
    find_files = importlib.import_module("mg3d.data.readers.dicom.files").find_files
    return not any(map(_begins_as_dicom, find_files(folder)))


def _begins_as_dicom(path: Path) -> bool:
    answer: bool = importlib.import_module("mg3d.data.readers.dicom.files").is_dicom(path)
    return answer


def ask(question: Callable[[], bool]) -> bool:
    """The answer of the file system, which may refuse one: no rights, a disk that fails."""
    try:
        return question()
    except OSError as error:
        raise ScanError.from_os(error) from error
