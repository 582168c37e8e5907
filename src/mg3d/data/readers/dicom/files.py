"""DICOM files on a disk: which of them are DICOM, and their headers without pixels.

What leaves this file is a parsed header or a `ScanError` without a word of the file: pydicom's
own messages, warnings and log lines may quote values, which may be a person's.
"""

import logging
import os
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pydicom import config, dcmread
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import BytesLengthException, InvalidDicomError

from mg3d.data.scan_error import ScanError

DIRECTORY = "dicomdir"
"""Name, in lower case, of the file that lists what a disc holds."""

DAMAGE = (
    BytesLengthException, InvalidDicomError, ArithmeticError, AttributeError, EOFError,
    LookupError, NameError, OSError, RuntimeError, TypeError, ValueError, struct.error, zlib.error,
)  # fmt: skip
"""What damaged bytes raise on their way through pydicom and its decoders."""

_PREAMBLE = 128
_OTHER_PROGRAMS = frozenset({
    ".bmp", ".csv", ".doc", ".docx", ".gif", ".gz", ".htm", ".html", ".jpeg", ".jpg", ".json",
    ".mha", ".mhd", ".nhdr", ".nii", ".npy", ".npz", ".nrrd", ".pdf", ".png", ".rtf", ".tif",
    ".tiff", ".tsv", ".txt", ".xls", ".xlsx", ".xml", ".yaml", ".yml", ".zip",
})  # fmt: skip
"""Endings that no DICOM file bears; all others are looked into."""


class AccessError(ScanError):
    """The file system does not let a file be read, so nothing is known about its content."""


def find_files(folder: Path) -> Iterator[Path]:
    """Files below a folder that may be DICOM, in a stable order.

    Hidden files and linked folders are left out; a disc's DICOMDIR names files, it is none.

    Raises:
        ScanError: If the file system refuses to list a folder.
    """

    def refuse(error: OSError) -> None:
        raise ScanError.from_os(error) from error

    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(place, name)
            if name.startswith(".") or name.lower() == DIRECTORY:
                continue
            if path.suffix.lower() not in _OTHER_PROGRAMS:
                yield path


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM does, with or without the preamble of part 10.

    Raises:
        ScanError: If the file system refuses to answer.
    """
    try:
        with path.open("rb") as stream:
            return _begins_as_dicom(stream)
    except OSError as error:
        raise ScanError.from_os(error) from error


def _begins_as_dicom(stream: BinaryIO) -> bool:
    start = stream.read(_PREAMBLE + 4)
    stream.seek(0)
    if start[_PREAMBLE:] == b"DICM":
        return True
    # Older files start with their first element: an even number of bytes in group 2 or 8, whose
    # tag and length are small, in either byte order.
    if len(start) < 8:
        return False
    for order in "<>":
        group, element, length = struct.unpack(f"{order}HHI", start[:8])
        explicit = start[4:6].isalpha() and start[4:6].isupper()
        if group in (2, 8) and element <= 0x1155 and (explicit or length <= 64):
            return True
    return False


def read_header(path: Path, keywords: Sequence[str]) -> Dataset | None:
    """The named elements of a file, without its pixels.

    Args:
        path: Any file.
        keywords: DICOM keywords of the elements to read.

    Returns:
        The elements that are there, or None where the file is not DICOM.

    Raises:
        ScanError: Begins as DICOM and is damaged, or cannot be read.
    """
    return _read(path, keywords)


def read_whole(path: Path) -> FileDataset:
    """A DICOM file with its pixels.

    Raises:
        ScanError: Not DICOM, damaged, or cannot be read.
    """
    header = _read(path, None)
    if header is None:
        raise ScanError("not a DICOM file. Copy or export it again.")
    return header


def _read(path: Path, keywords: Sequence[str] | None) -> FileDataset | None:
    try:
        with path.open("rb") as stream, silent():
            if not _begins_as_dicom(stream):
                return None
            tags = None if keywords is None else [*keywords]
            return dcmread(
                stream, stop_before_pixels=keywords is not None, force=True, specific_tags=tags
            )
    except DAMAGE as error:
        raise damaged(error) from None
    except MemoryError:  # of a length that the header claims, before anything is read
        raise ScanError(
            "claims more bytes than memory holds: too large, or damaged. Copy the file again.",
            "memory",
        ) from None


def damaged(error: Exception) -> ScanError:
    """A ScanError for one of `DAMAGE`, without the words of its message, which may quote values.

    Raise it ``from None``, so that no traceback shows them either."""
    if isinstance(error, OSError) and error.errno is not None:  # the system, not the content
        return AccessError.from_os(error)
    return ScanError(
        f"not readable as DICOM ({type(error).__name__}): truncated or damaged. Copy or export "
        "the files again."
    )


@contextmanager
def silent() -> Iterator[None]:
    """Keep pydicom from quoting values in warnings and logs, and from refusing odd ones."""
    logger = logging.getLogger("pydicom")
    level = logger.level
    with warnings.catch_warnings(), config.disable_value_validation():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.CRITICAL + 1)  # of its children too, which `disabled` is not
        try:
            yield
        finally:
            logger.setLevel(level)
