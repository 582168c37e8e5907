"""RTF: the text of a report that was exported as Rich Text Format.

Reads what report systems write: paragraphs, tabs, escaped and Unicode characters; fonts, colours,
pictures and other destinations are skipped. Source: Rich Text Format Specification 1.9.1.
"""

import re

_START = "{\\rtf"
_TOKEN = re.compile(
    r"\\(?P<word>[a-zA-Z]{1,32})(?P<number>-?\d{1,10})? ?"  # \par, \u8217
    r"|\\'(?P<byte>[0-9a-fA-F]{2})"
    r"|\\(?P<symbol>[^a-zA-Z])"
    r"|(?P<brace>[{}])"
    r"|(?P<break>[\r\n]+)"
    r"|(?P<text>[^\\{}\r\n]+)"
    r"|(?P<stray>\\)"
)
_AS_TEXT = {
    "par": "\n", "sect": "\n\n", "page": "\n\n", "line": "\n", "row": "\n", "tab": "\t",
    "cell": " ", "emdash": "\u2014", "endash": "\u2013", "lquote": "\u2018", "rquote": "\u2019",
    "ldblquote": "\u201c", "rdblquote": "\u201d", "bullet": "\u2022",
}  # fmt: skip
_SYMBOLS = {"~": " ", "_": "-", "\\": "\\", "{": "{", "}": "}", "\n": "\n", "\r": "\n"}
_SKIPPED = frozenset(
    ["fonttbl", "colortbl", "stylesheet", "info", "pict", "object", "header", "headerl", "headerr",
     "headerf", "footer", "footerl", "footerr", "footerf", "themedata", "datastore", "xmlnstbl",
     "listtable", "listoverridetable", "generator", "fldinst", "latentstyles", "rsidtbl"]
)  # fmt: skip
"""Destinations whose content is not the text; so are all that begin with ``\\*``."""


def is_rtf(text: str) -> bool:
    """Whether a text is RTF."""
    return text.lstrip().startswith(_START)


def rtf_to_text(text: str) -> str:
    """The readable text of an RTF document; never RTF itself."""
    pieces: list[str] = []
    skipping = [False]  # one entry an open group
    fallback = [1]  # characters that stand in for one Unicode character, by group
    num_to_drop = 0
    for match in _TOKEN.finditer(text):
        kind, value = match.lastgroup, match[0]
        if kind == "brace":
            _enter_or_leave(value, skipping, fallback)
            num_to_drop = 0
            continue
        word = match["word"] or ""
        if word in _SKIPPED or match["symbol"] == "*":
            skipping[-1] = True
        elif word == "uc" and match["number"]:
            fallback[-1] = min(abs(int(match["number"])), 8)
        if skipping[-1] or kind == "break":
            continue
        if word == "u" and match["number"]:
            pieces.append(_character(int(match["number"])))
            num_to_drop = fallback[-1]
            continue
        shown = _shown(match)
        dropped, num_to_drop = shown[:num_to_drop], max(0, num_to_drop - len(shown))
        pieces.append(shown[len(dropped) :])
    plain = "".join(pieces).strip()
    while plain.startswith(_START):  # an escaped document in a document
        plain = plain[1:]
    return plain


def _enter_or_leave(brace: str, skipping: list[bool], fallback: list[int]) -> None:
    if brace == "{":
        skipping.append(skipping[-1])
        fallback.append(fallback[-1])
    elif len(skipping) > 1:
        skipping.pop()
        fallback.pop()


def _shown(match: re.Match[str]) -> str:
    """What a token puts on the page."""
    if match["byte"]:
        return bytes.fromhex(match["byte"]).decode("cp1252", "replace")
    if match["symbol"]:
        return _SYMBOLS.get(match["symbol"], "")
    if match["word"]:
        return _AS_TEXT.get(match["word"], "")
    return match["text"] or ""


def _character(number: int) -> str:
    """A Unicode character as RTF numbers it: 16 bits, negative from 32768 on."""
    code = number % 0x10000
    return "" if 0xD800 <= code < 0xE000 else chr(code)
