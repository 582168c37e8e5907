"""Cells of one DICOM frame, from whatever syntax its file is written in."""

import gdcm
import numpy as np
import numpy.typing as npt
from pydicom import uid
from pydicom.dataset import FileDataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder

from mg3d.data.readers.dicom.codestream import FrameSize, check_codestream
from mg3d.data.readers.dicom.coding import PixelCoding
from mg3d.data.readers.dicom.elements import whole, word
from mg3d.data.scan_error import ScanError

LOSSY = frozenset({uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLSNearLossless})
"""Syntaxes that always lose something."""

_DECODERS = {
    uid.RLELossless: "pydicom",
    **dict.fromkeys(
        [uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1,
         uid.JPEGLSLossless, uid.JPEGLSNearLossless, uid.JPEG2000Lossless, uid.JPEG2000],
        "gdcm",
    ),
}  # fmt: skip
_NATIVE = frozenset({
    "", uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
})  # fmt: skip

for _silence in (gdcm.Trace.DebugOff, gdcm.Trace.WarningOff, gdcm.Trace.ErrorOff):
    _silence()  # what gdcm prints may quote the file


def syntax_of(file: FileDataset) -> str:
    """Transfer syntax UID; "" where the file has no part 10 header."""
    return word(file.file_meta, "TransferSyntaxUID")


def decode(file: FileDataset, index: int, coding: PixelCoding) -> npt.NDArray[np.unsignedinteger]:
    """(rows, columns) cells of a frame, unsigned, as stored.

    Args:
        file: With its pixels.
        index: Of the frame, from 0.
        coding: Of the same file.

    Raises:
        ScanError: Unknown syntax, too short, or not of the size in the header.
    """
    if "PixelData" not in file:
        raise ScanError(
            "the header promises pixels and the file holds none: truncated? Copy it again.",
            "dicom_pixels",
        )
    syntax = syntax_of(file)
    if syntax in _NATIVE:
        return _native(file, index, coding)
    if syntax not in _DECODERS or (syntax == uid.JPEGExtended12Bit and coding.stored > 8):
        raise ScanError(
            "compressed in a way that this package does not read. Export the series uncompressed "
            "or as JPEG 2000 lossless, for example with dcmdjpeg or gdcmconv.",
            "dicom_syntax",
        )
    num_frames = whole(file, "NumberOfFrames") or 1
    content = get_frame(file["PixelData"].value, index, number_of_frames=num_frames)
    check_codestream(content, syntax, FrameSize(coding.rows, coding.columns, 1, coding.allocated))
    found, _ = get_decoder(uid.UID(syntax)).as_array(
        file, index=index, raw=True, decoding_plugin=_DECODERS[uid.UID(syntax)]
    )
    if found.shape != (coding.rows, coding.columns) or found.dtype.kind not in "iu":
        raise ScanError("a frame decodes to another size. Export it again.", "dicom_pixels")
    # A decoder gives the smallest type that holds the picture's bits, signed if the values are.
    width = coding.allocated // 8
    return found.astype(f"i{width}" if coding.is_signed else f"u{width}").view(f"u{width}")


def _native(file: FileDataset, index: int, coding: PixelCoding) -> npt.NDArray[np.unsignedinteger]:
    order = ">" if syntax_of(file) == uid.ExplicitVRBigEndian else "<"
    if order == ">" and coding.allocated == 8 and file["PixelData"].VR == "OW":
        raise ScanError(
            "8-bit pixels swapped in pairs (big endian). Export the series again.", "dicom_syntax"
        )
    width = coding.allocated // 8
    num_bytes = coding.rows * coding.columns * width
    content = memoryview(file["PixelData"].value)[index * num_bytes : (index + 1) * num_bytes]
    if len(content) < num_bytes:
        raise ScanError(
            f"a frame has {len(content):,} of {num_bytes:,} bytes: truncated. Copy the series "
            "again.",
            "dicom_pixels",
        )
    cells = np.frombuffer(content, f"{order}u{width}").astype(f"u{width}", copy=False)
    return cells.reshape(coding.rows, coding.columns)
