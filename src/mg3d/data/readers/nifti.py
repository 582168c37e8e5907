"""NIfTI, the format that most tools of the field exchange."""

import math
import zlib
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from mg3d.data.scan import Scan, ScanSource
from mg3d.data.scan_error import ScanError
from mg3d.data.volume import Volume

_DAMAGE = (
    ImageFileError, HeaderDataError, OSError, EOFError, ValueError, OverflowError, zlib.error,
)  # fmt: skip
"""What damaged bytes raise on their way through nibabel, gzip and NumPy."""
_DEFLATE_MOST = 1032
"""Bytes that one byte of gzip can stand for at most (zlib, technical details)."""


def files(source: ScanSource) -> tuple[Path, ...]:
    """The one file that is read."""
    return (source.path,)


def read(source: ScanSource) -> Scan:
    """Read a NIfTI-1 or NIfTI-2 file, its header scaling applied.

    Raises:
        ScanError: See `mg3d.data.scan.read_scan`.
    """
    return Scan(_read_nifti(source.path))


def _read_nifti(path: Path) -> Volume:
    try:
        image: Any = nibabel.load(path)
        _check_header(_raw_header(image))
        _check_length(image, path)
        array = _voxels(image)
    except ScanError:
        raise
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno is not None:  # the system, not the content
            raise ScanError.from_os(error) from error
        raise ScanError(
            f"not readable as NIfTI ({type(error).__name__}): truncated or damaged. Copy or export "
            "the file again."
        ) from error
    return Volume(array, image.affine)


def _raw_header(image: Any) -> Any:
    """The header as stored; the one that nibabel keeps has zero spacings set to 1 mm."""
    with image.file_map["image"].get_prepare_fileobj("rb") as stream:
        return type(image.header).from_fileobj(stream, check=False)


def _check_header(header: Any) -> None:
    """Stop on what nibabel would silently guess or stumble over: sizes, orientation, spacing."""
    sizes = header["dim"][1 : 1 + max(int(header["dim"][0]), 0)].tolist()
    if any(size < 1 for size in sizes):
        raise ScanError(
            f"size {tuple(sizes)} voxels has an axis below 1; the header is damaged. Copy or "
            "export the file again."
        )
    if int(header["sform_code"]) <= 0 and int(header["qform_code"]) <= 0:
        raise ScanError(
            "the header has neither sform nor qform, so left and right are unknown. Export the "
            "image again, or set the qform if you know its orientation.",
            "geometry_no_orientation",
        )
    stored = header["pixdim"][1:4]
    if int(header["sform_code"]) > 0:
        rows = [header[name][:3] for name in ("srow_x", "srow_y", "srow_z")]
        stored = np.linalg.norm(np.array(rows, dtype=np.float64), axis=0)
    if not np.isfinite(stored).all() or (stored == 0).any():
        shown = ", ".join(f"{float(mm):g}" for mm in stored)
        raise ScanError(
            f"spacing ({shown}) mm has a zero or is not finite; the header is damaged. Export the "
            "image again.",
            "geometry_zero_spacing",
        )


def _check_length(image: Any, path: Path) -> None:
    """Stop before nibabel sets aside memory for more voxels than the file can hold."""
    num_bytes = math.prod(image.shape) * image.get_data_dtype().itemsize
    most = path.stat().st_size * (_DEFLATE_MOST if path.name.lower().endswith(".gz") else 1)
    if num_bytes > most:
        raise ScanError(
            f"{image.shape} voxels need {num_bytes:,} bytes, the file holds at most {most:,}: "
            "truncated or damaged. Copy or export the file again."
        )


def _voxels(image: Any) -> npt.NDArray[Any]:
    """(X, Y, Z) int16 where the file holds plain int16, else float32 with the scaling applied."""
    shape = image.shape
    if len(shape) > 3 and all(size == 1 for size in shape[3:]):
        shape = shape[:3]
    if len(shape) != 3:
        raise ScanError(
            f"shape {image.shape}: a volume has three axes (more only if of size 1). Give one 3D "
            "image a row."
        )
    slope, inter = image.dataobj.slope, image.dataobj.inter
    if not (np.isfinite(slope) and np.isfinite(inter)) or slope == 0:
        raise ScanError(f"rescale slope {slope} and intercept {inter} make no values")
    raw = np.asanyarray(image.dataobj)
    if raw.dtype.fields is not None or raw.dtype.kind not in "iuf":
        raise ScanError(f"voxels of type {raw.dtype}, a CT holds one number each. Give the CT.")
    dtype = np.int16 if raw.dtype.kind in "iu" and np.can_cast(raw.dtype, np.int16) else np.float32
    array: npt.NDArray[Any] = raw.astype(dtype, copy=False).reshape(shape)
    return array
