"""Text of a report that is stored as a DICOM structured report (SR).

The content tree becomes plain text: names of containers stand as headings, texts and coded or
measured findings below them. Names of persons, dates, references and the context of observation
(who dictated, who was examined) are never taken over.
"""

from collections.abc import Iterator
from pathlib import Path

from pydicom.dataset import Dataset

from mg3d.data.readers.dicom.elements import items, word
from mg3d.data.readers.dicom.files import DAMAGE, damaged, read_header, silent
from mg3d.data.scan_error import ScanError

_KEYWORDS = ("SpecificCharacterSet", "Modality", "SOPClassUID", "ContentSequence")
_TEXT_REPORTS = ("11", "22", "33", "34", "35")
"""Basic text, enhanced, comprehensive, comprehensive 3D and extensible SR; dose reports, findings
of programs and lists of key images are other classes (PS3.4 B.5)."""
_SR_CLASS = "1.2.840.10008.5.1.4.1.1.88."
_DEEPEST = 32
"""Levels of a content tree that are read; real reports have fewer than ten."""


def read_sr(path: Path) -> str:
    """The text of a structured report.

    Args:
        path: A DICOM file.

    Returns:
        Lines of text; a container's or item's name stands before its text as "Findings:". Empty
        for a DICOM file that is no text report, such as a dose report.

    Raises:
        ScanError: Not DICOM, damaged, or cannot be read.
    """
    header = read_header(path, _KEYWORDS)
    if header is None:
        raise ScanError("not a DICOM file. Copy or export it again.")
    try:
        with silent():
            kind = word(header, "SOPClassUID")
            if not kind.startswith(_SR_CLASS) or kind.split(".")[-1] not in _TEXT_REPORTS:
                return ""
            return "\n".join(_lines(header, "", _DEEPEST))
    except DAMAGE as error:
        raise damaged(error) from None


def _lines(node: Dataset, heading: str, levels: int) -> Iterator[str]:
    """The texts below a node of the tree, whose own heading is given."""
    if levels == 0:
        return
    for item in items(node, "ContentSequence"):
        if word(item, "RelationshipType") == "HAS OBS CONTEXT":
            continue
        name, kind = _meaning(item, "ConceptNameCodeSequence"), word(item, "ValueType")
        if kind == "CONTAINER" and name:
            yield f"{name}:"
        text = _text(item, kind)
        if text:
            # "Findings: Finding: ..." says the same thing twice.
            is_same = bool(name) and heading.lower().startswith(name.lower()[:_SAME_LETTERS])
            yield text if is_same or not name else f"{name}: {text}"
        yield from _lines(item, name if kind == "CONTAINER" else heading, levels - 1)


_SAME_LETTERS = 6
"""Finding and Findings, Impression and Impressions, Conclusion and Conclusions agree in these."""


def _text(item: Dataset, kind: str) -> str:
    if kind == "TEXT":
        return word(item, "TextValue")
    if kind == "CODE":
        return _meaning(item, "ConceptCodeSequence")
    if kind == "NUM":
        for measured in items(item, "MeasuredValueSequence"):
            unit = _meaning(measured, "MeasurementUnitsCodeSequence")
            return f"{word(measured, 'NumericValue')} {unit}".strip()
    return ""


def _meaning(item: Dataset, sequence: str) -> str:
    """What a code means, in words."""
    for code in items(item, sequence):
        return word(code, "CodeMeaning")
    return ""
