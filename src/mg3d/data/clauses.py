"""Cutting a report into clauses: the segments that end at a full stop or a semicolon.

Abbreviations, decimals, measurements, list numbers and what stands in parentheses stay whole.
Nothing is dropped and nothing is added but white space: the clauses, joined, are the text. Case
is left as it is, and helps: "2 cm. No effusion" ends a clause, "2 cm. in diameter" does not.
"""

import re
from typing import Literal, get_args

from mg3d.errors import ConfigError

ClauseRule = Literal["sentence", "sen_comma"]

_PARAGRAPH = re.compile(r"\n[ \t]*\n|\n(?=[ \t]*(?:[-*\u2022]|\(?\d{1,2}[.)])[ \t])")
_PARENTHESES = re.compile(r"\([^()]{0,200}\)")
_STOP = re.compile(
    r"(?P<stop>\.(?!\.)[)\]\"'\u201d]*|;)(?=\s|$)"  # a full stop or semicolon before white space
    r"|(?P<dots>\.{2,}|\u2026)(?=\s|$)"
    r"|(?P<tight>(?<=[a-z]{2})\.(?=[A-Z][a-z]))"  # "effusion.No nodule"
    r"|(?P<semicolon>;)"
    r"|(?P<comma>,)(?=\s|$)"
)
_LIST_NUMBER = re.compile(r"[-*\u2022]?\s*\(?(?:\d{1,2}|[a-zA-Z]|[ivx]{1,4})\.")
_LAST_WORD = re.compile(r"([^\s(\[]+)$")
_NEXT_WORD = re.compile(r"\s*([^\s.,;:)]*)")

# fmt: off
_ALWAYS_GO_ON = frozenset([
    "dr", "drs", "mr", "mrs", "ms", "prof", "e.g", "eg", "i.e", "ie", "vs", "approx", "ca", "cf",
    "incl", "resp", "esp", "viz",
])
_GO_ON_BEFORE_NUMBERS = frozenset([
    "no", "nos", "nr", "fig", "figs", "im", "img", "ims", "se", "ser", "sl", "seg", "vol", "p",
    "pp",
])
_MAY_END = frozenset([
    "cm", "mm", "m", "ml", "cc", "l", "kg", "mg", "hu", "etc", "max", "min", "ant", "post", "lat",
    "sup", "inf", "med", "bilat", "rt", "lt", "a.m", "p.m", "dia", "diam", "avg", "temp", "ext",
    "int", "wt", "ht", "hx", "dx", "tx", "rx", "yr", "yrs", "mo", "hr", "hrs", "sec",
])
_CONTINUES = frozenset([
    "in", "x", "by", "and", "or", "to", "from", "of", "at", "with", "on", "for", "diameter",
    "thick", "long", "wide", "deep", "thickness", "length",
])
# fmt: on


def split_clauses(text: str, rule: ClauseRule = "sentence") -> tuple[str, ...]:
    """Cut a text into clauses.

    Args:
        text: One section of a report; line breaks may wrap a sentence, blank lines and new list
            items end one.
        rule: "sentence" cuts at full stops and semicolons. "sen_comma" also cuts at commas
            outside parentheses, as the authors of arXiv:2412.05876 do; it turns "no effusion,
            pneumothorax" into a negative and a positive clause and is there for fidelity only.

    Returns:
        Clauses in order, each with its delimiter, white space collapsed to single spaces.

    Raises:
        ConfigError: For an unknown rule.
    """
    if rule not in get_args(ClauseRule):
        raise ConfigError(f"clause rule {rule!r}: choose one of {', '.join(get_args(ClauseRule))}")
    lower_cased = text == text.lower()
    pieces: list[str] = []
    for paragraph in _PARAGRAPH.split(text):
        line = " ".join(paragraph.split())
        pieces.extend(_split_paragraph(line, rule, lower_cased=lower_cased))
    return _attach_marks(pieces)


def _split_paragraph(text: str, rule: ClauseRule, *, lower_cased: bool) -> list[str]:
    protected = [match.span() for match in _PARENTHESES.finditer(text)]
    pieces, start = [], 0
    for match in _STOP.finditer(text):
        position = match.start()
        if any(first <= position and match.end() < last for first, last in protected):
            continue
        if match["comma"] and rule != "sen_comma":
            continue
        if match["dots"] and not text[match.end() :].lstrip()[:1].isupper():
            continue
        if match["stop"] and match["stop"] != ";":
            before, after = text[start:position], text[match.end() :]
            if not _ends_clause(before, after, lower_cased=lower_cased):
                continue
        pieces.append(text[start : match.end()].strip())
        start = match.end()
    pieces.append(text[start:].strip())
    return pieces


def _ends_clause(before: str, after: str, *, lower_cased: bool) -> bool:
    """Whether the full stop between two texts ends a clause."""
    if not after.strip():
        return True
    if _LIST_NUMBER.fullmatch(before.strip() + "."):
        return False
    last = _LAST_WORD.search(before)
    word = last[1].lower() if last else ""
    following = _NEXT_WORD.match(after)
    next_word = following[1] if following else ""
    if word in _ALWAYS_GO_ON:
        return False
    if word in _GO_ON_BEFORE_NUMBERS and next_word[:1].isdigit():
        return False
    if word in _MAY_END and next_word[:1].islower():
        return lower_cased and next_word not in _CONTINUES
    return True


def _attach_marks(pieces: list[str]) -> tuple[str, ...]:
    """Give a piece without letters and digits to its predecessor: no clause is a lone mark."""
    clauses: list[str] = []
    for piece in filter(None, pieces):
        if clauses and not any(character.isalnum() for character in piece):
            clauses[-1] = f"{clauses[-1]} {piece}"
        else:
            clauses.append(piece)
    return tuple(clauses)
