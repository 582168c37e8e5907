"""Checksums that a site gives with its files: a list as `sha256sum` writes it."""

import re
from functools import lru_cache
from pathlib import Path

from mg3d.errors import DataError

DEFAULT_NAME = "SHA256SUMS"
_LINE = re.compile(r"\\?([0-9a-fA-F]{64}) [ *](.+)")


def read_checksums(path: Path) -> dict[Path, str]:
    """The list as resolved path -> SHA-256 in lower case.

    Args:
        path: Lines of a hash, two spaces (or a space and an asterisk) and a path relative to the
            folder of the list. Empty lines and comments (#) are passed over.

    Raises:
        DataError: If it is not readable or a line is none of these.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: not readable as a list of checksums ({type(error).__name__}). Make it with "
            "`sha256sum`, or leave it out."
        ) from error
    folder = path.parent.resolve()
    sums = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise DataError(
                f"{path}, line {number}: not a SHA-256, two spaces and a path. Make the list with "
                "`sha256sum`."
            )
        sums[folder / match[2].removeprefix("./")] = match[1].lower()
    return sums


def cached_checksums(path: Path) -> dict[Path, str]:
    """`read_checksums`, read once a process and version: a worker asks it for each scan."""
    return _read(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _read(path: Path, changed_ns: int) -> dict[Path, str]:
    return read_checksums(path)
