"""Report: the sections of a radiology report that the model reads.

Sections hold plain text or nothing: placeholders such as "Not given." are nothing, markup and
damage of encodings are taken out. Making a report of a report's sections changes nothing.
"""

from dataclasses import dataclass, field
from typing import Self

from mg3d.data.text.clauses import ClauseRule, split_clauses
from mg3d.data.text.markup import strip_markup
from mg3d.data.text.mojibake import count_lost, repair
from mg3d.data.text.sections import Sections, split_sections
from mg3d.files import sha256

_PLACEHOLDERS = frozenset(
    ["not given", "not provided", "not available", "not applicable", "not reported",
     "not specified", "not stated", "not entered", "none given", "none provided",
     "none available", "no report", "no report available", "report not available",
     "no findings given", "no impression given", "report pending", "pending", "unavailable",
     "n/a", "na", "n.a", "nan", "null", "<na>", "empty", "no text", "see report"]
)  # fmt: skip


@dataclass(frozen=True)
class Report:
    """Findings and impression, "" where a section is missing."""

    findings: str = ""
    impression: str = ""
    faults: tuple[tuple[str, str], ...] = field(default=(), compare=False, repr=False)
    """(kind, message) of what was noticed while reading it; kinds are keys of
    `mg3d.data.faults.FAULTS`. What only a look at the sections tells is left to
    `mg3d.data.text.report_faults`."""

    def __post_init__(self) -> None:
        faults: list[tuple[str, str]] = []
        for name in ("findings", "impression"):
            object.__setattr__(self, name, _clean(getattr(self, name), faults))
        known = {kind for kind, _ in self.faults}
        new = tuple(fault for fault in dict.fromkeys(faults) if fault[0] not in known)
        object.__setattr__(self, "faults", self.faults + new)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Cut one text at its headings, see `mg3d.data.text.sections`.

        History, technique, comparison and signatures are left out. Without any heading all of it
        is findings.
        """
        faults: list[tuple[str, str]] = []
        sections = split_sections(_clean(text, faults))
        faults += _left_out(sections)
        return cls(sections.findings, sections.impression, tuple(dict.fromkeys(faults)))

    @property
    def is_empty(self) -> bool:
        """Whether neither section holds text."""
        return not (self.findings or self.impression)

    @property
    def report_id(self) -> str:
        """Hash of the text, blind to case and white space; "" for an empty report.

        Two studies with the same report are never negatives of each other.
        """
        if self.is_empty:
            return ""
        sections = (" ".join(text.lower().split()) for text in (self.findings, self.impression))
        return sha256("\x1f".join(sections).encode())[:16]

    def clauses(self, rule: ClauseRule = "sentence") -> tuple[str, ...]:
        """Clauses of the findings, then of the impression."""
        return split_clauses(self.findings, rule) + split_clauses(self.impression, rule)


def _clean(text: str, faults: list[tuple[str, str]]) -> str:
    """Plain text with "\\n" as the only line break, "" for a placeholder."""
    plain, num_repaired = _plain(text, faults)
    if num_repaired or count_lost(plain):
        message = f"{num_repaired} characters repaired, {count_lost(plain)} lost for good"
        faults.append(("report_encoding", message))
    bare = plain.lower().strip("[](){}\"'*_. \t\n-:;,!?")
    is_nothing = bare in _PLACEHOLDERS or not any(char.isalnum() for char in bare)
    return "" if is_nothing else plain.strip()


def _plain(text: str, faults: list[tuple[str, str]]) -> tuple[str, int]:
    """Repair and strip until neither finds anything: each may uncover work for the other."""
    num_repaired = 0
    while True:
        repaired, num = repair(text.replace("\r\n", "\n").replace("\r", "\n"))
        num_repaired += num
        plain = strip_markup(repaired)
        if plain != repaired:
            faults.append(("report_markup", "HTML, RTF or escaped line breaks were taken out"))
        if plain == text:
            return plain, num_repaired
        text = plain


def _left_out(sections: Sections) -> list[tuple[str, str]]:
    faults = []
    if sections.num_words_left_out:
        counts = ", ".join(f"{kind} {num}" for kind, num in sections.num_words_left_out.items())
        faults.append(("report_section_left_out", f"words that are not read: {counts}"))
    if sections.num_unknown:
        message = f"{sections.num_unknown} unknown headings in capitals; text below is not read"
        faults.append(("report_section_unknown", message))
    return faults
