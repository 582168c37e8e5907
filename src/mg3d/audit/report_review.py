"""The reports of a collection: what is wrong with each, what several share, and what they are like.

Counts only, never a word of a report.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from mg3d.audit.collection import Member, plain
from mg3d.data.faults import Fault
from mg3d.data.text.report_corpus import FEWEST_WORDS_OF_A_DUPLICATE, StudyReport, check_corpus
from mg3d.data.text.report_faults import check_report
from mg3d.data.text.reports import Report

_PERCENTILES = (0, 5, 50, 95, 100)


def review_reports(
    members: Sequence[Member], *, max_tokens: int, keep_without_report: bool
) -> tuple[dict[str, Any], list[Fault]]:
    """Look at every report once, and at all of them together.

    Args:
        members: Every volume.
        max_tokens: What a model will read of a report.
        keep_without_report: A volume without a report is no fault.

    Returns:
        Figures for the summary, and the faults.
    """
    studies: dict[str, list[Member]] = {}
    for member in members:
        studies.setdefault(member.row.study_id, []).append(member)
    faults: list[Fault] = []
    for volumes in studies.values():
        report = volumes[0].row.report
        found = check_report(report, max_tokens=max_tokens)
        for kind, message in found:
            if kind != "report_missing":
                faults.append(volumes[0].fault(kind, message))
            elif not keep_without_report:  # each volume of the study is set aside
                faults += [member.fault(kind, message) for member in volumes]
    firsts = [volumes[0] for volumes in studies.values()]
    statistics, shared = check_corpus(
        (
            StudyReport(
                study_id=each.row.study_id, patient_id=each.row.patient_id, report=each.row.report
            )
            for each in firsts
        ),
        max_tokens=max_tokens,
    )
    faults += [_plain_ids(fault) for fault in shared]
    faults += _leaks(firsts)
    return {**asdict(statistics), **_lengths([m.row.report for m in firsts])}, faults


def _plain_ids(fault: Fault) -> Fault:
    return replace(fault, study_id=plain(fault.study_id), patient_id=plain(fault.patient_id))


def _leaks(firsts: Sequence[Member]) -> Iterator[Fault]:
    """Reports that patients of different splits share, unless they are short."""
    groups: dict[str, list[Member]] = {}
    for member in firsts:
        if _num_words(member.row.report) >= FEWEST_WORDS_OF_A_DUPLICATE:
            groups.setdefault(member.row.report.report_id, []).append(member)
    for group in groups.values():
        first = group[0]
        others = [m for m in group if m.row.patient_id != first.row.patient_id]
        across = next((member for member in others if member.split != first.split), None)
        if across is not None:
            patients = len({member.row.patient_id for member in group})
            splits = " and ".join(sorted({member.split for member in group}))
            message = f"one text of {_num_words(first.row.report)} words for {patients} patients"
            yield across.fault("split_leak_report", f"{message}, in {splits}")


def _lengths(reports: Sequence[Report]) -> dict[str, Any]:
    """Smallest, 5 %, median, 95 % and largest number of words and of clauses."""
    texts = [report for report in reports if not report.is_empty]
    words = [_num_words(report) for report in texts]
    clauses = [len(report.clauses()) for report in texts]
    return {
        "without_findings": sum(not report.findings for report in texts),
        "without_impression": sum(not report.impression for report in texts),
        "words": np.percentile(words, _PERCENTILES).astype(int).tolist() if texts else [],
        "clauses": np.percentile(clauses, _PERCENTILES).astype(int).tolist() if texts else [],
    }


def _num_words(report: Report) -> int:
    return len(report.findings.split()) + len(report.impression.split())
