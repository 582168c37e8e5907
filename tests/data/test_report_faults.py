"""Each fault of a report is named, no sound report is blamed, and nothing is quoted."""

from pathlib import Path

import pytest

from mg3d.data.faults import FAULTS
from mg3d.data.text.report_faults import check_report
from mg3d.data.text.reports import Report
from mg3d.phantom.settings import PhantomConfig
from mg3d.phantom.study import plan_study

SOUND = "The heart is normal in size. No pleural effusion."
PLANTED = {
    "report_missing": Report("Not given.", ""),
    "report_findings_missing": Report("", SOUND),
    "report_impression_missing": Report(SOUND, ""),
    "report_sections_equal": Report(SOUND, SOUND.upper()),
    "report_too_short": Report("See prior.", "As above."),
    "report_too_long": Report(SOUND * 40, "Normal heart size."),
    "report_truncated": Report("There is a nodule in the", SOUND),
    "report_not_english": Report("Kein Erguss und keine Rundherde in der Lunge.", "Normales Herz."),
    "report_identifiers": Report(f"{SOUND} Discussed with Dr. Velt.", "Normal heart size."),
    "report_dates": Report(f"{SOUND} Compared with 12.03.2020.", "Normal heart size."),
    "report_encoding": Report(f"{SOUND} Nodule â‰¥ 5 mm.", "Normal heart size."),
    "report_markup": Report(f"<p>{SOUND}</p>", "Normal heart size."),
    "report_section_left_out": Report.from_text(f"HISTORY: cough.\nFINDINGS: {SOUND}\nIMP: Fine."),
    "report_section_unknown": Report.from_text(
        f"HISTORY: cough.\nZEBRA: x.\nFINDINGS: {SOUND}\nIMPRESSION: Fine."
    ),
}


@pytest.mark.parametrize("kind", PLANTED)
def test_planted_faults_are_named(kind: str) -> None:
    found = check_report(PLANTED[kind])
    names = [name for name, _ in found]
    allowed = {kind} | ({"report_section_left_out"} if kind == "report_section_unknown" else set())
    assert kind in names
    assert set(names) <= allowed
    assert set(names) <= FAULTS.keys()


@pytest.mark.parametrize("kind", PLANTED)
def test_messages_quote_no_word_of_the_report(kind: str) -> None:
    report = PLANTED[kind]
    own = {"heart", "velt", "nodule", "zebra", "cough", "effusion", "2020", "herz", "prior"}
    for _, message in check_report(report):
        assert not own & set(message.lower().replace(".", " ").split())


def test_a_text_as_long_as_a_database_field_is_cut() -> None:
    text = (SOUND + " ") * 20
    assert "report_truncated" in dict(check_report(Report(text[:255], "Normal heart size.")))
    assert "report_truncated" not in dict(check_report(Report(text[:257], "Normal heart size.")))
    whole = text[:254].rstrip() + "."
    assert "report_truncated" not in dict(check_report(Report(whole.ljust(255, "."), SOUND)))


def test_the_length_is_what_the_model_reads() -> None:
    report = Report(SOUND, "Normal heart size.")
    assert check_report(report, max_tokens=17) == ()
    assert dict(check_report(report, max_tokens=16)) == {
        "report_too_long": "at least 17 tokens, the model reads 16"
    }


def test_reports_of_the_phantom_are_sound() -> None:
    settings = PhantomConfig(out=Path("unused"), seed=4712)
    for index in range(200):
        plan = plan_study(settings, "train", index).report
        report = Report(plan.findings_text, plan.impression_text)
        assert {name for name, _ in check_report(report)} <= {"report_too_long"}


@pytest.mark.real_data
def test_real_reports_are_sound(real_reports: list[dict[str, str]]) -> None:
    """Expected by reading them: one has 250 words and marks, one impression names a date."""
    names = [
        name
        for report in real_reports
        for name, _ in check_report(Report(report["findings"], report["impression"]))
    ]
    assert sorted(names) == ["report_dates", "report_too_long"]
