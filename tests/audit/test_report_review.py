"""Reports: each study once, texts that patients share, and figures without words."""

import json

from made_members import made

from mg3d.audit.report_review import review_reports
from mg3d.data.text.reports import Report

LONG = Report(
    "The lungs are clear without nodule or consolidation. The heart is normal in size. There is no "
    "pleural effusion and no enlarged lymph node in the mediastinum.",
    "No acute finding in the chest.",
)


def review(*members, keep_without_report=False):  # type: ignore[no-untyped-def]
    return review_reports(members, max_tokens=250, keep_without_report=keep_without_report)


def other(number: int) -> Report:
    return Report(f"{LONG.findings} A nodule of {number + 3} mm lies in lobe {number}.", "Nodule.")


def test_each_study_counts_once_and_each_volume_without_a_report_is_named() -> None:
    one = made(1, report=other(1))
    again = made(2, report=other(1), study_id="s1", patient_id="p1")
    empty = [made(number, report=Report(), study_id="s3") for number in (3, 4)]
    figures, faults = review(one, again, *empty)
    assert (figures["num_reports"], figures["num_empty"]) == (2, 1)
    assert [(f.kind, f.volume_id) for f in faults] == [
        ("report_missing", "v3"), ("report_missing", "v4"),
    ]  # fmt: skip
    _, faults = review(one, again, *empty, keep_without_report=True)
    assert faults == []


def test_a_text_of_two_patients_is_a_duplicate_and_across_splits_a_leak() -> None:
    same = [made(1, report=LONG), made(2, report=LONG), made(3, report=other(3))]
    figures, faults = review(*same)
    assert {(f.kind, f.study_id) for f in faults} == {
        ("report_duplicate", "s1"), ("report_duplicate", "s2"),
    }  # fmt: skip
    assert figures["num_different"] == 2
    _, faults = review(made(1, report=LONG), made(2, report=LONG, split="test"))
    leak = next(fault for fault in faults if fault.kind == "split_leak_report")
    assert leak.message == "one text of 33 words for 2 patients, in test and train"
    assert leak.volume_id == "v2"


def test_short_reports_and_those_of_one_patient_do_not_leak() -> None:
    short = Report("Normal chest without any finding.", "Normal.")
    _, faults = review(made(1, report=short), made(2, report=short, split="test"))
    assert faults == []
    _, faults = review(made(1, report=LONG), made(2, report=LONG, split="test", patient_id="p1"))
    assert [fault.kind for fault in faults] == []


def test_lengths_are_told_and_words_are_not() -> None:
    members = [made(number, report=other(number)) for number in range(5)]
    figures, faults = review(*members, made(9, report=Report("Nodule of 3 mm, nothing else here.")))
    assert figures["words"][-1] == 37
    assert figures["words"][0] == 7
    assert (figures["without_impression"], figures["without_findings"]) == (1, 0)
    assert "lobe" not in json.dumps(figures) + "".join(fault.message for fault in faults)
    assert review()[0]["words"] == []
