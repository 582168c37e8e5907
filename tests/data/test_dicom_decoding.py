"""Cells of frames, against the arrays that were encoded."""

import io

import numpy as np
import pytest
from dicom_cases import cells, ct_slice, encode, enhanced, set_cells
from PIL import Image
from pydicom import dcmread, uid
from pydicom.encaps import encapsulate

from mg3d.data.readers.dicom.coding import PixelCoding
from mg3d.data.readers.dicom.decoding import decode, syntax_of
from mg3d.data.scan_error import ScanError
from mg3d.phantom.export import dicom_series


def _file(header, syntax=uid.ExplicitVRLittleEndian):
    return dcmread(io.BytesIO(encode(header, syntax)))


def _decode(file, index=0):
    return decode(file, index, PixelCoding.of(file))


def _compressed(frames, syntax, bits=12, signed=False):
    header = enhanced(len(frames)) if len(frames) > 1 else ct_slice(0)
    header.BitsStored, header.HighBit = bits, bits - 1
    header.PixelRepresentation = int(signed)
    parts = [dicom_series._compress(frame.view("<u2"), bits, syntax) for frame in frames]
    header.add_new("PixelData", "OB", encapsulate(parts))
    header["PixelData"].is_undefined_length = True
    return _file(header, syntax)


JPEGS = [
    uid.JPEGLossless, uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.JPEG2000Lossless,
    uid.RLELossless,
]  # fmt: skip


@pytest.mark.parametrize("syntax", JPEGS)
@pytest.mark.parametrize("bits", [12, 16])
def test_lossless_syntaxes(syntax, bits):
    frame = cells(0, bits=bits)
    file = _compressed([frame], syntax, bits)
    assert syntax_of(file) == syntax
    np.testing.assert_array_equal(_decode(file), frame)


@pytest.mark.parametrize("syntax", JPEGS)
def test_signed_cells(syntax):
    frame = cells(0, bits=16).view(np.int16)
    file = _compressed([frame], syntax, 16, signed=True)
    np.testing.assert_array_equal(_decode(file).view(np.int16), frame)


@pytest.mark.parametrize("syntax", JPEGS)
def test_frames_of_one_file(syntax):
    frames = [cells(index) for index in range(3)]
    file = _compressed(frames, syntax)
    for index, frame in enumerate(frames):
        np.testing.assert_array_equal(_decode(file, index), frame)


def test_near_lossless_jpeg_ls():
    smooth = (np.add.outer(np.arange(8), np.arange(10)) * 50 + 1000).astype(np.uint16)
    found = _decode(_compressed([smooth], uid.JPEGLSNearLossless)).astype(int)
    assert np.abs(found - smooth).max() <= 2  # measured 0


@pytest.mark.parametrize(
    ("syntax", "kind", "options", "bits", "tolerance"),
    [
        (uid.JPEGBaseline8Bit, "JPEG", {"quality": 95}, 8, 4),  # measured 2
        (uid.JPEG2000, "JPEG2000", {"no_jp2": True, "irreversible": True}, 16, 2),  # measured 1
    ],
)
def test_lossy_frames_of_another_encoder(syntax, kind, options, bits, tolerance):
    smooth = np.add.outer(np.arange(8), np.arange(10)) * 9 + 40
    smooth = smooth.astype(np.uint8 if bits == 8 else np.uint16)
    stream = io.BytesIO()
    Image.fromarray(smooth).save(stream, kind, **options)
    header = ct_slice(0)
    header.BitsAllocated, header.BitsStored, header.HighBit = bits, bits, bits - 1
    header.add_new("PixelData", "OB", encapsulate([stream.getvalue()]))
    header["PixelData"].is_undefined_length = True
    found = _decode(_file(header, syntax))
    assert found.dtype == smooth.dtype
    assert np.abs(found.astype(int) - smooth).max() <= tolerance


def test_native_frames_in_both_byte_orders():
    header = enhanced(3)
    for index in range(3):
        np.testing.assert_array_equal(_decode(_file(header), index), cells(2 - index) + 2 - index)
    header = ct_slice(1)
    header.add_new("PixelData", "OW", cells(1).astype(">u2").tobytes())
    np.testing.assert_array_equal(_decode(_file(header, uid.ExplicitVRBigEndian)), cells(1))


def test_8_bits_in_big_endian_words_are_refused():
    header = ct_slice(0)
    header.BitsAllocated, header.BitsStored, header.HighBit = 8, 8, 7
    set_cells(header, np.zeros((8, 10), np.uint8))
    with pytest.raises(ScanError) as caught:
        _decode(_file(header, uid.ExplicitVRBigEndian))
    assert caught.value.kind == "dicom_syntax"


def test_lossy_jpeg_of_12_bits_is_refused_by_name():
    file = _compressed([cells(0)], uid.JPEGLosslessSV1)
    file.file_meta.TransferSyntaxUID = uid.JPEGExtended12Bit
    with pytest.raises(ScanError) as caught:
        _decode(file)
    assert caught.value.kind == "dicom_syntax"


def test_pixels_that_are_not_there():
    header = ct_slice(0)
    del header.PixelData
    with pytest.raises(ScanError, match="holds none") as caught:
        _decode(_file(header))
    assert caught.value.kind == "dicom_pixels"
    with pytest.raises(ScanError, match="truncated"):
        _decode(_file(ct_slice(0)), 1)


def test_a_frame_of_another_size_never_reaches_a_decoder():
    file = _compressed([cells(0)], uid.JPEGLSLossless)
    file.Rows = 4096
    with pytest.raises(ScanError, match="the header says"):
        _decode(file)
