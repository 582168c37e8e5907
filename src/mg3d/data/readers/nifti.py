"""NIfTI, the format that most tools of the field exchange.

Orientation comes from the sform where its code is above 0, else from the qform, as nibabel does
it. Header scaling is applied once, here.
"""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from mg3d.data.scan import Scan, ScanSource
from mg3d.data.scan_error import ScanError
from mg3d.data.stated import Faults, place, rescale
from mg3d.data.streams import DAMAGE, damage_error, gunzip
from mg3d.data.volume import Volume
from mg3d.data.voxels import VoxelRun

_MM_PER_UNIT = {1: 1000.0, 3: 0.001}
"""Lowest three bits of xyzt_units: 1 metre, 2 millimetre, 3 micrometre; 0 says nothing."""
_FORMS_AGREE_MM = 1.0
"""Furthest that sform and qform may place a corner apart; both are rounded to float32."""


def files(source: ScanSource) -> tuple[Path, ...]:
    """The one file that is read."""
    return (source.path,)


def read(source: ScanSource) -> Scan:
    """Read a NIfTI-1 or NIfTI-2 file, its header scaling applied.

    Raises:
        ScanError: See `mg3d.data.reading.read_scan`.
    """
    path = source.path
    try:
        image: Any = nibabel.load(path)
        header = _raw_header(image)
        _check_sizes(header)
        run = _voxel_run(image)
        run.check_length(path.stat().st_size, compressed=path.name.lower().endswith(".gz"))
        affine, faults = _affine(image, header, source)
        array = _voxels(path, image.dataobj.offset, run)
    except (*DAMAGE, ImageFileError, HeaderDataError, ScanError) as error:
        raise damage_error(error, "NIfTI") from error
    array, noticed = rescale(array, source.stated, in_header=(run.slope, run.intercept) != (1, 0))
    return Scan(Volume(array, affine), (*faults, *noticed))


def _raw_header(image: Any) -> Any:
    """The header as stored; the one that nibabel keeps has zero spacings set to 1 mm."""
    with image.file_map["image"].get_prepare_fileobj("rb") as stream:
        return type(image.header).from_fileobj(stream, check=False)


def _check_sizes(header: Any) -> None:
    sizes = header["dim"][1 : 1 + max(int(header["dim"][0]), 0)].tolist()
    if any(size < 1 for size in sizes):
        raise ScanError(
            f"size {tuple(sizes)} voxels has an axis below 1; the header is damaged. Copy or "
            "export the file again."
        )


def _voxel_run(image: Any) -> VoxelRun:
    shape = image.shape
    if len(shape) > 3 and all(size == 1 for size in shape[3:]):
        shape = shape[:3]
    return VoxelRun(
        shape=shape,
        dtype=image.get_data_dtype(),
        slope=float(image.dataobj.slope),
        intercept=float(image.dataobj.inter),
    )


def _voxels(path: Path, offset: int, run: VoxelRun) -> npt.NDArray[Any]:
    with path.open("rb") as stream:
        content = gunzip(stream) if path.name.lower().endswith(".gz") else stream
        content.seek(offset)
        return run.read(content)


def _affine(image: Any, header: Any, source: ScanSource) -> tuple[npt.NDArray[np.float64], Faults]:
    """Where the voxels lie, by sform, qform or what is stated; and what is odd about it."""
    has_sform, has_qform = int(header["sform_code"]) > 0, int(header["qform_code"]) > 0
    if not (has_sform or has_qform):
        return place(image.shape[:3], None, source.stated)
    _check_spacing(header, has_sform=has_sform)
    affine = np.array(image.affine, dtype=np.float64)
    faults: Faults = ()
    if has_sform and has_qform:
        faults = _compare(affine, image.header.get_qform(), image.shape)
    code = int(header["xyzt_units"]) & 7
    if factor := _MM_PER_UNIT.get(code):
        affine[:3] *= factor
        unit = "metres" if factor > 1 else "micrometres"
        faults += (("geometry_unit", f"the header counts in {unit}; converted to millimetres"),)
    affine, noticed = place(image.shape[:3], affine, source.stated)
    return affine, (*faults, *noticed)


def _check_spacing(header: Any, *, has_sform: bool) -> None:
    """Stop on spacings that nibabel would silently replace."""
    stored = header["pixdim"][1:4]
    if has_sform:
        rows = [header[name][:3] for name in ("srow_x", "srow_y", "srow_z")]
        stored = np.linalg.norm(np.array(rows, dtype=np.float64), axis=0)
    if not np.isfinite(stored).all() or (stored == 0).any():
        shown = ", ".join(f"{float(mm):g}" for mm in stored)
        raise ScanError(
            f"spacing ({shown}) mm has a zero or is not finite; the header is damaged. Export the "
            "image again.",
            "geometry_zero_spacing",
        )


def _compare(sform: npt.NDArray[Any], qform: npt.NDArray[Any], shape: tuple[int, ...]) -> Faults:
    corners = np.array(np.meshgrid(*([0, size - 1] for size in shape[:3]))).reshape(3, -1)
    moved = (sform - qform)[:3, :3] @ corners + (sform - qform)[:3, 3:]
    apart = float(np.linalg.norm(moved, axis=0).max())
    if apart <= _FORMS_AGREE_MM:
        return ()
    axes = ["".join(nibabel.aff2axcodes(form)) for form in (sform, qform)]
    return (
        (
            "geometry_forms_disagree",
            f"sform ({axes[0]}) and qform ({axes[1]}) place a corner {apart:.1f} mm apart; the "
            "sform is used",
        ),
    )
