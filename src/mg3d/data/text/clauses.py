"""Cutting a report into clauses: the segments that end at a full stop or a semicolon.

Abbreviations, decimals, measurements, list numbers and what stands in parentheses stay whole.
Nothing is dropped and nothing is added but white space: the clauses, joined, are the text. Case
is left as it is, and helps: "2 cm. No effusion" ends a clause, "2 cm. in diameter" does not.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from typing import Literal, get_args

from mg3d.errors import ConfigError

ClauseRule = Literal["sentence", "sen_comma"]

_PARAGRAPH = re.compile(r"\n[ \t]*\n|\n(?=[ \t]*(?:[-*\u2022]|\(?\d{1,2}[.)])[ \t])")
_PARENTHESES = re.compile(r"\([^()]{0,200}\)")
_STOP = re.compile(
    r"(?P<stop>\.(?!\.)[)\]\"'\u201d]*|;)(?=\s|$)"  # a full stop or semicolon before white space
    r"|(?P<dots>\.{2,}|\u2026)(?=\s|$)"
    r"|(?P<tight>(?<=[a-z]{2})\s?\.(?=[A-Z][a-z])"  # "effusion.No nodule"
    r"|(?<=[A-Z]{3})\.(?=[A-Z]{2})|(?<=[a-z]{3})\.(?=(?:no|the|there|an?)\s))"
    r"|(?P<semicolon>;)"
    r"|(?P<comma>,)(?=\s|$)"
)
_LIST_NUMBER = re.compile(r"[-*\u2022]?\s*\(?(?:\d{1,2}|[a-zA-Z]|[ivx]{1,4}|[IVX]{1,4})\.")
_FIRST_AFTER_COLON = re.compile(r":\s{0,3}\(?1$")  # "Impression: 1. Nodule; 2. Effusion"
_SECOND_ITEM = re.compile(r"[;.]\s\(?2\.\s")
_ITEM = re.compile(r"(?<!\S)\(?(\d{1,2})\)(?=\s)")  # "1) Nodule 2) Effusion"
_ABOVE_ITEMS = re.compile(r"(?:^|[:;.])\s*$")
_INITIAL = re.compile(r"(?:^|[\s(])(?:[A-Z]\.)*[A-Z]$")
_NEXT_INITIAL = re.compile(r"\s*[A-Z]\.[A-Z\s]")
_BEFORE_INITIAL = re.compile(r"\b(?:Drs?|Mrs?|Ms|Prof|[A-Z])\.\s*(?:[A-Z]\.)*[A-Z]$")
_REACH = 200
"""Characters on either side of a stop that decide whether it ends a clause."""
_SHORT_LINE = 60
"""Characters; a line broken before this was broken on purpose if a sentence can begin after it."""
_NEW_SENTENCE = re.compile(r"[ \t]*[A-Z][a-z]+")
_ENDS_WHOLE = re.compile(r"[\w%)\]\"]$")
_LAST_WORD = re.compile(r"([^\s(\[]+)$")
_NEXT_WORD = re.compile(r"\s*([^\s.,;:)]*)")

# fmt: off
_ALWAYS_GO_ON = frozenset([
    "dr", "drs", "mr", "mrs", "ms", "prof", "e.g", "eg", "i.e", "ie", "vs", "approx", "ca", "cf",
    "incl", "resp", "esp", "viz", "st",
])
_GO_ON_BEFORE_NUMBERS = frozenset([
    "no", "nos", "nr", "fig", "figs", "im", "img", "ims", "se", "ser", "sl", "seg", "vol", "p",
    "pp", "temp", "hgb", "hb", "max", "min", "avg", "dia", "diam", "suv", "jan", "feb", "mar",
    "apr", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec",
])
_MAY_END = frozenset([
    "cm", "mm", "m", "ml", "cc", "l", "kg", "mg", "hu", "etc", "max", "min", "ant", "post", "lat",
    "sup", "inf", "med", "bilat", "rt", "lt", "a.m", "p.m", "dia", "diam", "avg", "temp", "ext",
    "int", "wt", "ht", "hx", "dx", "tx", "rx", "bx", "fx", "yr", "yrs", "mo", "hr", "hrs", "sec",
    "mod", "sev", "prob", "poss", "susp",
])
_CONTINUES = frozenset([
    "in", "x", "by", "and", "or", "to", "from", "of", "at", "with", "on", "for", "diameter",
    "thick", "long", "wide", "deep", "thickness", "length",
])
_NEVER_LAST = frozenset([
    "the", "a", "an", "of", "and", "or", "with", "without", "in", "on", "at", "to", "from", "by",
    "for", "is", "are", "was", "were", "no", "as", "than", "that", "which", "right", "left", "both",
    "upper", "lower", "middle", "new", "mild", "moderate", "severe", "stable", "this",
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
        for line in _items(paragraph):
            pieces.extend(_split_paragraph(line, rule, lower_cased=lower_cased))
    return _attach_marks(pieces)


def _items(paragraph: str) -> Iterator[str]:
    """The lines of a paragraph, cut where a list goes on, wrapped ones joined."""
    groups: list[list[str]] = []
    for line in paragraph.split("\n"):
        if groups and not (_is_whole(groups[-1][-1]) and _NEW_SENTENCE.match(line)):
            groups[-1].append(line)
        else:
            groups.append([line])
    for line in (" ".join(" ".join(group).split()) for group in groups):
        start = 0
        expected = 1
        for item in _ITEM.finditer(line):
            if int(item[1]) != expected or (
                expected == 1 and not _ABOVE_ITEMS.search(line, 0, item.start())
            ):
                continue
            if expected > 1:
                yield line[start : item.start()].strip()
                start = item.start()
            expected += 1
        yield line[start:]


def _is_whole(line: str) -> bool:
    """Whether a line without a mark at its end was ended on purpose."""
    line = line.strip()
    if len(line) >= _SHORT_LINE or not _ENDS_WHOLE.search(line):
        return False
    return line.split()[-1].lower() not in _NEVER_LAST


def _split_paragraph(text: str, rule: ClauseRule, *, lower_cased: bool) -> list[str]:
    protected = [match.span() for match in _PARENTHESES.finditer(text)]
    firsts = [first for first, _ in protected]
    pieces, start = [], 0
    for match in _STOP.finditer(text):
        position = match.start()
        number = bisect_right(firsts, position) - 1
        if number >= 0 and match.end() < protected[number][1]:
            continue
        if match["comma"] and rule != "sen_comma":
            continue
        if match["dots"] and not text[match.end() : match.end() + 2].lstrip()[:1].isupper():
            continue
        if match["stop"] and match["stop"] != ";":
            # What decides is near; long texts without an end would take time squared.
            before = text[max(start, position - _REACH) : position]
            after = text[match.end() : match.end() + _REACH]
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
    if _INITIAL.search(before):
        if next_word[:1].islower() and not lower_cased:  # "the L. lung"
            return False
        if _NEXT_INITIAL.match(after) or (
            next_word[:1].isupper() and _BEFORE_INITIAL.search(before)
        ):  # "A. B. Smith", "Dr. J. Smith"
            return False
    if _FIRST_AFTER_COLON.search(before) and _SECOND_ITEM.search(after):
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
