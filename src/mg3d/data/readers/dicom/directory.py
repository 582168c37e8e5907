"""DICOMDIR: the file in which a disc lists what it holds."""

from pathlib import Path

from mg3d.data.readers.dicom.elements import items, words
from mg3d.data.readers.dicom.files import DAMAGE, damaged, read_header, silent
from mg3d.data.scan_error import ScanError


def listed_files(path: Path) -> tuple[tuple[Path, ...], int]:
    """The files that a DICOMDIR names.

    Args:
        path: The DICOMDIR.

    Returns:
        Those that are there, in the order of the list, and how many are not. Discs are copied
        with names in either case; names that lead out of the disc's folder count as absent.

    Raises:
        ScanError: Damaged, or cannot be read.
    """
    header = read_header(path, ("DirectoryRecordSequence",))
    if header is None or "DirectoryRecordSequence" not in header:
        raise ScanError("not a DICOMDIR, or damaged. Name the folder of the disc instead.")
    try:
        with silent():
            names = [words(item, "ReferencedFileID") for item in
                     items(header, "DirectoryRecordSequence")]  # fmt: skip
    except DAMAGE as error:
        raise damaged(error) from None
    wanted = [name for name in dict.fromkeys(names) if name]
    found = [_find(path.parent, name) for name in wanted]
    present = tuple(each for each in found if each is not None)
    return present, len(wanted) - len(present)


def _find(folder: Path, name: tuple[str, ...]) -> Path | None:
    """The file of a name, each part of it in any case."""
    for part in name:
        try:
            entries = sorted(folder.iterdir())
        except OSError:  # what should be a folder is none
            return None
        matching = [entry for entry in entries if entry.name.upper() == part]
        if not matching:
            return None
        folder = matching[0]
    return folder if folder.is_file() else None
