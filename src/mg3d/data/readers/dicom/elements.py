"""Elements of a DICOM header as plain numbers and words; None or "" where absent or junk.

Headers in the wild hold empty values, words where numbers belong, three spacings or none. A
caller here always gets what it asked for or learns that it is not there.
"""

import math

from pydicom.dataset import Dataset

from mg3d.data.readers.dicom.files import DAMAGE


def numbers(header: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """Exactly ``count`` finite numbers, or None."""
    try:
        value = header[keyword].value
        values = [value] if isinstance(value, int | float | str) else list(value)
        found = tuple(float(each) for each in values)
    except DAMAGE:
        return None
    return found if len(found) == count and all(map(math.isfinite, found)) else None


def number(header: Dataset, keyword: str) -> float | None:
    """One finite number, or None."""
    found = numbers(header, keyword, 1)
    return None if found is None else found[0]


def whole(header: Dataset, keyword: str) -> int | None:
    """One whole number, or None."""
    found = number(header, keyword)
    return int(found) if found is not None and found == int(found) else None


def word(header: Dataset, keyword: str) -> str:
    """A text without the blanks and zeros that pad it, or ""."""
    try:
        value = header[keyword].value
    except DAMAGE:
        return ""
    return "" if value is None else str(value).strip("\0 \t\r\n")


def words(header: Dataset, keyword: str) -> tuple[str, ...]:
    """All values of a code string in upper case, empty ones left out."""
    try:
        value = header[keyword].value
    except DAMAGE:
        return ()
    values = [value] if isinstance(value, str) else (value or [])
    try:
        return tuple(text for each in values if (text := str(each).strip("\0 ").upper()))
    except DAMAGE:
        return ()


def items(header: Dataset, keyword: str) -> tuple[Dataset, ...]:
    """The items of a sequence, or ()."""
    try:
        value = header[keyword].value
        return tuple(item for item in value if isinstance(item, Dataset))
    except DAMAGE:
        return ()
