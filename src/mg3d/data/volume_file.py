"""The file of one stored volume: a safetensors file whose header vouches for its voxels.

The header holds the hash of the voxels, and the hash of the header names the whole file. So an
unchanged file is recognised by reading a few kilobytes, and voxels are mapped into memory without
being read twice.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save as save_tensors

from mg3d.errors import DataError
from mg3d.files import sha256

_METADATA_KEY = "mg3d"
_TENSOR = "hu"
_DTYPE = np.dtype("<i2")
_LENGTH_BYTES = 8
"""A safetensors file begins with the length of its header, little endian."""
_LONGEST_HEADER = 1 << 20
"""A header of ours takes 2 KB; a length beyond this is damage."""


@dataclass(frozen=True, eq=False)
class VolumeHeader:
    """All that a volume file says besides its voxels."""

    facts: dict[str, Any]
    """Affine of the grid, source and its geometry, hash of the voxels."""
    shape: tuple[int, int, int]
    begin: int
    """Where the voxels begin, in bytes."""
    sha256: str
    """Hash of length and header: the name of this content."""


def encode_volume(hu: npt.NDArray[np.int16], facts: dict[str, Any]) -> bytes:
    """The bytes of a volume file.

    All facts go under one metadata key, because safetensors writes several in random order.

    Args:
        hu: (X, Y, Z) voxels.
        facts: What JSON can hold; the hash of the voxels is added.
    """
    voxels = np.ascontiguousarray(hu, dtype=_DTYPE)
    facts = {**facts, "hu_sha256": sha256(voxels.tobytes())}
    return save_tensors(
        {_TENSOR: voxels}, metadata={_METADATA_KEY: json.dumps(facts, sort_keys=True)}
    )


def read_header(path: Path, place: str) -> VolumeHeader:
    """Read what a volume file says about itself.

    Args:
        path: The file.
        place: Begins the message of an error.

    Raises:
        DataError: If the file is missing, cut off or damaged.
    """
    with _opened(path, place) as stream:
        return _read_header(stream, place)


def read_voxels(path: Path, place: str, out: npt.NDArray[np.int16]) -> None:
    """Read the voxels of a file to where they are wanted: one copy, and no page of it mapped.

    Args:
        path: The file.
        place: Begins the message of an error.
        out: (X, Y, Z) contiguous, of the shape that the file has.

    Raises:
        DataError: If the file is missing, cut off, damaged, or of another shape.
    """
    with _opened(path, place) as stream:
        header = _read_header(stream, place)
        if header.shape != out.shape:
            raise DataError(
                f"{place}: {header.shape} voxels instead of {out.shape}. Run `mg3d prepare` with "
                "the same options again; only what is missing or damaged is made."
            )
        stream.seek(header.begin)
        rest = out.data.cast("B")
        while rest:
            num_bytes = stream.readinto(rest)
            if not num_bytes:
                raise _damaged(place, "it was cut off while it was read")
            rest = rest[num_bytes:]


@contextmanager
def _opened(path: Path, place: str) -> Iterator[FileIO]:
    try:
        with FileIO(path) as stream:
            yield stream
    except OSError as error:
        raise DataError(
            f"{place}: {error.strerror}. Run `mg3d prepare` with the same options again; only what "
            "is missing is made."
        ) from error


def _read_header(stream: FileIO, place: str) -> VolumeHeader:
    begin = stream.read(_LENGTH_BYTES)
    begin += stream.read(min(int.from_bytes(begin, "little"), _LONGEST_HEADER))
    return _parse(begin, stream.seek(0, 2), place)


def header_of(content: bytes, place: str) -> VolumeHeader:
    """`read_header` of bytes at hand.

    Raises:
        DataError: If they are cut off or damaged.
    """
    length = min(int.from_bytes(content[:_LENGTH_BYTES], "little"), _LONGEST_HEADER)
    return _parse(content[: _LENGTH_BYTES + length], len(content), place)


def _parse(begin: bytes, size: int, place: str) -> VolumeHeader:
    """A header from its bytes, if a file of ``size`` bytes can follow it."""
    try:
        header = json.loads(begin[_LENGTH_BYTES:])
        tensor = header[_TENSOR]
        x, y, z = (int(number) for number in tensor["shape"])
        if tensor["dtype"] != "I16" or size != len(begin) + x * y * z * _DTYPE.itemsize:
            raise ValueError("size or type of the voxels")
        facts: dict[str, Any] = json.loads(header["__metadata__"][_METADATA_KEY])
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(place, type(error).__name__) from error
    return VolumeHeader(facts, (x, y, z), len(begin), sha256(begin))


def _damaged(place: str, how: str) -> DataError:
    return DataError(
        f"{place}: the file is damaged ({how}). Run `mg3d prepare` with the same options again; "
        "only what is missing or damaged is made."
    )


def map_voxels(path: Path, header: VolumeHeader) -> npt.NDArray[np.int16]:
    """(X, Y, Z) voxels of a file, read from the disk where they are touched; read-only.

    Args:
        path: The file.
        header: Its header, which has checked its size.
    """
    voxels = np.memmap(path, _DTYPE, "r", offset=header.begin, shape=header.shape)
    return voxels.view(np.ndarray)


def is_intact(path: Path, header: VolumeHeader) -> bool:
    """Whether the voxels still are those that the header vouches for; reads them all."""
    return sha256(map_voxels(path, header).tobytes()) == header.facts.get("hu_sha256")
