"""Reading a scan: the reader that knows its format is found and asked.

Errors do not name the file: who reads it knows its study and says so.
"""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mg3d.data.scan import PICTURES, Scan, ScanSource
from mg3d.data.scan_error import ScanError, ask
from mg3d.data.volume import Volume

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
