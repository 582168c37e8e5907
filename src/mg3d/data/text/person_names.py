"""Names of persons in reports, found by titles, cues and frequent given names.

Names that nothing announces are missed: see `benchmarks/report_checks.py` for how many.
"""

import re
from collections.abc import Iterator

from mg3d.data.text.given_names import GIVEN_NAMES

_UPPER, _ANY = "A-Z\u00c0-\u00de", "A-Za-z\u00c0-\u017f"
_WORD = rf"[{_UPPER}][{_ANY}]{{0,30}}(?:['\u2019-][{_ANY}]{{1,30}}){{0,2}}"
_PARTICLE = r"(?:(?:de|da|do|dos|del|della|di|van|von|der|den|la|le|el|al|bin|ter)\s{1,3})"
_NAME = rf"{_PARTICLE}{{0,2}}(?:{_WORD}[.,]?\s{{1,3}}{_PARTICLE}{{0,2}}){{0,3}}{_WORD}"
_TITLED = re.compile(
    r"\b(?:(?:Drs?|Mrs?|Ms|Prof)\.?|Miss|Doctor|Professor|Nurse|(?:DRS?|MRS?|MS|PROF)\.|DR|DOCTOR)"
    rf"\s{{1,3}}(?P<it>{_NAME})"
)
_TITLED_SMALL = re.compile(r"\b(?:drs?|mrs?|ms|prof)\.\s{1,3}(?P<it>[a-z][a-z'-]{2,30})")
_LETTERED = re.compile(
    rf"\b(?P<it>{_NAME})(?:,?\s{{1,3}}(?:M\.D\.|MD|MBBS|MBChB|Ph\.?D|FRCR|FRCPC)|,\s{{1,3}}(?:DO|RN|NP|PA-C|RT))\b"
)
_CUED = re.compile(
    r"\b(?i:patient(?:'s)?\s+name|(?:first|last|family|given|maiden|full)\s+name|name|surname"
    r"|signed(?:\s+electronically)?\s+by|(?:dictated|transcribed|reported|verified|approved"
    r"|authenticated|interpreted|reviewed|finali[sz]ed|released|read|referred|requested|ordered"
    r"|performed)\s+by|(?:referring|ordering|requesting|attending|primary\s+care)"
    r"\s+(?:physician|doctor|provider|clinician|radiologist|md)|radiologist|attending|resident"
    r"|(?:discussed|reviewed|communicated|spoke)\s+with"
    r"|(?:communicated|conveyed|relayed|reported|called|spoke)\s+to"
    r"|notified|informed|wife|husband|daughter|son|mother|father)"
    rf"\s{{0,3}}[:=,]?\s{{0,3}}(?P<it>{_NAME})"
)
_PERSON_NAME = re.compile(
    r"(?<!\w)(?P<it>[A-Za-z][A-Za-z'-]{1,40}(?:\^[A-Za-z'-]{1,40}){1,4})(?!\w)"
)
_GIVEN = re.compile(
    rf"\b(?P<given>{_WORD})\s{{1,3}}(?:[A-Z]\.?\s{{1,3}})?{_PARTICLE}{{0,2}}{_WORD}"
)
_LISTED = re.compile(rf"\b{_WORD},\s{{1,3}}(?P<given>{_WORD})\b")
_OTHER_WORDS = """
an the this that these those he she it they we i no none not normal patient patients study
exam examination ct mri pet us xr cxr ed er icu ct-guided and or of in at on by with from to for
findings impression technique comparison history clinical team service surgery department
emergency oncology pulmonary thoracic cardiology medicine radiology referring ordering
physician physicians provider providers doctor clinician nurse staff floor unit hospital clinic
right left upper lower middle lobe lobes lung lungs chest heart liver kidney spleen
segment node nodes nodule mass lesion lesions effusion there mild moderate severe stable new
unknown given date time number see also today yesterday via is was are were has have had
mrn dob id telephone phone email fax pager interpreted signed dictated report reports electronically
"""
_NOT_NAMES = frozenset(_OTHER_WORDS.split())
"""What may follow a cue with a capital and is no name."""

_SPECIALTY = ("logy", "logist", "surgery", "surgeon", "iatrics")
_EPONYMS = frozenset(["mary joseph", "charles bonnet", "paul bunnell"])


def find_names(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of each passage that looks like a person's name; passages may overlap.

    In a text without capitals every word counts as written with one, and a name has at most two.
    """
    if text == text.lower():
        yield from _spans(_TITLED_SMALL, text)
        raised = text.title()
        if len(raised) == len(text):  # a few letters become two
            for pattern in (_TITLED, _CUED):
                for start, end in _spans(pattern, raised):
                    yield start, _after_words(text, start, end, most=2)
        return
    for pattern in (_PERSON_NAME, _TITLED, _LETTERED, _CUED):
        yield from _spans(pattern, text)
    for pattern in (_GIVEN, _LISTED):
        for match in pattern.finditer(text):
            given = match["given"]
            is_given = given.lower() in GIVEN_NAMES and not given.isupper()  # FRANK PUS
            if is_given and match[0].lower() not in _EPONYMS:
                yield from _without_other_words(text, *match.span())


def _spans(pattern: re.Pattern[str], text: str) -> Iterator[tuple[int, int]]:
    for match in pattern.finditer(text):
        yield from _without_other_words(text, *match.span("it"))


def _without_other_words(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The passage up to its first word that is no name, if anything is left."""
    stop = start
    for word in re.finditer(r"[^\s.,]+", text[start:end]):
        bare = word[0].lower().removesuffix("'s")
        if len(bare) > 1 and (bare in _NOT_NAMES or bare.endswith(_SPECIALTY)):
            break
        stop = start + word.end()
    if any(len(word) > 1 for word in text[start:stop].split()):
        yield start, stop


def _after_words(text: str, start: int, end: int, *, most: int) -> int:
    """End of the first ``most`` words of a passage."""
    words = list(re.finditer(r"\S+", text[start:end]))[:most]
    return start + words[-1].end()
