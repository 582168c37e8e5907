"""Masked reports: a catalogue whose reports no longer hold what rules take for identifiers."""

from collections import Counter
from dataclasses import replace

from mg3d.data.layouts.catalogue import Catalogue
from mg3d.data.text.identifiers import mask_identifiers
from mg3d.data.text.reports import Report


def mask_reports(catalogue: Catalogue) -> tuple[Catalogue, Counter[str]]:
    """Mask findings and impression of every study, each by itself.

    Args:
        catalogue: All volumes of a study carry its one report.

    Returns:
        The same catalogue with reports in which no rule finds anything, and how many passages of
        each kind were masked; a report that several volumes share counts once.
    """
    counts: Counter[str] = Counter()
    masked: dict[str, Report] = {}
    for row in catalogue.rows:
        if row.study_id not in masked:
            findings, in_findings = mask_identifiers(row.report.findings)
            impression, in_impression = mask_identifiers(row.report.impression)
            masked[row.study_id] = Report(findings, impression, row.report.faults)
            counts += in_findings + in_impression
    rows = tuple(replace(row, report=masked[row.study_id]) for row in catalogue.rows)
    return replace(catalogue, rows=rows), counts
