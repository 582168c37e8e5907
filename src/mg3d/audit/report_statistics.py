"""What the reports of a collection are like: how long, how complete, how often the same."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mg3d.audit.collection import Member
from mg3d.data.faults import Fault
from mg3d.data.reports import Report

_PERCENTILES = (0, 5, 50, 95, 100)
_FEWEST_WORDS = 30
"""Shorter reports are alike because little can be said in them: "Normal chest CT." """


def study_reports(members: Sequence[Member]) -> dict[str, Report]:
    """Study -> its report, empty ones included."""
    return {member.row.study_id: member.row.report for member in members}


def missing_reports(members: Sequence[Member]) -> list[Fault]:
    """One fault a volume without a report: what `prepare` sets aside."""
    return [
        member.fault("report_missing", "no findings, impression or report")
        for member in members
        if member.row.report.is_empty
    ]


def leaked_reports(members: Sequence[Member]) -> list[Fault]:
    """Long reports that different patients of different splits share."""
    groups: dict[str, list[Member]] = {}
    for member in members:
        report = member.row.report
        if len(_words(report)) >= _FEWEST_WORDS:
            groups.setdefault(report.report_id, []).append(member)
    faults = []
    for group in groups.values():
        first = group[0]
        others = [m for m in group if m.row.patient_id != first.row.patient_id]
        across = next((member for member in others if member.split != first.split), None)
        if across is not None:
            patients = len({member.row.patient_id for member in group})
            splits = " and ".join(sorted({member.split for member in group}))
            message = f"one text of {len(_words(first.row.report))} words for {patients} patients"
            faults.append(across.fault("split_leak_report", f"{message}, in {splits}"))
    return faults


def describe_reports(reports: Mapping[str, Report]) -> dict[str, Any]:
    """Counts and lengths for the audit's summary; no text."""
    texts = [report for report in reports.values() if not report.is_empty]
    lengths = [len(_words(report)) for report in texts]
    clauses = [len(report.clauses()) for report in texts]
    repeated = Counter(report.report_id for report in texts)
    return {
        "studies": len(reports),
        "with_report": len(texts),
        "without_findings": sum(not report.findings for report in texts),
        "without_impression": sum(not report.impression for report in texts),
        "distinct": len(repeated),
        "most_repeated": max(repeated.values(), default=0),
        "words": _percentiles(lengths),
        "clauses": _percentiles(clauses),
    }


def _words(report: Report) -> list[str]:
    return [*report.findings.split(), *report.impression.split()]


def _percentiles(values: Sequence[int]) -> list[int]:
    """Smallest, 5 %, median, 95 % and largest."""
    return [int(value) for value in np.percentile(values, _PERCENTILES)] if values else []
