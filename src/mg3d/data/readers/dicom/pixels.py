"""Pixels of DICOM frames as Hounsfield units, one plane at a time.

Cells -> numbers -> slope and intercept, those of each frame -> air where the scanner padded.
MONOCHROME1 concerns the display alone and changes no value.
"""

from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.dataset import FileDataset

from mg3d.data.hounsfield import AIR_HU
from mg3d.data.readers.dicom.coding import PixelCoding
from mg3d.data.readers.dicom.decoding import LOSSY, decode, syntax_of
from mg3d.data.readers.dicom.elements import word
from mg3d.data.readers.dicom.files import DAMAGE, read_whole, silent
from mg3d.data.readers.dicom.frame import Frame
from mg3d.data.scan_error import ScanError

Plane = npt.NDArray[np.int32] | npt.NDArray[np.float32]
Faults = tuple[tuple[str, str], ...]

_NO_TISSUE_HU = -900.0
"""Padding is air only where it can be no tissue: some headers name 0 HU, which is water."""
_EXACT_SLOPE, _EXACT_INTERCEPT = 2**14, 2**30
"""Up to these, 16-bit numbers stay within 32 bits when rescaled."""
_NOTICED = {
    "dicom_padding_in_tissue": "slice(s) name a padding value above -900 HU, which tissue can "
    "have; not used",
    "dicom_bits": "slice(s) hold numbers beyond their stated bits; kept",
    "dicom_lossy": "slice(s) were compressed with losses",
    "dicom_monochrome1": "slice(s) are meant to be shown inverted; their values are not",
}


class PixelReader:
    """Reads the planes of frames and counts what is unusual about them.

    A file is read when its first frame is asked for and forgotten with the next file, so two are
    never held.
    """

    def __init__(self) -> None:
        self._path: Path | None = None
        self._file: FileDataset | None = None
        self._num_padded = 0
        self._noticed: Counter[str] = Counter()

    @property
    def faults(self) -> Faults:
        """What was noticed in the planes read so far."""
        found = [
            (kind, f"{self._noticed[kind]} {text}")
            for kind, text in _NOTICED.items()
            if self._noticed[kind]
        ]
        if self._num_padded:
            found.append(("dicom_padding", f"{self._num_padded:,} padded pixels, now {AIR_HU} HU"))
        return tuple(found)

    def plane(self, frame: Frame) -> Plane:
        """(rows, columns) HU: int32 where slope and intercept are whole, else float32.

        Raises:
            ScanError: Damaged, compressed in an unknown way, or not of the size in the header.
        """
        try:
            with silent():
                return self._plane(frame, self._open(frame.path))
        except DAMAGE as error:
            raise ScanError(
                f"the pixels cannot be decoded ({type(error).__name__}): truncated or damaged. "
                "Copy or export the series again.",
                "dicom_pixels",
            ) from None  # pydicom's message may quote the file

    def _open(self, path: Path) -> FileDataset:
        if self._file is None or path != self._path:
            self._file = None
            self._file, self._path = read_whole(path), path
        return self._file

    def _plane(self, frame: Frame, file: FileDataset) -> Plane:
        coding = PixelCoding.of(file)
        if (coding.rows, coding.columns) != (frame.rows, frame.columns):
            raise ScanError("a file changed while it was read. Try again.", "dicom_pixels")
        cells = decode(file, frame.index, coding)
        values, beyond = coding.values(cells)
        slope = 1.0 if frame.slope is None else frame.slope
        intercept = 0.0 if frame.intercept is None else frame.intercept
        padded = self._padding(cells, coding, slope, intercept)
        self._noticed["dicom_bits"] += beyond
        self._noticed["dicom_lossy"] += frame.is_lossy or syntax_of(file) in LOSSY
        self._noticed["dicom_monochrome1"] += (
            word(file, "PhotometricInterpretation").upper() == "MONOCHROME1"
        )
        plane = _rescaled(values, slope, intercept)
        if padded is not None:
            plane[padded] = AIR_HU
        return plane

    def _padding(
        self,
        cells: npt.NDArray[np.unsignedinteger],
        coding: PixelCoding,
        slope: float,
        intercept: float,
    ) -> npt.NDArray[np.bool_] | None:
        """Where a plane is padded; None where nowhere."""
        if coding.padding is None:
            return None
        if max(value * slope + intercept for value in coding.padding) > _NO_TISSUE_HU:
            self._noticed["dicom_padding_in_tissue"] += 1
            return None
        padded = coding.padded(cells)
        self._num_padded += int(np.count_nonzero(padded))
        return padded


def _rescaled(values: npt.NDArray[np.int32], slope: float, intercept: float) -> Plane:
    is_whole = slope.is_integer() and intercept.is_integer()
    if is_whole and abs(slope) <= _EXACT_SLOPE and abs(intercept) <= _EXACT_INTERCEPT:
        return values * np.int32(slope) + np.int32(intercept)
    scaled: npt.NDArray[np.float32] = (values * slope + intercept).astype(np.float32)
    return scaled
