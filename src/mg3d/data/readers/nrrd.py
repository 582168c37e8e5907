"""NRRD, one file or a header with its data beside it, as 3D Slicer writes it.

The header is text and read here, not by ITK, which takes an unnamed space for a known one.

Source: the format's definition, teem.sourceforge.net/nrrd/format.html.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mg3d.data.readers.beside import data_beside
from mg3d.data.scan import Scan, ScanSource
from mg3d.data.scan_error import ScanError
from mg3d.data.stated import Faults, place, rescale
from mg3d.data.streams import DAMAGE, damage_error, gunzip
from mg3d.data.volume import Volume
from mg3d.data.voxels import VoxelRun

_TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
_TO_RAS = {
    "right-anterior-superior": (1, 1, 1), "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1), "las": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1), "lps": (-1, -1, 1),
}  # fmt: skip
_MM_PER_UNIT = {"mm": 1.0, "cm": 10.0, "m": 1000.0, "um": 0.001}
_MOST_HEADER = 2**16


@dataclass(frozen=True, kw_only=True)
class _Header:
    """The fields by name, in small letters, and where the header ends."""

    fields: dict[str, str]
    length: int

    def get(self, *names: str) -> str:
        return next((self.fields[name] for name in names if name in self.fields), "")


def files(source: ScanSource) -> tuple[Path, ...]:
    """The header, and the file of voxels that it names.

    Raises:
        ScanError: If the header cannot be read.
    """
    try:
        data = _data_path(source.path, _header(source.path))
    except (*DAMAGE, ScanError) as error:
        raise damage_error(error, "NRRD") from error
    return (source.path,) if data == source.path else (source.path, data)


def read(source: ScanSource) -> Scan:
    """Read an NRRD file in the encodings raw and gzip.

    Raises:
        ScanError: See `mg3d.data.reading.read_scan`.
    """
    try:
        header = _header(source.path)
        run = _voxel_run(header)
        affine, faults = _geometry(header, run.shape, source)
        array = _voxels(source.path, header, run)
    except (*DAMAGE, ScanError) as error:
        raise damage_error(error, "NRRD") from error
    array, noticed = rescale(array, source.stated, in_header=False)
    return Scan(Volume(array, affine), (*faults, *noticed))


def _header(path: Path) -> _Header:
    with path.open("rb") as stream:
        start = stream.read(_MOST_HEADER)
    if not start.startswith(b"NRRD000"):
        raise ScanError("the file does not begin as NRRD: damaged, or another format")
    ends = [(start.find(mark), len(mark)) for mark in (b"\n\n", b"\r\n\r\n")]
    end, skip = min(((at, n) for at, n in ends if at >= 0), default=(len(start), 0))
    fields: dict[str, str] = {}
    for line in start[:end].decode("latin-1").splitlines()[1:]:
        name, colon, value = line.partition(":")
        if not line.startswith("#") and colon and not value.startswith("="):
            fields[name.strip().lower()] = value.strip()
    return _Header(fields=fields, length=end + skip)


def _voxel_run(header: _Header) -> VoxelRun:
    sizes = header.get("sizes").split()
    if header.get("dimension") != str(len(sizes)):
        raise ScanError("dimension and sizes do not agree: the header is damaged")
    name = header.get("type").lower()
    code = next((code for code, names in _TYPES.items() if name in names), None)
    if code is None:
        raise ScanError("the type of the voxels is no number. Give the CT.", "file_colour")
    endian = header.get("endian").lower()
    if endian not in ("little", "big") and code not in ("i1", "u1"):
        raise ScanError("the header does not say which byte comes first: it is damaged")
    run = tuple(int(size) for size in sizes)
    dtype = np.dtype((">" if endian == "big" else "<") + code)
    return VoxelRun(shape=run, dtype=dtype)  # type: ignore[arg-type]  # which checks the number


def _geometry(
    header: _Header, shape: tuple[int, int, int], source: ScanSource
) -> tuple[npt.NDArray[np.float64], Faults]:
    to_ras = _TO_RAS.get(header.get("space").lower())
    directions = _vectors(header.get("space directions"))
    if to_ras is None or directions is None:
        return place(shape, None, source.stated)
    columns, faults = _in_millimetres(header, np.array(directions).T)
    origin = _vectors(header.get("space origin")) or ((0.0, 0.0, 0.0),)
    affine = np.eye(4)
    affine[:3, :3] = columns
    affine[:3, 3] = _in_millimetres(header, np.array(origin).T)[0][:, 0]
    affine[:3] *= np.array(to_ras)[:, None]
    affine, noticed = place(shape, affine, source.stated)
    return affine, (*faults, *noticed)


def _vectors(text: str) -> tuple[tuple[float, ...], ...] | None:
    """Vectors as the format writes them: (1,0,0) (0,1,0) (0,0,1); None where there are none."""
    if not text or "none" in text.lower():
        return None
    parts = [part.strip(" ()").split(",") for part in text.split(")") if part.strip()]
    vectors = tuple(tuple(float(number) for number in part) for part in parts)
    if len(vectors) not in (1, 3) or any(len(vector) != 3 for vector in vectors):
        raise ScanError("directions and origin are not in three dimensions", "geometry_damaged")
    return vectors


def _in_millimetres(
    header: _Header, columns: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], Faults]:
    """Lengths along the three axes of space, converted from the unit that the header names."""
    names = [name.strip().lower() for name in header.get("space units").split('"')[1::2]]
    factors = [_MM_PER_UNIT.get(name, 1.0) for name in names]
    if len(factors) != 3 or factors == [1, 1, 1]:
        return columns, ()
    message = f"the header counts in {', '.join(sorted(set(names)))}; converted to millimetres"
    return columns * np.array(factors)[:, None], (("geometry_unit", message),)


def _data_path(path: Path, header: _Header) -> Path:
    name = header.get("data file", "datafile")
    return data_beside(path, name) if name else path


def _voxels(path: Path, header: _Header, run: VoxelRun) -> npt.NDArray[Any]:
    encoding = header.get("encoding").lower()
    if encoding not in ("raw", "gzip", "gz"):
        raise ScanError("encoding: raw and gzip are read. Write the file again.", "file_format")
    if header.get("line skip", "lineskip") not in ("", "0"):
        raise ScanError("lines to skip before the voxels are not read", "file_format")
    skip = int(header.get("byte skip", "byteskip") or 0)
    data = _data_path(path, header)
    run.check_length(data.stat().st_size, compressed=encoding != "raw")
    with data.open("rb") as stream:
        stream.seek(header.length if data == path else 0)
        if skip < 0:  # as the format has it: the voxels are the last bytes of the file
            stream.seek(-run.num_bytes, 2)
        content = stream if encoding == "raw" else gunzip(stream)
        if skip > 0:
            content.seek(skip, 1)
        return run.read(content)
