"""Reports: placeholders are nothing, texts are clean, the hash is blind to layout."""

import pickle
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mg3d.data.faults import FAULTS
from mg3d.data.text.reports import Report
from mg3d.files import sha256


@pytest.mark.parametrize(
    "text",
    ["", "  \n", "Not given.", "not given", "N/A", "NaN", "-", ".", "n.a.", "[Not given]", "***",
     '"Not provided."', "<p>Not given.</p>", "NOT APPLICABLE", "&nbsp;", "--\n--", "null", "<NA>"],
)  # fmt: skip
def test_placeholders_are_nothing(text: str) -> None:
    report = Report(text, text)
    assert report.is_empty
    assert report.report_id == ""
    assert report.clauses() == ()


def test_a_normal_short_text_is_no_placeholder() -> None:
    assert Report("None.").findings == "None."
    assert Report("Not given contrast.").findings == "Not given contrast."
    assert Report("胸水なし").findings == "胸水なし"


def test_whole_reports_divide_at_their_headings() -> None:
    text = "HISTORY: cough.\nFINDINGS:\nNo effusion.\n\nClear lungs.\nIMPRESSION: Normal study.\n"
    report = Report.from_text(text)
    assert report == Report("No effusion.\n\nClear lungs.", "Normal study.")
    assert report.faults == (("report_section_left_out", "words that are not read: clinical 1"),)
    assert Report.from_text("Conclusion\nNormal.") == Report("", "Normal.")


def test_text_without_headings_is_findings() -> None:
    text = "Findings of note are absent. Impressions of ribs."
    assert Report.from_text(text) == Report(text)
    assert Report.from_text(text).faults == ()


def test_headings_inside_markup_divide() -> None:
    report = Report.from_text("<b>FINDINGS:</b><br>No effusion.<br><b>IMPRESSION:</b><br>Normal.")
    assert report == Report("No effusion.", "Normal.")
    assert [kind for kind, _ in report.faults] == ["report_markup"]


def test_placeholders_below_headings_are_nothing() -> None:
    assert Report.from_text("FINDINGS: Not given.\nIMPRESSION: Normal.") == Report("", "Normal.")


def test_what_was_noticed_is_named_and_quotes_nothing() -> None:
    report = Report.from_text(
        "HISTORY: secret\nZEBRA: secret\nFINDINGS: <b>Nodule</b> â‰¥ 5 mm \ufffd.\nIMPRESSION: x."
    )
    assert report.findings == "Nodule ≥ 5 mm \ufffd."
    assert [kind for kind, _ in report.faults] == [
        "report_markup", "report_encoding", "report_section_left_out", "report_section_unknown",
    ]  # fmt: skip
    assert all(kind in FAULTS for kind, _ in report.faults)
    told = " ".join(message for _, message in report.faults).lower()
    assert not any(word in told for word in ("secret", "zebra", "nodule"))
    assert dict(report.faults)["report_encoding"] == "2 characters repaired, 1 lost for good"


def test_faults_neither_make_reports_differ_nor_show() -> None:
    assert Report("<b>Clear.</b>") == Report("Clear.")
    assert hash(Report("<b>Clear.</b>")) == hash(Report("Clear."))
    assert "report_markup" not in repr(Report("<b>Clear.</b>"))


def test_findings_come_before_the_impression() -> None:
    assert Report("Beta. Gamma.", "Alpha.").clauses() == ("Beta.", "Gamma.", "Alpha.")
    assert Report("Beta, gamma.", "Alpha.").clauses("sen_comma") == ("Beta,", "gamma.", "Alpha.")


def test_the_hash_sees_words_not_layout() -> None:
    assert Report("No  Effusion.\nClear.").report_id == Report("no effusion. clear.").report_id
    assert Report("No effusion.").report_id != Report("Effusion.").report_id
    assert Report("a", "b").report_id != Report("a b").report_id
    assert Report("", "a").report_id != Report("a", "").report_id


@pytest.mark.parametrize(
    ("findings", "impression"),
    [
        ("The heart is normal in size. No pleural effusion.", "1. No acute finding."),
        ("Nodule of <5 mm; 2.2 x 1.4 cm mass & node (Image 30/116).", ""),
    ],
)
def test_plain_texts_keep_their_hash(findings: str, impression: str) -> None:
    """Stores name reports by it; a new way to clean must not touch what needs no cleaning."""
    joined = "\x1f".join(" ".join(text.lower().split()) for text in (findings, impression))
    assert Report(findings, impression).report_id == sha256(joined.encode())[:16]


TEXT = st.one_of(
    st.text(),
    st.lists(
        st.sampled_from(
            ["<b>", "</b>", "<br>", "&lt;", "&amp;", "â€™", "Ã©", "\\n", "{\\rtf1 ", "}", "\r\n",
             "\x00", "Findings:", "IMPRESSION:", "HISTORY: ", "a.", " ", "Not given.", "-", "\\'3c"]
        ),
        max_size=20,
    ).map("".join),
)  # fmt: skip


@given(TEXT, TEXT)
def test_a_report_of_a_report_is_the_same(findings: str, impression: str) -> None:
    report = Report(findings, impression)
    again = Report(report.findings, report.impression)
    assert again == report
    assert again.report_id == report.report_id
    assert replace(report) == report
    assert pickle.loads(pickle.dumps(report)) == report
    whole = Report.from_text(findings)
    assert Report(whole.findings, whole.impression) == whole
