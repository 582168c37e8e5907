"""Identity of a source: whether files still are what a volume was made from.

As in make, files older than the volume are taken for unchanged when their number and size agree
(the inode's change time counts too, so an old file moved into place is noticed); else their hash
decides. Names and dates of files are no part of the identity: they may be personal, and they
differ from machine to machine.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mg3d.data.reading import source_files
from mg3d.data.scan import ScanSource
from mg3d.data.scan_error import ScanError
from mg3d.files import sha256


@dataclass(frozen=True, kw_only=True)
class SourceIdentity:
    """What the files of a source are, without their names."""

    num_files: int
    num_bytes: int
    sha256: str
    """Of the one file; of several, of their hashes in the order of `source_files`."""

    def to_json(self) -> dict[str, Any]:
        """As the facts of a volume hold it."""
        return {
            "source_files": self.num_files,
            "source_bytes": self.num_bytes,
            "source_sha256": self.sha256,
        }


def identify(source: ScanSource) -> SourceIdentity:
    """Read all files of a source and hash them.

    Raises:
        ScanError: If there is no such source, or the system refuses to read it.
    """
    files = source_files(source)
    try:
        num_bytes = sum(status.st_size for status in map(os.stat, files))
        return SourceIdentity(num_files=len(files), num_bytes=num_bytes, sha256=_hash_files(files))
    except OSError as error:
        raise ScanError.from_os(error) from error


def holds(source: ScanSource, facts: dict[str, Any], made_ns: int) -> bool:
    """Whether a source still is what a volume was made from, or is gone.

    Where it is gone, an archive that is not mounted say, the volume stays.

    Args:
        source: Where the files lie.
        facts: Of the volume; they hold `SourceIdentity.to_json`.
        made_ns: When the volume was written.

    Raises:
        ScanError: If the system refuses to answer.
    """
    try:
        if not source.path.exists():
            return True
        files = source_files(source)
        found = [file.stat() for file in files]
        num_bytes = sum(status.st_size for status in found)
        if (len(files), num_bytes) != (facts.get("source_files"), facts.get("source_bytes")):
            return False
        newest = max(max(status.st_mtime_ns, status.st_ctime_ns) for status in found)
        return newest < made_ns or _hash_files(files) == facts.get("source_sha256")
    except OSError as error:
        raise ScanError.from_os(error) from error


def _hash_files(files: Sequence[Path]) -> str:
    hashes = [_hash_file(file) for file in files]
    return hashes[0] if len(hashes) == 1 else sha256("".join(hashes).encode())


def _hash_file(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
