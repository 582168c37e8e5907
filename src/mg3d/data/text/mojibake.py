"""Characters that a wrong encoding damaged on the way, repaired where that is certain."""

import re

_BYTE_OF = {chr(byte): byte for byte in range(0x80, 0x100)} | {
    bytes([byte]).decode("cp1252"): byte
    for byte in range(0x80, 0xA0)
    if byte not in (0x81, 0x8D, 0x8F, 0x90, 0x9D)  # without meaning in Windows-1252
}
"""Character -> the byte it was, for UTF-8 that was read as Windows-1252 or Latin-1."""
_LEADS = "".join(char for char, byte in _BYTE_OF.items() if 0xC2 <= byte <= 0xE2)
_TAILS = "".join(char for char, byte in _BYTE_OF.items() if byte < 0xC0)
_MISREAD = re.compile(f"[{_LEADS}][{re.escape(_TAILS)}]{{1,2}}")
_PLAUSIBLE = re.compile(
    "[\u0080-\u00ff\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u0391-\u03c9"
    "\u2010-\u2027\u202f-\u2044\u20ac\u2103\u2122\u2190-\u22ff\u25a0-\u25ff]"
)
"""What English reports hold beyond ASCII: accents, Greek, dashes, quotes, arrows, comparisons."""
_BREAK = re.compile("[\x0b\x0c\x1c-\x1f\x85\u2028\u2029]")
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff"
    "\ufff9-\ufffb\ud800-\udfff]"
)
_LOST = "\ufffd"
"""What a decoder wrote where it could not read a character."""


def repair(text: str) -> tuple[str, int]:
    """Undo UTF-8 that was read as Windows-1252, and take out what prints nothing.

    Args:
        text: Any text.

    Returns:
        The text, and the number of characters that were repaired. Separators of pages and lines
        become line breaks. Repairing again changes nothing; lost characters stay, see `count_lost`.
    """
    if text.isascii() and text.isprintable():
        return text, 0
    num_repaired = 0
    while True:  # each pass shortens the text or is the last
        before = text
        while (reread := _MISREAD.sub(_reread, text)) != text:  # the mistake, several times over
            num_repaired += len(text) - len(reread)
            text = reread
        text = _UNPRINTABLE.sub("", _BREAK.sub("\n", text))
        if text == before:
            return text, num_repaired


def count_lost(text: str) -> int:
    """Characters that no program can bring back."""
    return text.count(_LOST)


def _reread(match: re.Match[str]) -> str:
    """The character that two or three bytes stand for, or the characters as they are."""
    found = match[0]
    for length in (3, 2):
        read = bytes(_BYTE_OF[char] for char in found[:length]).decode("utf-8", "replace")
        if len(read) == 1 and _PLAUSIBLE.match(read):
            return read + found[length:]
    return found
