"""Compressed streams, decompressed by ISA-L where it is installed (twice as fast), else by zlib.

Both give the same bytes and notice the same damage.
"""

import gzip
import importlib
import zlib
from typing import Any, Protocol

from mg3d.data.scan_error import ScanError

DEFLATE_MOST = 1032
"""Bytes that one byte of gzip or zlib can stand for at most (zlib, technical details)."""
_PIECE = 2**18

_gzip: Any
_zlib: Any
_inflate_errors: tuple[type[Exception], ...]
try:
    _gzip = importlib.import_module("isal.igzip").IGzipFile
    _zlib = importlib.import_module("isal.isal_zlib")
    _inflate_errors = (zlib.error, _zlib.error)
except ModuleNotFoundError:
    _gzip, _zlib, _inflate_errors = gzip.GzipFile, zlib, (zlib.error,)

DAMAGE = (OSError, EOFError, ValueError, OverflowError, *_inflate_errors)
"""What damaged bytes raise on their way through gzip, zlib and NumPy."""


class Stream(Protocol):
    """What voxels are read from: a file, or the decompressed content of one."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Fill the buffer as far as one piece goes; 0 at the end."""


def gunzip(stream: Any) -> Any:
    """The content of a gzip stream, as a binary file."""
    return _gzip(fileobj=stream, mode="rb")


class Inflated:
    """The content of a zlib stream, as MetaImage stores it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._inflate = _zlib.decompressobj()

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill the buffer as far as one piece goes; 0 at the end."""
        while not self._inflate.eof:
            packed = self._inflate.unconsumed_tail or self._stream.read(_PIECE)
            content: bytes = self._inflate.decompress(packed, len(buffer))
            if content:
                buffer[: len(content)] = content
                return len(content)
            if not packed:
                break
        return 0


def damage_error(error: Exception, name: str) -> ScanError:
    """What to say about bytes that are no image of a format.

    Args:
        error: One of `DAMAGE`.
        name: The format.
    """
    if isinstance(error, ScanError):
        return error
    if isinstance(error, OSError) and error.errno is not None:  # the system, not the content
        return ScanError.from_os(error)
    return ScanError(
        f"not readable as {name} ({type(error).__name__}): truncated or damaged. Copy or export "
        "the file again."
    )
