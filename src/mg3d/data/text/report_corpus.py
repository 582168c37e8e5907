"""What only shows over all reports of a site: texts that several patients share, and statistics.

Messages hold counts, never a word of a report.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median

from mg3d.data.faults import Fault
from mg3d.data.text.reports import Report
from mg3d.data.text.token_count import DEFAULT_MAX_TOKENS, count_tokens_at_least

FEWEST_PATIENTS_OF_A_TEMPLATE = 5
"""As many patients with one text make it a template of the site; fewer look like a slip."""
FEWEST_WORDS_OF_A_DUPLICATE = 20
"""Shorter reports ("No acute finding.") may be equal by chance."""
_COMMON_SHARE = 0.05
"""Of all patients: a clause that more of them have counts as boiler-plate."""
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_MEASURE = re.compile(r"\d\s*(?:mm|cm)\b", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class StudyReport:
    """The report of one study."""

    study_id: str
    patient_id: str
    report: Report


@dataclass(frozen=True, kw_only=True)
class CorpusStatistics:
    """Reports in numbers; shares are of the reports that are not empty, 0 where there are none."""

    num_reports: int
    num_empty: int
    num_different: int
    """Different texts, blind to case and white space."""
    median_words: float
    most_words: int
    share_too_long: float
    """Reports that a model with ``max_tokens`` cannot read to their end, at least."""
    share_shared: float
    """Reports whose text another patient has too."""
    share_template: float
    """Reports that differ at most in numbers from those of at least
    `FEWEST_PATIENTS_OF_A_TEMPLATE` - 1 other patients."""
    share_boilerplate: float
    """Clauses that stand in the reports of more than 5 % of the patients (and at least two)."""


def check_corpus(
    reports: Iterable[StudyReport], *, max_tokens: int = DEFAULT_MAX_TOKENS
) -> tuple[CorpusStatistics, tuple[Fault, ...]]:
    """Compare all reports with each other.

    Args:
        reports: One entry a study.
        max_tokens: What the model will read of a report.

    Returns:
        The statistics, and one fault a report whose text others share: a template if many patients
        have it but for its numbers, a duplicate if a few have it word by word.
    """
    everything = list(reports)
    filled = [each for each in everything if not each.report.is_empty]
    templates = _share(filled, _without_numbers)
    texts = _share(filled, lambda report: report.report_id)
    faults = []
    num_template = num_shared = 0
    for each in filled:
        num_equal = len(texts[each.report.report_id])
        num_alike = len(templates[_without_numbers(each.report)])
        num_template += num_alike >= FEWEST_PATIENTS_OF_A_TEMPLATE
        num_shared += num_equal > 1
        kind, num_patients = _shared_kind(each.report, num_equal, num_alike)
        if kind:
            faults.append(
                Fault(
                    kind=kind,
                    message=f"{num_patients - 1} other patients have the same text",
                    study_id=each.study_id,
                    patient_id=each.patient_id,
                )
            )
    return _statistics(everything, filled, num_shared, num_template, max_tokens), tuple(faults)


def _shared_kind(report: Report, num_equal: int, num_alike: int) -> tuple[str, int]:
    """Fault name ("" for none) and number of patients who share the text."""
    text = f"{report.findings} {report.impression}"
    is_copy = num_equal > 1 and len(text.split()) >= FEWEST_WORDS_OF_A_DUPLICATE
    # Equal millimetres in several patients are a copy, however many they are.
    if is_copy and _MEASURE.search(text):
        return "report_duplicate", num_equal
    if num_alike >= FEWEST_PATIENTS_OF_A_TEMPLATE:
        return "report_template", num_alike
    return ("report_duplicate", num_equal) if is_copy else ("", 0)


def _share(reports: list[StudyReport], key: Callable[[Report], str]) -> dict[str, set[str]]:
    """Patients by what their reports have in common."""
    patients: dict[str, set[str]] = defaultdict(set)
    for each in reports:
        patients[key(each.report)].add(each.patient_id)
    return patients


def _without_numbers(report: Report) -> str:
    """Hash of a report that is blind to its numbers."""
    return Report(_NUMBER.sub("0", report.findings), _NUMBER.sub("0", report.impression)).report_id


def _statistics(
    everything: list[StudyReport],
    filled: list[StudyReport],
    num_shared: int,
    num_template: int,
    max_tokens: int,
) -> CorpusStatistics:
    num_words = [
        len(each.report.findings.split()) + len(each.report.impression.split()) for each in filled
    ]
    too_long = sum(count_tokens_at_least(each.report) > max_tokens for each in filled)
    among = max(len(filled), 1)
    return CorpusStatistics(
        num_reports=len(everything),
        num_empty=len(everything) - len(filled),
        num_different=len({each.report.report_id for each in filled}),
        median_words=float(median(num_words)) if num_words else 0.0,
        most_words=max(num_words, default=0),
        share_too_long=too_long / among,
        share_shared=num_shared / among,
        share_template=num_template / among,
        share_boilerplate=_boilerplate(filled),
    )


def _boilerplate(reports: list[StudyReport]) -> float:
    """Share of clauses that many patients have word by word, but for numbers."""
    patients: dict[str, set[str]] = defaultdict(set)
    counts: Counter[str] = Counter()
    for each in reports:
        for clause in each.report.clauses():
            bare = _NUMBER.sub("0", clause.lower())
            patients[bare].add(each.patient_id)
            counts[bare] += 1
    num_patients = len({each.patient_id for each in reports})
    fewest = max(2, math.floor(_COMMON_SHARE * num_patients) + 1)
    common = sum(counts[clause] for clause, those in patients.items() if len(those) >= fewest)
    return common / max(counts.total(), 1)
