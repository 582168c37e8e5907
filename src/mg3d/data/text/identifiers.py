"""Identifiers: what in a report may tell who the patient is, found by rules and masked.

Names after a title, a cue ("dictated by") or a frequent given name; record and phone numbers,
addresses of the net, dates finer than a year, ages over 89: the identifiers of 45 CFR 164.514(b)(2)
that reports hold. Rules miss names that nothing announces: this is a check, not de-identification.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from mg3d.data.text.person_names import find_names

IdentifierKind = Literal["name", "record_number", "phone", "email", "url", "age", "date"]
KINDS: tuple[IdentifierKind, ...] = get_args(IdentifierKind)


@dataclass(frozen=True)
class Identifier:
    """One passage of a text."""

    kind: IdentifierKind
    start: int
    end: int


_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
_MONTH = rf"(?:{'|'.join(rf'{name[:3]}(?:{name[3:]})?' for name in _MONTHS)}|Sept)"
_YEAR = r"(?:19|20)\d{2}"
_DAY = r"(?:0?[1-9]|[12]\d|3[01])"
_NUMBER_OF_MONTH = r"(?:0?[1-9]|1[0-2])"
_NO_UNIT = r"(?!\s*(?:mm|cm|m|ml|cc|hu|x|%|\u00d7)\b)"

_VALUE = r"(?P<it>(?=[A-Za-z/-]{0,12}\d)[A-Za-z0-9][A-Za-z0-9/-]{3,30})\b"
_RECORD = re.compile(
    r"\b(?i:mrn|medical\s+record|accession|acc|nhs|ssn|social\s+security|uhid|medicare|medicaid)"
    rf"(?i:\s+(?:no|number|num|nr|id)\b\.?)?\s{{0,3}}[:#=.]?\s{{0,3}}#?{_VALUE}"
)
_NUMBERED = re.compile(
    r"\b(?i:patient|study|case|hospital|chart|visit|encounter|account|order|folder|file|registration"
    r"|reg|exam|requisition|insurance|policy|licen[sc]e|device|serial|specimen|id)"
    rf"(?:\s?#|(?i:\s+(?:no|number|num|nr|id)\b)\.?\s{{0,3}}[:#=]?|\s?:)\s{{0,3}}#?{_VALUE}"
)
_SOCIAL = re.compile(r"(?<![\w-])(?P<it>\d{3}-\d{2}-\d{4})(?![\w-])")
_LONG_NUMBER = re.compile(r"(?<![\w.,])(?P<it>[A-Za-z]{0,4}-?\d{7,20})(?![\w]|[.,]\d)")
_TRIAL_ID = re.compile(
    r"(?<![\w-])(?P<it>[A-Z]{2,10}(?:-[A-Z0-9]{2,10}){0,3}-[A-Z]{0,2}\d{3,8})(?![\w-])"
)
_UID = re.compile(r"(?<![\w.])(?P<it>[0-2](?:\.\d{1,40}){5,20})(?![\w])")

_PHONE = re.compile(
    r"(?<![\w.])(?P<it>(?:\+\d{1,3}[ .-]?)?(?:\(\d{2,5}\)\s?|\d{3}[ .-])\d{3}[ .-]\d{4}"
    r"|\+\d{1,3}(?:[ .-]?\d{2,4}){3,4})(?![\w]|\.\d)"
)
_PHONE_CUED = re.compile(
    r"\b(?i:phone|telephone|tel|fax|pager|beeper|mobile|cell|extension|ext)\b\.?"
    r"(?i:\s+(?:no|number|at|is))?\.?\s{0,3}[:#]?\s{0,3}(?P<it>[+(]?\d[\d ().-]{2,20}\d)"
)
_EMAIL = re.compile(
    r"(?P<it>[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,4})"
)
_URL = re.compile(r"(?P<it>\b(?:https?://|www\.)[^\s<>\"')\]]{3,200})", re.IGNORECASE)

_AGE = re.compile(
    r"\b(?P<it>9\d|1[0-2]\d)(?=\s?-?(?:years?|yrs?|y)[\s.-]{0,2}(?:olds?|o\b)|\s?y/o\b|\s?yo\b|\s?[MF]\b(?!\.))"
    r"|\b(?i:aged?|age\s+of)[:\s]{1,3}(?P<cued>9\d|1[0-2]\d)\b(?!\s*(?:mm|cm|%|days?|weeks?|months?))"
)
_DATE = re.compile(
    rf"(?<![\w./-])(?P<it>{_YEAR}[-/.]{_NUMBER_OF_MONTH}[-/.]{_DAY}(?!\d)"
    rf"|{_DAY}[-/.]{_NUMBER_OF_MONTH}[-/.]{_YEAR}|{_NUMBER_OF_MONTH}[-/.]{_DAY}[-/.]{_YEAR}"
    rf"|(?:{_DAY}/{_NUMBER_OF_MONTH}|{_NUMBER_OF_MONTH}/{_DAY})/\d{{2}}"
    r"|(?:0[1-9]|[12]\d|3[01])\.(?:0[1-9]|1[0-2])\.\d{2}"
    rf"|{_NUMBER_OF_MONTH}/{_YEAR})(?![\w/-]|\.\d){_NO_UNIT}"
)
_WRITTEN_DATE = re.compile(
    rf"(?<![\w/-])(?P<it>{_DAY}(?:st|nd|rd|th)?(?:\s{{1,2}}of)?[\s.-]{{1,2}}{_MONTH}[\s.,-]{{1,3}}"
    rf"(?:{_YEAR}|\d{{2}}\b)|{_MONTH}\.?[\s-]{{1,2}}{_DAY}(?:st|nd|rd|th)?,?\s{{1,2}}{_YEAR}"
    rf"|{_MONTH}[\s.,/-]{{1,3}}{_YEAR})(?!\w)",
    re.IGNORECASE,
)
_DAY_OF_MONTH = re.compile(
    rf"(?<![\w/-])(?P<it>(?:{'|'.join(_MONTHS)})\s{{1,2}}{_DAY}(?:st|nd|rd|th)?"
    rf"|{_DAY}(?:st|nd|rd|th)?\s{{1,2}}(?:{'|'.join(_MONTHS)}))(?![\w/-]|\.\d){_NO_UNIT}"
)
_COUNTING = re.compile(
    r"(?:segments?|ribs?|levels?|images?|series|slices?|grades?|scores?|nodes?|stations?|lobes?"
    r"|vertebrae|im|img|se|v)\s*[#:]?\s*$",
    re.IGNORECASE,
)
"""What a list of numbers follows that looks like a date: "segments 8/9/10"."""
_YEAR_AT_END = re.compile(rf"\D{_YEAR}$|^{_YEAR}$")
_CONTEXT = 20


def find_identifiers(text: str) -> tuple[Identifier, ...]:
    """Passages that may identify a person, in order and without overlaps.

    Args:
        text: A report or a section of one.

    Returns:
        What the rules find. Years alone and ages up to 89 are no identifiers.
    """
    taken = bytearray(len(text))
    found = []
    for each in _candidates(text):
        if not any(taken[each.start : each.end]):
            taken[each.start : each.end] = b"\x01" * (each.end - each.start)
            found.append(each)
    return tuple(sorted(found, key=lambda each: each.start))


def mask_identifiers(text: str) -> tuple[str, Counter[str]]:
    """Replace what `find_identifiers` finds by its kind in brackets, such as ``[name]``.

    Returns:
        The text, in which nothing more is found, and the number of passages by kind.
    """
    counts: Counter[str] = Counter()
    while found := find_identifiers(text):  # a mask may end what hid the next passage
        counts.update(each.kind for each in found)
        pieces, position = [], 0
        for each in found:
            pieces += [text[position : each.start], f"[{each.kind}]"]
            position = each.end
        text = "".join([*pieces, text[position:]])
    return text, counts


def _candidates(text: str) -> Iterator[Identifier]:
    """Passages by each rule, the surest rule first."""
    yield from _matches("email", _EMAIL, text)
    yield from _matches("url", _URL, text)
    yield from _matches("record_number", _UID, text)
    for pattern in (_DATE, _WRITTEN_DATE, _DAY_OF_MONTH):
        yield from _matches("date", pattern, text, _is_date)
    yield from _matches("record_number", _SOCIAL, text)
    for pattern in (_PHONE_CUED, _PHONE):
        yield from _matches("phone", pattern, text)
    for pattern in (_RECORD, _NUMBERED, _TRIAL_ID, _LONG_NUMBER):
        yield from _matches("record_number", pattern, text, _is_record)
    yield from _matches("age", _AGE, text)
    for start, end in find_names(text):
        yield Identifier("name", start, end)


def _matches(
    kind: IdentifierKind,
    pattern: re.Pattern[str],
    text: str,
    accept: Callable[[str, str], bool] = lambda before, value: True,
) -> Iterator[Identifier]:
    """Matches of one rule that ``accept`` takes, given the text before and the passage itself."""
    for match in pattern.finditer(text):
        start, end = match.span(match.lastgroup or 0)
        if accept(text[max(0, start - _CONTEXT) : start], text[start:end]):
            yield Identifier(kind, start, end)


def _is_date(before: str, value: str) -> bool:
    return not _COUNTING.search(before)


def _is_record(before: str, value: str) -> bool:
    return not _YEAR_AT_END.search(value)  # "COVID-2019"
