"""Compressed frames are looked at before a decoder is."""

import numpy as np
import pytest
from pydicom import uid

from mg3d.data.readers.dicom.codestream import FrameSize, check_codestream
from mg3d.data.scan_error import ScanError
from mg3d.phantom.export import dicom_series

SYNTAXES = [uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.JPEG2000Lossless]
SIZE = FrameSize(rows=9, columns=14, components=1, bits=16)


def _frame(syntax: uid.UID, bits: int = 12) -> bytes:
    cells = np.arange(9 * 14, dtype="<u2").reshape(9, 14)
    return dicom_series._compress(cells, bits, syntax)


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("bits", [12, 16])
def test_whole_frames_pass(syntax, bits):
    check_codestream(_frame(syntax, bits), syntax, SIZE)


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize(
    "change", [{"rows": 8}, {"columns": 15}, {"components": 3}, {"bits": 8}], ids=str
)
def test_a_header_at_odds_with_the_frame(syntax, change):
    with pytest.raises(ScanError, match="the header says") as caught:
        check_codestream(_frame(syntax), syntax, SIZE._replace(**change))
    assert caught.value.kind == "dicom_pixels"


@pytest.mark.parametrize("syntax", [*SYNTAXES, uid.RLELossless])
@pytest.mark.parametrize("content", [b"", b"\xff", b"\xff\xd8\xff", b"\x00" * 100, b"\xff" * 300])
def test_what_is_no_picture(syntax, content):
    with pytest.raises(ScanError) as caught:
        check_codestream(content, syntax, SIZE)
    assert caught.value.kind == "dicom_pixels"


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_ends_before_the_size(syntax):
    content = _frame(syntax)
    for length in range(11):
        with pytest.raises(ScanError):
            check_codestream(content[:length], syntax, SIZE)


def test_tiles_without_number():
    content = bytearray(_frame(uid.JPEG2000Lossless))
    big = FrameSize(rows=4096, columns=4096, components=1, bits=16)
    size = (4096).to_bytes(4, "big")
    content[8:12], content[12:16], content[24:28], content[28:32] = (
        *[size] * 2,
        *[b"\0\0\0\1"] * 2,
    )
    with pytest.raises(ScanError, match="more than 65,535 tiles"):
        check_codestream(bytes(content), uid.JPEG2000Lossless, big)


def test_jpeg_segments_before_the_frame_are_skipped():
    content = _frame(uid.JPEGLosslessSV1)
    comment = b"\xff\xfe\x00\x06abcd" + b"\xff\xff"  # and a fill byte
    check_codestream(content[:2] + comment + content[3:], uid.JPEGLosslessSV1, SIZE)
    with pytest.raises(ScanError, match="no frame"):
        check_codestream(b"\xff\xd8\xff\xd9" + content, uid.JPEGLosslessSV1, SIZE)


@pytest.mark.parametrize(
    "table", [[0], [16, *range(64, 79)], [2, 64, 64], [2, 80, 70], [1, 9999], [1, 10]], ids=str
)
def test_tables_of_rle_segments(table):
    header = np.zeros(16, "<u4")
    header[: len(table[:16])] = table[:16]
    with pytest.raises(ScanError, match="segments"):
        check_codestream(header.tobytes() + bytes(200), uid.RLELossless, SIZE)
    good = np.array([2, 64, 100, *[0] * 13], "<u4").tobytes() + bytes(200)
    check_codestream(good, uid.RLELossless, SIZE)
