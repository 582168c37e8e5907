"""The small version of benchmarks/phantom_shortcuts.py, which holds the 4,000-study figures."""

import numpy as np
from scipy.stats import rankdata

from mg3d.phantom.findings import FINDINGS
from mg3d.phantom.shortcuts import length_without, metadata


def auroc(labels, numbers):
    """From mean ranks, for every column of ``numbers`` at once."""
    ranks = rankdata(numbers, axis=0)
    positive = labels.sum()
    excess = ranks[labels == 1].sum(0) - positive * (positive + 1) / 2
    return excess / (positive * (len(labels) - positive))


def test_no_number_around_a_study_tells_a_finding(plans):
    rows = [metadata(plan, order) for order, plan in enumerate(plans)]
    table = np.array([list(row.values()) for row in rows], float)
    labels = np.array([plan.labels for plan in plans])
    for k, finding in enumerate(FINDINGS):
        lengths = np.array([length_without(plan.report, k) for plan in plans], float)
        scores = auroc(labels[:, k], np.hstack([table, lengths]))
        # 4.5 deviations of chance at 600 studies and 16 % positives; 650 numbers are tested
        assert np.abs(scores - 0.5).max() < 0.15, finding.name


def test_own_sentences_are_what_is_removed(plans):
    plan = next(plan for plan in plans if 12 in plan.lesions)
    texts = [*plan.report.findings, *plan.report.impression]
    own = [sentence.text for sentence in texts if 12 in sentence.about]
    every_word = sum(len(sentence.text.split()) for sentence in texts)
    words, characters = length_without(plan.report, 12)
    assert len(own) >= 2
    assert words == every_word - sum(len(text.split()) for text in own)
    assert characters > words


def test_the_report_itself_does_tell(plans):
    """The check can fail: with its own sentences the length of a report gives findings away."""
    labels = np.array([plan.labels for plan in plans])
    whole = [
        len(plan.report.findings_text.split()) + len(plan.report.impression_text.split())
        for plan in plans
    ]
    scores = [auroc(labels[:, k], np.array(whole)) for k in range(len(FINDINGS))]
    assert np.mean(scores) > 0.55
