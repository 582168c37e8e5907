"""One writer a store: the lock that keeps two commands from writing to the same folder.

The kernel holds it for the process, so a process that is killed leaves no lock behind, only a
file that the next one takes over.
"""

import contextlib
import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from mg3d.errors import ConfigError, StorageError
from mg3d.progress import console

LOCK_FILE = ".lock"
_BUSY = (errno.EACCES, errno.EAGAIN)
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What file systems without locks answer, some network mounts for example."""


@contextlib.contextmanager
def locked(folder: Path, command: str) -> Iterator[None]:
    """Hold the lock of a store; its folder is made when missing.

    Args:
        folder: The store.
        command: Who asks, for the message that another one reads.

    Raises:
        ConfigError: If another process holds it; says which.
        StorageError: If the folder cannot be written.
    """
    path = folder / LOCK_FILE
    descriptor = _take(path)
    try:
        holder = {"command": command, "host": socket.gethostname(), "pid": os.getpid()}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        yield
    finally:
        with os.fdopen(descriptor, "rb"):
            path.unlink(missing_ok=True)  # while it is still held: nobody may lock a dead file


def _take(path: Path) -> int:
    """An open descriptor of the lock file that holds the lock."""
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StorageError(
                f"{path}: {error.strerror}; the store cannot be written. Choose another folder or "
                "correct its rights."
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _holder(path)
            os.close(descriptor)
            if error.errno in _BUSY:
                raise ConfigError(
                    f"{path.parent}: {holder} is writing to this store. Wait for it, or end it; "
                    "then run the same command again."
                ) from None
            if error.errno not in _NO_LOCKS:
                raise
            console.print(
                f"[yellow]{path.parent}: this file system has no locks; make sure that no other "
                "command writes to the store"
            )
            return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        if _is_current(descriptor, path):
            return descriptor
        os.close(descriptor)  # its holder removed it between our opening and locking it


def _is_current(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text())
        return f"`mg3d {holder['command']}` (process {holder['pid']} on {holder['host']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another command"
