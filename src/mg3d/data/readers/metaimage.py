"""MetaImage (MHA, MHD), as ITK writes it: LUNA16, elastix, the VLM3D challenge.

Axes lie as `TransformMatrix` says, in LPS+; `AnatomicalOrientation` repeats it in letters that
programs fill in differently, and is not used (nor does ITK).
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
from mg3d.data.streams import DAMAGE, Inflated, damage_error
from mg3d.data.volume import Volume
from mg3d.data.voxels import VoxelRun

_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4",
    "MET_UINT": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}  # fmt: skip
"""MET_LONG is missing: its width depends on the machine that wrote it."""
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])
_MOST_HEADER = 2**16


@dataclass(frozen=True, kw_only=True)
class _Header:
    """The fields by name, in small letters, and where the header ends."""

    fields: dict[str, str]
    length: int

    def get(self, *names: str) -> str:
        return next((self.fields[name] for name in names if name in self.fields), "")

    def says(self, *names: str) -> bool:
        """Whether a field is true."""
        return self.get(*names).lower() in ("true", "1")


def files(source: ScanSource) -> tuple[Path, ...]:
    """The header, and the file of voxels that it names.

    Raises:
        ScanError: If the header cannot be read.
    """
    try:
        data = _data_path(source.path, _header(source.path))
    except (*DAMAGE, ScanError) as error:
        raise damage_error(error, "MetaImage") from error
    return (source.path,) if data == source.path else (source.path, data)


def read(source: ScanSource) -> Scan:
    """Read a MetaImage, plain or compressed.

    Raises:
        ScanError: See `mg3d.data.reading.read_scan`.
    """
    try:
        header = _header(source.path)
        run = _voxel_run(header)
        affine, faults = _geometry(header, run.shape, source)
        array = _voxels(source.path, header, run)
    except (*DAMAGE, ScanError) as error:
        raise damage_error(error, "MetaImage") from error
    array, noticed = rescale(array, source.stated, in_header=False)
    return Scan(Volume(array, affine), (*faults, *noticed))


def _header(path: Path) -> _Header:
    with path.open("rb") as stream:
        start = stream.read(_MOST_HEADER)
    fields: dict[str, str] = {}
    at = 0
    while at < len(start):
        end = start.find(b"\n", at)
        end = len(start) if end < 0 else end
        name, equals, value = start[at:end].decode("latin-1").partition("=")
        at = end + 1
        if not equals:
            break
        fields[name.strip().lower()] = value.strip()
        if name.strip().lower() == "elementdatafile":  # by definition the last one
            return _Header(fields=fields, length=at)
    raise ScanError("the file does not begin as MetaImage: damaged, or another format")


def _voxel_run(header: _Header) -> VoxelRun:
    if header.get("binarydata").lower() == "false":
        raise ScanError("voxels written as text are not read. Write it again.", "file_format")
    sizes = tuple(int(size) for size in header.get("dimsize").split())
    if header.get("ndims") != str(len(sizes)):
        raise ScanError("NDims and DimSize do not agree: the header is damaged")
    if header.get("elementnumberofchannels") not in ("", "1"):
        raise ScanError("several numbers a voxel. Give the CT.", "file_colour")
    code = _TYPES.get(header.get("elementtype").upper())
    if code is None:
        raise ScanError("the type of the voxels is not a number of known width", "file_colour")
    big = header.says("binarydatabyteordermsb", "elementbyteordermsb")
    dtype = np.dtype((">" if big else "<") + code)
    return VoxelRun(shape=sizes, dtype=dtype)  # type: ignore[arg-type]  # which checks the number


def _geometry(
    header: _Header, shape: tuple[int, int, int], source: ScanSource
) -> tuple[npt.NDArray[np.float64], Faults]:
    matrix = _numbers(header.get("transformmatrix", "rotation", "orientation"), 9)
    spacing = _numbers(header.get("elementspacing", "elementsize"), 3)
    if matrix is None or spacing is None:
        return place(shape, None, source.stated)
    origin = _numbers(header.get("offset", "position", "origin"), 3)
    affine = np.eye(4)
    affine[:3, :3] = _LPS_TO_RAS @ matrix.reshape(3, 3).T * spacing
    affine[:3, 3] = _LPS_TO_RAS @ (np.zeros(3) if origin is None else origin)
    return place(shape, affine, source.stated)


def _numbers(text: str, count: int) -> npt.NDArray[np.float64] | None:
    if not text:
        return None
    numbers = np.array([float(number) for number in text.split()])
    if len(numbers) != count:
        raise ScanError(
            f"{len(numbers)} numbers of geometry in place of {count}: the header is damaged. "
            "Copy or export the file again.",
            "geometry_damaged",
        )
    return numbers


def _data_path(path: Path, header: _Header) -> Path:
    name = header.get("elementdatafile")
    return path if name.upper() == "LOCAL" else data_beside(path, name)


def _voxels(path: Path, header: _Header, run: VoxelRun) -> npt.NDArray[Any]:
    compressed = header.says("compresseddata")
    data = _data_path(path, header)
    run.check_length(data.stat().st_size, compressed=compressed)
    with data.open("rb") as stream:
        skip = int(header.get("headersize") or 0)
        if skip < 0:  # as the format has it: the voxels are the last bytes of the file
            stream.seek(-run.num_bytes, 2)
        else:
            stream.seek(header.length if data == path else skip)
        return run.read(Inflated(stream) if compressed else stream)
