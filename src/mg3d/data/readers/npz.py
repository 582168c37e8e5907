"""NPZ, arrays without geometry: CT-RATE as others pre-processed it, Rad-ChestCT, MedMNIST.

Where the voxels lie, and often how they become HU, must be stated (`Stated`). Pickled objects are
never read.
"""

import lzma
import re
import tokenize
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from mg3d.data.scan import Scan, ScanSource
from mg3d.data.scan_error import ScanError
from mg3d.data.stated import place, rescale
from mg3d.data.streams import DAMAGE, damage_error
from mg3d.data.volume import Volume
from mg3d.data.voxels import VoxelRun

_DAMAGE = (
    *DAMAGE, zipfile.BadZipFile, NotImplementedError, RuntimeError, KeyError, lzma.LZMAError,
    SyntaxError, TypeError, tokenize.TokenError,
)  # fmt: skip
"""zipfile on unknown compression or encryption, and NumPy on a header that is not a dict."""
_NAME = re.compile(r"(?P<name>.*?)(\[(?P<index>\d+)\])?")


def files(source: ScanSource) -> tuple[Path, ...]:
    """The one file that is read."""
    return (source.path,)


def read(source: ScanSource) -> Scan:
    """Read the array that `Stated.array_name` names, "" for the only one.

    "train_images[3]" is the fourth volume of an array of volumes.

    Raises:
        ScanError: See `mg3d.data.reading.read_scan`.
    """
    try:
        with zipfile.ZipFile(source.path) as archive:
            array = _array(archive, source.stated.array_name, source.path.stat().st_size)
    except (*_DAMAGE, ScanError) as error:
        raise damage_error(error, "NPZ") from error
    array, faults = rescale(array, source.stated, in_header=False)
    affine, noticed = place(array.shape, None, source.stated)
    return Scan(Volume(array, affine), (*noticed, *faults))


def _array(archive: zipfile.ZipFile, wanted: str, file_bytes: int) -> npt.NDArray[Any]:
    match = _NAME.fullmatch(wanted)
    assert match is not None  # every string matches
    names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
    name = match["name"] or (names[0] if len(names) == 1 else "")
    if name not in names:
        raise ScanError(
            f"{len(names)} arrays in the file, and none of them is the one wanted. State "
            "array_name.",
            "file_array",
        )
    stream: Any
    with archive.open(f"{name}.npy") as stream:
        shape, fortran, dtype = _npy_header(stream)
        index = int(match["index"]) if match["index"] else None
        if index is not None:
            if fortran or len(shape) != 4 or index >= shape[0]:
                raise ScanError(
                    f"no volume {index} in an array of shape {shape}: four axes, the volumes along "
                    "the first",
                    "file_array",
                )
            shape = shape[1:]
        run = VoxelRun(shape=shape if fortran else shape[::-1], dtype=dtype)  # type: ignore[arg-type]
        run.check_length(file_bytes, compressed=True)
        if index:
            stream.seek(index * run.num_bytes, 1)
        array = run.read(stream)
    return array if fortran else array.transpose()


def _npy_header(stream: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy.read_magic(stream)
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    header: tuple[tuple[int, ...], bool, np.dtype[Any]] = read_header(stream)
    return header
