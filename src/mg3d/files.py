"""Writing files so that a crash at any moment leaves the old file or the new one, never half.

Every write of the package goes through `write_atomic`, logs through `append_line`; both put bytes
on the disk in one place, where tests inject a full disk.
"""

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mg3d.errors import StorageError

SHARED, PRIVATE = 0o644, 0o600
"""Rights of files: stores are shared, keys of pseudonyms and lists of names are not."""


def write_atomic(path: Path, content: bytes | str, *, mode: int = SHARED) -> None:
    """Replace ``path`` by ``content``: temporary file beside it, fsync, rename.

    Args:
        path: Target; its folder is made when missing.
        content: Bytes, or text to be stored as UTF-8.
        mode: Rights of the file; `PRIVATE` for what only its owner may read.

    Raises:
        StorageError: If the folder cannot be written or the disk is full; ``path`` is unchanged.
    """
    payload = content.encode() if isinstance(content, str) else content
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as stream:
            _write_all(stream, payload)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(mode)  # mkstemp makes files private
        temporary.replace(path)
        temporary = None
        _sync_folder(path.parent)
    except OSError as error:
        reason = "no space left" if error.errno == errno.ENOSPC else (error.strerror or str(error))
        raise StorageError(
            f"{path}: {reason} while writing {len(payload):,} bytes; the previous file, if any, is "
            "unchanged. Free space or choose another folder, then run the same command again."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _write_all(stream: Any, payload: bytes) -> None:
    """The single place that puts bytes on a disk (a test replaces it to inject a full disk)."""
    stream.write(payload)


def _sync_folder(folder: Path) -> None:
    """Make a rename durable; some network file systems refuse to sync a folder, which is fine."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def append_line(path: Path, line: str) -> None:
    """Add one line to a log. A crash can tear the last line, and only that one.

    Raises:
        StorageError: If the disk is full; earlier lines stay.
    """
    try:
        with path.open("ab") as stream:
            _write_all(stream, (line + "\n").encode())
    except OSError as error:
        raise StorageError(
            f"{path}: {error.strerror or error} while adding a line; free space, then run the same "
            "command again."
        ) from error


def write_json(path: Path, content: Any) -> None:
    """Store ``content`` as indented JSON with sorted keys (the same content, the same bytes)."""
    write_atomic(path, json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """Store one compact JSON document a line, keys sorted."""
    lines = (json.dumps(row, sort_keys=True, ensure_ascii=False) + "\n" for row in rows)
    write_atomic(path, "".join(lines))


def sha256(content: bytes) -> str:
    """Hexadecimal SHA-256 of ``content``."""
    return hashlib.sha256(content).hexdigest()


def remove_stale_temporaries(folder: Path) -> None:
    """Delete what a killed `write_atomic` left behind in ``folder`` (not in its sub-folders)."""
    for leftover in folder.glob(".*.????????"):
        leftover.unlink(missing_ok=True)
