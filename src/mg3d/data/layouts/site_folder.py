"""SiteFolder: the files below a folder, listed once; layouts pick tables and scans from them."""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mg3d.data.layouts.table_error import TableError

SCAN_ENDINGS = (".nii.gz", ".nii", ".npz", ".nrrd", ".mha", ".mhd")
"""Endings of one-file scans, the longest first where one ends in another."""


@dataclass(frozen=True)
class SiteFolder:
    """A folder and all files below it, hidden ones apart, in a stable order."""

    path: Path
    files: tuple[Path, ...]

    def named(self, pattern: str) -> list[Path]:
        """Files whose name matches a regular expression as a whole, case ignored."""
        name = re.compile(pattern, re.IGNORECASE)
        return [file for file in self.files if name.fullmatch(file.name)]

    def the_one(self, pattern: str, what: str) -> Path | None:
        """The only file of such a name, or None.

        Raises:
            TableError: If there are several: which one holds is not ours to guess.
        """
        found = self.named(pattern)
        if len(found) > 1:
            places = ", ".join(self.relative(file) for file in found[:5])
            raise TableError(
                f"{self.path}: {len(found)} files could be {what}: {places}. Keep one, or name it "
                "with an option.",
                "table_row_twice",
            )
        return found[0] if found else None

    def scans(self, endings: Sequence[str] = SCAN_ENDINGS) -> list[Path]:
        """Files with the ending of a scan."""
        return [file for file in self.files if file.name.lower().endswith(tuple(endings))]

    def relative(self, file: Path) -> str:
        """A file's path as a store may keep it."""
        return file.relative_to(self.path).as_posix()


def list_folder(path: Path) -> SiteFolder:
    """List a folder.

    Raises:
        TableError: If there is no such folder, or a part of it may not be read.
    """
    if not path.is_dir():
        raise TableError(f"{path}: there is no such folder; check the path", "table_missing")

    def refuse(error: OSError) -> None:
        raise TableError(
            f"{path}: a folder below it is not readable ({error.strerror}); check its rights",
            "table_unreadable",
        ) from error

    files: list[Path] = []
    for folder, folders, names in os.walk(path, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += [Path(folder, name) for name in sorted(names) if not name.startswith(".")]
    return SiteFolder(path, tuple(files))


def stem(name: str, endings: Iterable[str] = SCAN_ENDINGS) -> str:
    """A file name without the ending of a scan."""
    ending = next((end for end in endings if name.lower().endswith(end)), "")
    return name[: len(name) - len(ending)]
