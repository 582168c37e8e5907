"""Sections: a whole report, cut at its headings into what the model reads and what it does not.

The model reads findings and impression. History, technique, comparison and signatures are left
out by design, and counted. In doubt text is kept: what stands below an unknown heading stays where
it is, and text under no heading is the findings where there are no others.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from mg3d.data.text.headings import Heading, HeadingKind, find_headings

_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|\n[ \t]*\n")
_PARAGRAPH_END = re.compile(r"\n[ \t]*\n")
_FEWEST_WORDS = 8
"""Of text above the first heading, for it to be findings: a title is shorter, or no sentence."""


@dataclass(frozen=True, kw_only=True)
class Sections:
    """The two sections that are read, and what was left out."""

    findings: str
    impression: str
    num_words_left_out: dict[str, int]
    """Words by kind of section; "other" stands below no known heading."""
    num_unknown: int
    """Headings in capitals that are not known, with text below them that was left out."""


@dataclass(frozen=True)
class _Part:
    kind: HeadingKind
    body: str
    heading: str


def split_sections(text: str) -> Sections:
    """Cut a report at its headings.

    Args:
        text: The whole report, without markup.

    Returns:
        The sections; several of one kind are joined by a blank line. Without any heading all
        is findings.
    """
    headings = list(find_headings(text))
    if all(heading.kind == "unknown" for heading in headings):
        return Sections(findings=text, impression="", num_words_left_out={}, num_unknown=0)
    parts = list(_parts(text, _resolve(headings)))
    if not any(part.kind == "findings" and part.body.strip() for part in parts):
        parts = [better for part in parts for better in _search_findings(part)]
    kept: dict[str, list[str]] = {"findings": [], "impression": []}
    left_out: Counter[str] = Counter()
    num_unknown = 0
    for part in parts:
        if part.kind in kept:
            kept[part.kind].append(part.body.strip())
            continue
        left_out["other" if part.kind in ("text", "unknown") else part.kind] += _num_words(
            part.body
        )
        num_unknown += part.kind == "unknown" and bool(part.heading) and bool(part.body.strip())
    return Sections(
        findings="\n\n".join(filter(None, kept["findings"])),
        impression="\n\n".join(filter(None, kept["impression"])),
        num_words_left_out={kind: number for kind, number in sorted(left_out.items()) if number},
        num_unknown=num_unknown,
    )


def _resolve(headings: list[Heading]) -> list[Heading]:
    """Decide what the names with two meanings stand for, and which unknown ones divide.

    An unknown heading inside findings or impression is part of their text ("LUNGS:").
    """
    resolved: list[Heading] = []
    kinds = [heading.kind for heading in headings]
    last_findings = len(kinds) - 1 - kinds[::-1].index("findings") if "findings" in kinds else -1
    seen_findings = False
    for number, heading in enumerate(headings):
        kind = heading.kind
        if kind == "text":
            kind = "text" if number < last_findings and not seen_findings else "findings"
        elif kind == "interpretation":
            kind = "impression" if seen_findings else "findings"
        elif kind == "unknown" and resolved and resolved[-1].kind in ("findings", "impression"):
            continue
        seen_findings = seen_findings or kind == "findings"
        resolved.append(Heading(kind, heading.start, heading.end))
    return resolved


def _parts(text: str, headings: list[Heading]) -> Iterator[_Part]:
    """The text as headed parts, the one above the first heading as "unknown"."""
    yield _Part("unknown", text[: headings[0].start], "")
    last_kept: HeadingKind | None = None
    ends = [heading.start for heading in headings[1:]] + [len(text)]
    for heading, end in zip(headings, ends, strict=True):
        body, title = text[heading.end : end], text[heading.start : heading.end]
        if heading.kind in ("findings", "impression"):
            last_kept = heading.kind
        elif last_kept is not None and _is_aside(heading.kind, last_kept):
            # "Comparison: CT of 2019." as one line of the findings: what follows belongs to them.
            aside = _SENTENCE_END.search(body, len(body) - len(body.lstrip()))
            cut = aside.end() if aside else len(body)
            yield _Part(heading.kind, body[:cut], title)
            yield _Part(last_kept, body[cut:], "")
            continue
        yield _Part(heading.kind, body, title)


def _is_aside(kind: HeadingKind, last_kept: HeadingKind) -> bool:
    """Whether a section that is left out interrupts one that is kept instead of ending it."""
    if kind == "administrative":
        return False
    return last_kept == "findings" or kind == "comparison"


def _search_findings(part: _Part) -> Iterator[_Part]:
    """Where no heading says findings: text under no or an unknown heading, later paragraphs."""
    if part.kind == "unknown" and not part.heading:
        is_text = _num_words(part.body) >= _FEWEST_WORDS and _SENTENCE_END.search(part.body)
        yield _Part("findings" if is_text else "unknown", part.body, "")
    elif part.kind == "unknown":
        yield _Part("findings", part.heading.lstrip() + part.body, "")
    elif part.kind in ("clinical", "technique", "comparison"):
        end = _PARAGRAPH_END.search(part.body, len(part.body) - len(part.body.lstrip()))
        cut = end.end() if end else len(part.body)
        yield _Part(part.kind, part.body[:cut], part.heading)
        yield _Part("findings", part.body[cut:], "")
    else:
        yield part


def _num_words(text: str) -> int:
    return len(text.split())
