"""A folder of slices as JPG or PNG pictures, as CTRG-Chest hands them over.

A picture holds grey levels, no geometry: the window, the spacing and the axes must be stated.
The array's axes are columns, rows, slices; slices are taken in the natural order of their names
(2 before 10).
"""

import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from mg3d.data.scan import PICTURES, Scan, ScanSource, Stated
from mg3d.data.scan_error import ScanError
from mg3d.data.stated import Faults, place, rescale
from mg3d.data.streams import DAMAGE, damage_error
from mg3d.data.volume import Volume

_DAMAGE = (*DAMAGE, SyntaxError, struct.error, TypeError, Image.DecompressionBombError)
"""What Pillow raises on damaged pictures."""
_MOST_PIXELS = 4096 * 4096
_DIGITS = re.compile(r"(\d+)")


def files(source: ScanSource) -> tuple[Path, ...]:
    """The pictures of the folder, in their order.

    Raises:
        ScanError: If the folder cannot be listed.
    """
    try:
        found = [path for path in source.path.iterdir() if path.suffix.lower() in PICTURES]
    except OSError as error:
        raise ScanError.from_os(error) from error
    return tuple(sorted(found, key=_natural))


def read(source: ScanSource) -> Scan:
    """Read the pictures of a folder as one volume.

    Raises:
        ScanError: See `mg3d.data.reading.read_scan`.
    """
    slices = files(source)
    if len(slices) < 2:
        raise ScanError(f"{len(slices)} slice: a volume has at least two", "file_slices")
    try:
        array = _stack(slices)
    except (*_DAMAGE, ScanError) as error:
        raise damage_error(error, "pictures") from error
    array, faults = _to_hu(array, source.stated)
    affine, noticed = place(array.shape, None, source.stated)
    return Scan(Volume(array, affine), (*noticed, *faults))


def _natural(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Numbers by value, other text by letters; the name itself decides between 1 and 01."""
    parts = _DIGITS.split(path.stem.lower())
    return [(int(part), "") if part.isdigit() else (0, part) for part in parts], path.name


def _stack(slices: tuple[Path, ...]) -> npt.NDArray[Any]:
    first = _pixels(slices[0])
    array = np.empty((*first.shape[::-1], len(slices)), first.dtype, order="F")
    for index, path in enumerate(slices):
        pixels = first if index == 0 else _pixels(path)
        if (pixels.shape, pixels.dtype) != (first.shape, first.dtype):
            raise ScanError(
                f"slice {index + 1} of {len(slices)} is {pixels.shape[::-1]} pixels of "
                f"{pixels.dtype}, the first {first.shape[::-1]} of {first.dtype}. Keep the slices "
                "of one series in the folder.",
                "file_slices",
            )
        array[:, :, index] = pixels.T
    return array


def _pixels(path: Path) -> npt.NDArray[Any]:
    """(rows, columns) uint8 or uint16; a picture whose three colours are equal is grey."""
    with Image.open(path, formats=("JPEG", "PNG")) as picture:
        if picture.width * picture.height > _MOST_PIXELS:
            raise ScanError("a slice has more than 4096 x 4096 pixels", "file_slices")
        pixels = np.asarray(picture)
    if picture.mode in ("RGB", "RGBA") and (pixels[..., :3] == pixels[..., :1]).all():
        pixels = pixels[..., 0]
    if pixels.ndim != 2 or pixels.dtype.kind not in "ui":
        raise ScanError("a slice has colours, a CT has none. Give the CT.", "file_colour")
    return pixels.astype(np.uint8 if pixels.dtype == np.uint8 else np.uint16)


def _to_hu(array: npt.NDArray[Any], stated: Stated) -> tuple[npt.NDArray[Any], Faults]:
    if array.dtype == np.uint16:
        fits = array.max() <= np.iinfo(np.int16).max
        return rescale(array.astype(np.int16 if fits else np.float32), stated, in_header=False)
    if stated.window_hu is None:
        raise ScanError(
            "8-bit pictures: which HU are black and white is unknown. State window_hu, or give "
            "the series itself.",
            "hu_8bit",
        )
    low, high = stated.window_hu
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise ScanError(f"window ({low:g}, {high:g}) HU: two numbers, low first", "hu_rescale")
    levels = np.rint(np.linspace(low, high, 256)).astype(np.int16)
    step = (high - low) / 255
    message = f"256 levels from {low:g} to {high:g} HU, {step:.1f} HU apart; beyond it is lost"
    hu: npt.NDArray[Any] = levels[array]
    return hu, (("hu_from_8bit", message),)
