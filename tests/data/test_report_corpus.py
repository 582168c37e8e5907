"""Texts that patients share: copies, templates, and neither."""

from collections import Counter
from pathlib import Path

from mg3d.data.text.report_corpus import FEWEST_PATIENTS_OF_A_TEMPLATE, StudyReport, check_corpus
from mg3d.data.text.reports import Report
from mg3d.phantom.settings import PhantomConfig
from mg3d.phantom.study import plan_study

LONG = (
    "The heart is normal in size and contour without pericardial effusion. The lungs are clear. No"
    " pleural effusion or pneumothorax is seen on either side today."
)
MEASURED = LONG + " There is a 4.4 x 3.4 cm mass in the left upper lobe."


def _corpus(*texts: str, patients: str = "") -> list[StudyReport]:
    owners = patients or "abcdefghijklmnopqrst"[: len(texts)]
    return [
        StudyReport(study_id=f"s{number}", patient_id=owner, report=Report(text))
        for number, (text, owner) in enumerate(zip(texts, owners, strict=True))
    ]


def test_a_text_of_two_patients_is_a_duplicate() -> None:
    _, faults = check_corpus(_corpus(LONG, LONG.upper(), "Another.", ""))
    assert [(f.kind, f.study_id, f.patient_id) for f in faults] == [
        ("report_duplicate", "s0", "a"), ("report_duplicate", "s1", "b"),
    ]  # fmt: skip
    assert faults[0].message == "1 other patients have the same text"


def test_two_studies_of_one_patient_may_say_the_same() -> None:
    assert check_corpus(_corpus(LONG, LONG, patients="aa"))[1] == ()


def test_short_reports_of_two_patients_may_be_equal() -> None:
    assert check_corpus(_corpus("No acute finding.", "No acute finding."))[1] == ()


def test_a_text_of_many_patients_is_a_template() -> None:
    many = FEWEST_PATIENTS_OF_A_TEMPLATE
    statistics, faults = check_corpus(_corpus(*[LONG] * many, "Another finding."))
    assert [fault.kind for fault in faults] == ["report_template"] * many
    assert statistics.share_template == many / (many + 1)
    assert check_corpus(_corpus(*[LONG] * (many - 1)))[1][0].kind == "report_duplicate"


def test_templates_are_blind_to_numbers() -> None:
    texts = [f"Normal chest. The aorta measures {20 + number}.5 mm." for number in range(6)]
    statistics, faults = check_corpus(_corpus(*texts))
    assert {fault.kind for fault in faults} == {"report_template"}
    assert statistics.num_different == 6
    assert statistics.share_shared == 0


def test_equal_millimetres_are_a_copy_however_many_patients_have_them() -> None:
    _, faults = check_corpus(_corpus(*[MEASURED] * 7))
    assert {fault.kind for fault in faults} == {"report_duplicate"}


def test_statistics_against_counting_by_hand() -> None:
    reports = _corpus("Clear lungs. Nodule of 5 mm.", "Clear lungs. Nodule of 7 mm.", "Mass.", "")
    statistics, _ = check_corpus(reports, max_tokens=8)
    assert (statistics.num_reports, statistics.num_empty, statistics.num_different) == (4, 1, 3)
    assert (statistics.median_words, statistics.most_words) == (6, 6)
    assert statistics.share_too_long == 2 / 3  # 6 words, 2 stops, 2 special tokens are 10
    assert statistics.share_boilerplate == 4 / 5  # two clauses of two patients, "Mass." of one
    empty, faults = check_corpus([])
    assert (empty.num_reports, empty.median_words, empty.share_boilerplate) == (0, 0, 0)
    assert faults == ()


def test_reports_of_the_phantom_are_their_own() -> None:
    settings = PhantomConfig(out=Path("unused"), seed=4713)
    plans = [plan_study(settings, "train", index) for index in range(300)]
    statistics, faults = check_corpus(
        StudyReport(
            study_id=plan.study_id,
            patient_id=plan.patient_id,
            report=Report(plan.report.findings_text, plan.report.impression_text),
        )
        for plan in plans
    )
    assert Counter(fault.kind for fault in faults) == {}
    assert statistics.share_shared == 0
