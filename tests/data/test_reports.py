"""Reports: placeholders are nothing, headings divide, the hash is blind to layout."""

import pytest

from mg3d.data.reports import Report


@pytest.mark.parametrize("text", ["", "  \n", "Not given.", "not given", "N/A", "NaN", "-", "."])
def test_placeholders_are_nothing(text: str) -> None:
    report = Report(text, text)
    assert report.is_empty
    assert report.report_id == ""
    assert report.clauses() == ()


def test_a_normal_short_text_is_no_placeholder() -> None:
    assert Report("None.").findings == "None."
    assert Report("Not given contrast.").findings == "Not given contrast."


def test_whole_reports_divide_at_their_headings() -> None:
    text = "HISTORY: cough.\nFINDINGS:\nNo effusion.\n\nClear lungs.\nIMPRESSION: Normal study.\n"
    report = Report.from_text(text)
    assert report == Report("No effusion.\n\nClear lungs.", "Normal study.")
    assert Report.from_text("Conclusion\nNormal.") == Report("", "Normal.")


def test_text_without_headings_is_findings() -> None:
    text = "Findings of note are absent. Impressions of ribs."
    assert Report.from_text(text) == Report(text)


def test_findings_come_before_the_impression() -> None:
    assert Report("Beta. Gamma.", "Alpha.").clauses() == ("Beta.", "Gamma.", "Alpha.")
    assert Report("Beta, gamma.", "Alpha.").clauses("sen_comma") == ("Beta,", "gamma.", "Alpha.")


def test_the_hash_sees_words_not_layout() -> None:
    assert Report("No  Effusion.\nClear.").report_id == Report("no effusion. clear.").report_id
    assert Report("No effusion.").report_id != Report("Effusion.").report_id
    assert Report("a", "b").report_id != Report("a b").report_id
    assert Report("", "a").report_id != Report("a", "").report_id
