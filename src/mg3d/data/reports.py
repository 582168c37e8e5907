"""Report: the sections of a radiology report that the model reads.

Sections hold text or nothing: placeholders such as "Not given." are nothing.
"""

import re
from dataclasses import dataclass
from typing import Self

from mg3d.data.clauses import ClauseRule, split_clauses
from mg3d.files import sha256

_PLACEHOLDERS = frozenset(
    {"not given", "not provided", "not available", "none given", "n/a", "na", "nan", "null", "-"}
)
_HEADING = re.compile(
    r"^[ \t]*(findings?|impressions?|conclusions?)[ \t]*(?::|$)", re.IGNORECASE | re.MULTILINE
)


@dataclass(frozen=True)
class Report:
    """Findings and impression, "" where a section is missing."""

    findings: str = ""
    impression: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "findings", _clean(self.findings))
        object.__setattr__(self, "impression", _clean(self.impression))

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Split one text at the headings "Findings" and "Impression" (or "Conclusion").

        Text before the first of these headings is dropped (history, technique); without any
        heading all of it is findings.
        """
        parts = _HEADING.split(text)
        if len(parts) == 1:
            return cls(text)
        sections: dict[str, list[str]] = {"findings": [], "impression": []}
        for heading, body in zip(parts[1::2], parts[2::2], strict=True):
            kind = "findings" if heading.lower().startswith("finding") else "impression"
            sections[kind].append(body)
        return cls("\n\n".join(sections["findings"]), "\n\n".join(sections["impression"]))

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


def _clean(text: str) -> str:
    stripped = text.replace("\r\n", "\n").replace("\r", "\n").strip()
    return "" if stripped.lower().rstrip(". ") in _PLACEHOLDERS | {""} else stripped
