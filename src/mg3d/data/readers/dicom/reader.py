"""DICOM: the volume of a series, from a folder, a DICOMDIR or one file with many frames.

What is found in headers is in `dicom_header`, which frames are taken in `dicom_series`, how they
lie in `dicom_stack`, what their pixels mean in `dicom_pixels`. Positions in the patient decide;
file names, instance numbers, slice locations and thickness never do.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mg3d.data.readers.dicom.canvas import Canvas
from mg3d.data.readers.dicom.directory import listed_files
from mg3d.data.readers.dicom.files import DIRECTORY, AccessError, find_files
from mg3d.data.readers.dicom.frame import Frame
from mg3d.data.readers.dicom.header import FileHeader, read_file_header
from mg3d.data.readers.dicom.pixels import PixelReader, Plane
from mg3d.data.readers.dicom.rescale import check_rescale
from mg3d.data.readers.dicom.series import Series, choice_faults, choose, slices_of
from mg3d.data.readers.dicom.stack import Stack, normal_of, stack
from mg3d.data.scan import Scan, ScanSource, Stated
from mg3d.data.scan_error import ScanError, ask
from mg3d.data.stated import rescale
from mg3d.data.volume import Volume

Faults = tuple[tuple[str, str], ...]


def files(source: ScanSource) -> tuple[Path, ...]:
    """The files of the chosen series whose slices become the volume, sorted.

    Raises:
        ScanError: As `read`, as far as headers tell.
    """
    frames, _ = _frames(source)
    return tuple(sorted({frame.path for frame in frames}))


def read(source: ScanSource) -> Scan:
    """Read a series.

    Args:
        source: A folder (sub-folders included), a DICOMDIR, or a file with many frames;
            ``series_uid`` names the series to take.

    Raises:
        ScanError: No CT series, or one whose slices form no volume; see `mg3d.data.reading`.
    """
    frames, faults = _frames(source)
    rescale_faults = check_rescale(frames)
    pile = stack(frames)
    pixels = PixelReader()
    array, duplicate_faults = _voxels(pile, pixels)
    is_stated = frames[0].slope is not None and frames[0].intercept is not None
    array, stated_faults = rescale(array, source.stated, in_header=is_stated)
    if not is_stated and not stated_faults:
        message = "no slope and intercept in the header; values are taken as they are"
        stated_faults = (("dicom_rescale_missing", message),)
    return Scan(
        Volume(array, pile.affine),
        (*faults, *pile.faults, *duplicate_faults, *rescale_faults, *stated_faults, *pixels.faults),
    )


def _frames(source: ScanSource) -> tuple[tuple[Frame, ...], Faults]:
    """The slices of the volume, all with position, orientation and spacing."""
    headers, faults = _headers(source.path)
    if source.series_uid:
        headers = [header for header in headers if header.series_uid == source.series_uid]
        if not headers:
            raise ScanError(
                "the series named by series_uid is not here. Correct the UID or the path.",
                "dicom_series_absent",
            )
    groups: dict[tuple[str, ...], list[FileHeader]] = {}
    for header in headers:
        groups.setdefault(header.series_key, []).append(header)
    series = [Series.of(group) for _, group in sorted(groups.items())]
    chosen = choose(series)
    frames, slice_faults = slices_of(chosen)
    frames, spacing_faults = _with_spacing(frames, source.stated)
    faults += choice_faults(series, chosen) + slice_faults + spacing_faults
    return frames, faults


def _headers(path: Path) -> tuple[list[FileHeader], Faults]:
    """Headers of all DICOM files that a path stands for."""
    num_absent = 0
    paths: tuple[Path, ...] = (path,)
    if ask(path.is_dir):
        paths = tuple(find_files(path))
    elif path.name.lower() == DIRECTORY:
        paths, num_absent = listed_files(path)
    headers, damage = [], []
    for each in paths:
        try:
            header = read_file_header(each)
        except AccessError:  # a slice may be behind it, so the series is not known to be whole
            raise
        except ScanError as error:
            damage.append(error)
            continue
        if header is not None:
            headers.append(header)
    if damage and not headers:
        raise damage[0]
    if paths == (path,) and not headers:
        raise ScanError("not a DICOM file, or truncated. Copy or export it again.")
    faults: Faults = ()
    if damage:
        faults = (("dicom_damaged_files", f"{len(damage)} damaged file(s) left out"),)
    if num_absent:
        faults += (("dicom_absent_files", f"{num_absent} file(s) of the DICOMDIR are not here"),)
    return headers, faults


def _with_spacing(frames: tuple[Frame, ...], stated: Stated) -> tuple[tuple[Frame, ...], Faults]:
    """Frames whose pixel spacing is known, from the header or from a table."""
    if frames[0].spacing_mm is not None:
        return frames, ()
    if stated.spacing_mm is None:
        hint = (
            "only one on the detector, which magnifies" if frames[0].has_imager_spacing else "none"
        )
        raise ScanError(
            f"no spacing of pixels in the patient ({hint}). State it in the table, or export the "
            "series again with PixelSpacing.",
            "geometry_no_spacing",
        )
    column_mm, row_mm, _ = stated.spacing_mm
    message = f"pixel spacing ({row_mm:g}, {column_mm:g}) mm comes from the table"
    found = tuple(replace(frame, spacing_mm=(row_mm, column_mm)) for frame in frames)
    return found, (("geometry_stated", message),)


def _voxels(
    pile: Stack, pixels: PixelReader
) -> tuple[npt.NDArray[np.int16] | npt.NDArray[np.float32], Faults]:
    """Read all planes, resampled where the stack asks for it."""
    frames = [frame for place in pile.places for frame in place]
    first = frames[0]
    is_whole = all(
        (f.slope or 1.0).is_integer() and (f.intercept or 0.0).is_integer() for f in frames
    )
    num_repeats = len(frames) - len(pile.places)

    def plane(index: int) -> Plane:
        return _agreed_plane(pile.places[index], pixels)

    if pile.plan is None:
        canvas = Canvas((first.columns, first.rows, len(pile.places)), is_whole=is_whole)
        for index in range(len(pile.places)):
            canvas.put(index, plane(index))
    else:
        canvas = Canvas(pile.plan.new_shape, is_whole=is_whole)
        pile.plan.run(plane, canvas.put)
    faults: Faults = ()
    if num_repeats:
        faults = (("dicom_duplicate_slices", f"{num_repeats} slice(s) stored twice, used once"),)
    return canvas.volume_array(), faults


def _agreed_plane(place: tuple[Frame, ...], pixels: PixelReader) -> Plane:
    """The plane at one position; several frames there must be the same picture."""
    found = pixels.plane(place[0])
    for other in place[1:]:
        if not np.array_equal(found, pixels.plane(other)):
            height = float(np.dot(place[0].position_mm or (), normal_of(place[0])))
            raise ScanError(
                f"{len(place)} different slices at one position ({height:.1f} mm), which neither "
                "phase nor acquisition tells apart. Split the series.",
                "dicom_same_position",
            )
    return found
