"""Voxels in a file of their own beside the header that names it."""

from pathlib import Path

from mg3d.data.scan_error import ScanError, ask


def data_beside(header: Path, name: str) -> Path:
    """The file that a header names.

    Args:
        header: The file that was given.
        name: What it says about its voxels; only one file in the header's folder or below it is
            followed, so that a header cannot point anywhere else.

    Returns:
        The path of the voxels.

    Raises:
        ScanError: If the name is a list, a pattern or leads elsewhere, or nothing is there.
    """
    parts = Path(name).parts
    if name.upper().startswith("LIST") or "%" in name or len(name.split()) > 1:
        raise ScanError("voxels spread over several files are not read: join them", "file_format")
    if "\0" in name or Path(name).is_absolute() or ".." in parts:
        raise ScanError(
            "the header names a file outside its own folder. Put the voxels beside the header.",
            "missing_file",
        )
    data = header.parent / name
    if not ask(data.is_file):
        raise ScanError("the file of voxels that the header names is missing", "missing_file")
    return data
