"""What is wrong with a report by itself: the checks of one report, for `mg3d audit`.

Messages hold counts and kinds, never a word of the report. What only shows over all reports of a
site (duplicates, templates) is in `mg3d.data.text.report_corpus`.
"""

import re
from collections import Counter

from mg3d.data.text.identifiers import find_identifiers
from mg3d.data.text.language import other_language
from mg3d.data.text.reports import Report
from mg3d.data.text.token_count import DEFAULT_MAX_TOKENS, count_tokens_at_least

FEWEST_WORDS = 5
"""Of findings and impression together; fewer is a reference to another report, or a slip."""
_FIELD_LIMITS = frozenset(
    [254, 255, 256, 500, 510, 511, 512, 1000, 1023, 1024, 2000, 2047, 2048, 3999, 4000, 4095, 4096,
     7999, 8000, 8191, 8192, 16000, 16384, 32000, 32766, 32767, 32768, 65534, 65535, 65536]
)  # fmt: skip
"""Lengths at which databases, HL7 segments and spreadsheets cut texts."""
_ENDS_OPEN = re.compile(
    r"(?:[,(\[/&]|\b(?:the|a|an|of|and|or|with|without|in|is|are|to|from|at|by|for|there|which"
    r"|that|on|measuring|approximately))\s*$",
    re.IGNORECASE,
)
_ENDS_WHOLE = re.compile(r"[.!?:;)\]\"'*_\u201d\u2019]\s*$")


def check_report(
    report: Report, *, max_tokens: int = DEFAULT_MAX_TOKENS
) -> tuple[tuple[str, str], ...]:
    """Look at one report.

    Args:
        report: As a layout gives it.
        max_tokens: What the model will read of it, special tokens included.

    Returns:
        (kind, message) pairs, those noticed while reading included; kinds are keys of
        `mg3d.data.faults.FAULTS`.
    """
    if report.is_empty:
        return (("report_missing", "no findings and no impression"), *report.faults)
    text = f"{report.findings}\n\n{report.impression}"
    return (
        *report.faults,
        *_check_sections(report),
        *_check_length(report, max_tokens),
        *_check_ends(report),
        *_check_language(text),
        *_check_identifiers(text),
    )


def _check_sections(report: Report) -> list[tuple[str, str]]:
    if not report.findings:
        return [("report_findings_missing", "the report has an impression only")]
    if not report.impression:
        return [("report_impression_missing", "the report has findings only")]
    if report.findings.lower().split() == report.impression.lower().split():
        message = f"both sections are the same {len(report.findings.split())} words"
        return [("report_sections_equal", message)]
    return []


def _check_length(report: Report, max_tokens: int) -> list[tuple[str, str]]:
    num_words = len(report.findings.split()) + len(report.impression.split())
    if num_words < FEWEST_WORDS:
        return [("report_too_short", f"{num_words} words, {FEWEST_WORDS} are the fewest expected")]
    num_tokens = count_tokens_at_least(report)
    if num_tokens > max_tokens:
        message = f"at least {num_tokens} tokens, the model reads {max_tokens}"
        return [("report_too_long", message)]
    return []


def _check_ends(report: Report) -> list[tuple[str, str]]:
    faults = []
    for name, text in (("findings", report.findings), ("impression", report.impression)):
        if not text:
            continue
        at_limit = len(text) in _FIELD_LIMITS and not _ENDS_WHOLE.search(text)
        if at_limit or _ENDS_OPEN.search(text):
            message = f"the {name} end after {len(text)} characters without an end of a sentence"
            faults.append(("report_truncated", message))
    return faults


def _check_language(text: str) -> list[tuple[str, str]]:
    language = other_language(text)
    return [("report_not_english", f"reads like {language}")] if language else []


def _check_identifiers(text: str) -> list[tuple[str, str]]:
    counts = Counter(each.kind for each in find_identifiers(text))
    num_dates = counts.pop("date", 0)
    faults = []
    if counts:
        shown = ", ".join(f"{kind} {number}" for kind, number in sorted(counts.items()))
        faults.append(("report_identifiers", f"passages that look like identifiers: {shown}"))
    if num_dates:
        faults.append(("report_dates", f"{num_dates} dates finer than a year"))
    return faults
