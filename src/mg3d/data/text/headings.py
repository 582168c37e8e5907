"""Headings: the names that sections of English radiology reports go by, and where they stand.

A heading is a known name at the start of a line (numbered, bold, in brackets or plain; followed by
a colon or a dash, or alone), or inside a line before a colon, where sentences end.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Section = Literal["findings", "impression", "clinical", "technique", "comparison", "administrative"]
HeadingKind = Section | Literal["text", "interpretation", "unknown"]
"""text: "Report", "Body": findings unless "Findings" follows; interpretation: the impression, or
the findings where there are no others; unknown: in capitals, and none of ours."""

# fmt: off
_NAMES: dict[HeadingKind, tuple[str, ...]] = {
    "findings": (
        "finding", "findings", "radiological findings", "radiologic findings",
        "radiology findings", "imaging findings", "ct findings", "chest ct findings",
        "ct chest findings", "thoracic ct findings", "detailed findings",
        "findings and impression", "findings and impressions", "impression and findings",
        "findings and conclusion", "findings and interpretation", "observations",
    ),
    "text": (
        "report", "full report", "report text", "body", "body of report", "report body",
        "description", "observation", "result", "results", "narrative",
    ),
    "impression": (
        "impression", "impressions", "imp", "conclusion", "conclusions", "opinion", "opinions",
        "summary", "assessment", "diagnosis", "diagnoses", "diagnostic impression",
        "final impression", "final diagnosis", "radiological diagnosis", "radiologic diagnosis",
        "overall impression", "impression and recommendation", "impression and recommendations",
        "conclusion and recommendation", "conclusion and recommendations", "impression and plan",
        "assessment and plan", "summary and recommendation", "summary and recommendations",
        "key findings", "addendum", "in conclusion", "in summary",
    ),
    "interpretation": ("interpretation", "comment", "comments"),
    "clinical": (
        "clinical information", "clinical info", "clinical history", "clinical data",
        "clinical details", "clinical indication", "clinical indications", "clinical question",
        "clinical context", "clinical background", "clinical summary", "clinical notes",
        "clinical diagnosis", "relevant clinical information", "relevant history", "history",
        "patient history", "medical history", "past medical history", "indication", "indications",
        "indication for study", "indication for exam", "indication for examination",
        "indication and history", "history and indication", "reason for exam",
        "reason for examination", "reason for study", "reason for the study", "reason for scan",
        "reason for this examination", "chief complaint", "referral",
    ),
    "technique": (
        "technique", "techniques", "ct technique", "imaging technique", "scan technique",
        "technical details", "technical information", "technical data", "protocol", "ct protocol",
        "procedure", "procedures", "method", "methods", "exam", "examination", "exam description",
        "examination description", "exam type", "study", "study type", "study description",
        "type of examination", "type of exam", "type of study", "modality", "contrast",
        "contrast agent", "contrast medium", "contrast media", "intravenous contrast",
        "iv contrast", "oral contrast", "dose", "radiation dose", "dose report", "image quality",
        "scanner", "limitations", "technique and comparison", "procedure and technique",
        "exam and technique",
    ),
    "comparison": (
        "comparison", "comparisons", "comparison study", "comparison studies", "comparison exam",
        "comparison examination", "compared with", "compared to", "prior", "priors",
        "prior study", "prior studies", "prior exam", "prior exams", "prior imaging",
        "previous study", "previous studies", "previous examinations", "correlation",
    ),
    "administrative": (
        "signed", "signed by", "electronically signed", "electronically signed by", "signature",
        "dictated by", "transcribed by", "reported by", "verified by", "approved by",
        "authenticated by", "read by", "interpreted by", "reviewed by", "finalized by",
        "attending", "attending radiologist", "attending physician", "radiologist", "resident",
        "referring physician", "referring doctor", "ordering physician", "ordering provider",
        "requesting physician", "requested by", "patient", "patient name", "name", "patient id",
        "mrn", "medical record number", "accession", "accession number", "accession no", "dob",
        "date of birth", "birth date", "sex", "gender", "age", "date", "date of exam",
        "date of examination", "date of study", "exam date", "study date", "report date",
        "date of report", "department", "hospital", "institution", "cc", "copies to", "study id",
    ),
}
# fmt: on
_KINDS: dict[str, HeadingKind] = {name: kind for kind, names in _NAMES.items() for name in names}
_COMMON = frozenset(
    ["findings", "impression", "impressions", "conclusion", "conclusions", "opinion", "technique",
     "comparison", "clinical information", "clinical history", "history", "indication"]
)  # fmt: skip
"""Names that are headings inside a line even when only their first letter is a capital."""
_ALWAYS = frozenset(["findings", "impression", "impressions"])
"""Names that are headings inside a line in small letters too."""
_MOST_WORDS = max(len(name.split()) for name in _KINDS)

_MARK = (
    r"[\s*_#=~>|\[<\"'\u2022-]{0,12}(?:\(?(?:\d{1,2}|[A-Za-z]|[IVX]{1,4})[.)]\s{1,4})?[*_\[]{0,3}"
)
_AT_LINE_START = re.compile(
    rf"{_MARK}(?P<name>[A-Za-z](?:[A-Za-z /&,+]{{0,58}}[A-Za-z])?)[*_\]>\"'=~)]{{0,4}}\s{{0,8}}"
    r"(?:(?P<colon>[:\uff1a][-\u2013\u2014]?)|(?P<dash>[-\u2013\u2014]{1,2}(?=\s|$))|(?P<alone>\.?\s*$))"
    r"[*_\]=~]{0,4}"
)
_LONGEST_NAME = 60


@dataclass(frozen=True)
class Heading:
    """One heading of a text."""

    kind: HeadingKind
    start: int
    """Index of its first character, numbering and marks included."""
    end: int
    """Index after its colon."""


def find_headings(text: str) -> Iterator[Heading]:
    """All headings of a text in order."""
    position = 0
    for line in text.splitlines(keepends=True):
        first = _at_line_start(line)
        after = 0
        if first is not None:
            yield Heading(first.kind, position + first.start, position + first.end)
            after = first.end
        for inside in _inside_line(line, after):
            yield Heading(inside.kind, position + inside.start, position + inside.end)
        position += len(line)


def kind_of(name: str) -> HeadingKind | None:
    """What a heading's name stands for, None for an unknown one."""
    return _KINDS.get(" ".join(re.sub(r"[/&+,]", " and ", name.lower()).split()))


def _at_line_start(line: str) -> Heading | None:
    match = _AT_LINE_START.match(line)
    if match is None:
        return None
    name, shouted = match["name"], match["name"].isupper()
    kind = kind_of(name)
    if kind is None:
        is_heading = shouted and match["colon"] and len(name) > 2
        return Heading("unknown", match.start(), match.end()) if is_heading else None
    if match["dash"] and not (shouted or kind in ("findings", "impression", "interpretation")):
        return None  # "Study - limited"
    alone = match["alone"]
    if alone is not None and not (shouted or (name[0].isupper() and not alone.startswith("."))):
        return None  # the last word of a wrapped sentence
    return Heading(kind, match.start(), match.end())


def _inside_line(line: str, after: int) -> Iterator[Heading]:
    """Headings before colons: "... normal. IMPRESSION: ..."."""
    colon = line.find(":", after)
    while colon >= 0:
        found = _before_colon(line, max(after, colon - _LONGEST_NAME), colon)
        if found is not None:
            yield found
            after = colon + 1
        colon = line.find(":", colon + 1)


def _before_colon(line: str, start: int, colon: int) -> Heading | None:
    """The longest known name that ends at a colon."""
    words = list(re.finditer(r"[^\s]+", line[start:colon]))[-_MOST_WORDS:]
    for number, word in enumerate(words):
        begin = start + word.start()
        name = line[begin:colon].strip("*_# ")
        kind = kind_of(name)
        if kind is None:
            continue
        before = words[number - 1][0] if number else ""
        ends_sentence = not before or before[-1] in ".;:!?)]*"
        in_capitals = name.isupper() and len(name) > 3 and not before.isupper()
        is_common = " ".join(name.lower().split()) in (_COMMON if name[0].isupper() else _ALWAYS)
        if in_capitals or (ends_sentence and (name.isupper() or is_common)):
            return Heading(kind, begin, colon + 1)
    return None
