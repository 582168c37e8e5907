"""What a compressed frame says about itself, checked before a decoder sees it.

The decoders are C and C++ libraries that trust their input: sizes that contradict the header make
some of them write beyond their buffer. So marker segments are walked here first.
"""

import struct
from typing import NamedTuple

from pydicom import uid

from mg3d.data.scan_error import ScanError

_JPEG_START, _JPEG_SCAN, _JPEG_END = 0xD8, 0xDA, 0xD9
_NOT_A_FRAME = frozenset({0xC4, 0xC8, 0xCC})
"""Among C0 to CF: tables of Huffman codes, reserved, arithmetic conditioning."""
_JPEG_LS_FRAME = 0xF7
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xDA)})
_J2K_START = b"\xff\x4f\xff\x51"
_J2K_HEADER_BYTES = 1 << 16
_MOST_TILES = 65_535
"""Tiles are numbered in 16 bits; more would only cost memory."""
_RLE_HEADER = struct.Struct("<16I")


class FrameSize(NamedTuple):
    """Size and type of a compressed picture."""

    rows: int
    columns: int
    components: int
    bits: int


def check_codestream(content: bytes, syntax: str, expected: FrameSize) -> None:
    """Stop on a frame that is not what its header says.

    Args:
        content: One compressed frame.
        syntax: Transfer syntax UID.
        expected: Size by the header; ``bits`` is what a stored value has room for.

    Raises:
        ScanError: No picture, or of another size, number of components or depth.
    """
    try:
        found = _size(content, syntax)
    except (struct.error, IndexError) as error:
        raise _damaged("its marker segments end too early") from error
    if found is None:
        return
    if found[:3] != expected[:3] or not expected.bits // 2 < found.bits <= expected.bits:
        raise _damaged(
            f"it is {found.rows} x {found.columns} with {found.components} component(s) of "
            f"{found.bits} bits, the header says {expected.rows} x {expected.columns} with "
            f"{expected.components} of at most {expected.bits}"
        )


def _size(content: bytes, syntax: str) -> FrameSize | None:
    if syntax in uid.JPEG2000TransferSyntaxes:
        return _jpeg2000_size(content)
    if syntax == uid.RLELossless:
        _check_rle(content)
        return None
    return _jpeg_size(content)


def _jpeg_size(content: bytes) -> FrameSize:
    """Of JPEG and JPEG-LS: the start of frame, which must come before a scan."""
    if content[:2] != bytes([0xFF, _JPEG_START]):
        raise _damaged("it does not begin as JPEG")
    at = 2
    while True:
        if content[at] != 0xFF:
            raise _damaged("a marker is missing")
        marker = content[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        is_frame = 0xC0 <= marker <= 0xCF and marker not in _NOT_A_FRAME
        if is_frame or marker == _JPEG_LS_FRAME:
            bits, rows, columns, components = struct.unpack_from(">BHHB", content, at + 4)
            return FrameSize(rows, columns, components, bits)
        if marker in (_JPEG_SCAN, _JPEG_END):
            raise _damaged("it holds no frame")
        at += 2
        if marker not in _WITHOUT_LENGTH:
            (length,) = struct.unpack_from(">H", content, at)
            at += max(length, 2)


def _jpeg2000_size(content: bytes) -> FrameSize:
    at = content.find(_J2K_START, 0, _J2K_HEADER_BYTES)
    if at < 0:
        raise _damaged("it does not begin as JPEG 2000")
    right, bottom, left, top, wide, high, across, down = struct.unpack_from(">8I", content, at + 8)
    (components,) = struct.unpack_from(">H", content, at + 40)
    if not (left < right and top < bottom and wide and high and across <= left and down <= top):
        raise _damaged("its tiles do not cover it")
    if -(-(right - across) // wide) * -(-(bottom - down) // high) > _MOST_TILES:
        raise _damaged(f"it has more than {_MOST_TILES:,} tiles")
    depths = content[at + 42 : at + 42 + 3 * components : 3]
    steps = content[at + 43 : at + 42 + 3 * components]
    if len(depths) != components or not depths:
        raise _damaged("its components are not described")
    if any(step != 1 for number, step in enumerate(steps) if number % 3 != 2):
        raise _damaged("its components are subsampled")
    bits = max((depth & 0x7F) + 1 for depth in depths)
    return FrameSize(bottom - top, right - left, components, bits)


def _check_rle(content: bytes) -> None:
    """The table of segments: at most 15, in order, inside the frame."""
    count, *offsets = _RLE_HEADER.unpack_from(content)
    used = offsets[:count]
    inside = all(_RLE_HEADER.size <= offset < len(content) for offset in used)
    if not 1 <= count <= len(offsets) or not inside or used != sorted(set(used)):
        raise _damaged("its table of segments is not one")


def _damaged(reason: str) -> ScanError:
    return ScanError(
        f"a compressed frame is damaged: {reason}. Copy or export the series again.",
        "dicom_pixels",
    )
