"""Whole reports cut at their headings: what is read, what is left out and counted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mg3d.data.text.sections import split_sections

CASES = {
    "plain": (
        "HISTORY: cough.\nFINDINGS:\nNo effusion.\n\nClear lungs.\nIMPRESSION: Normal study.\n",
        "No effusion.\n\nClear lungs.", "Normal study.", {"clinical": 1},
    ),
    "one line": (
        "HISTORY: cough. TECHNIQUE: CT, no contrast. FINDINGS: No effusion. IMPRESSION: Normal.",
        "No effusion.", "Normal.", {"clinical": 1, "technique": 3},
    ),
    "bold and numbered": (
        "1. **Findings:** Clear.\n2. **Impression:** Normal.", "Clear.", "Normal.", {},
    ),
    "both in one": ("FINDINGS/IMPRESSION: Clear lungs.", "Clear lungs.", "", {}),
    "subheadings stay": (
        "FINDINGS:\nLUNGS: Clear.\nHEART: Normal.\nOther findings: None.\nIMPRESSION: Normal.",
        "LUNGS: Clear.\nHEART: Normal.\nOther findings: None.", "Normal.", {},
    ),
    "no heading for findings, organs instead": (
        "CT CHEST 1/1/2000\nTECHNIQUE: CT.\nLUNGS: Clear.\nHEART: Normal.\nOPINION: Normal.",
        "LUNGS: Clear.\n\nHEART: Normal.", "Normal.", {"other": 3, "technique": 1},
    ),
    "no heading for findings, text above": (
        "The lungs are clear and the heart is normal.\n\nCONCLUSION: Normal.",
        "The lungs are clear and the heart is normal.", "Normal.", {},
    ),
    "no heading for findings, later paragraphs": (
        "Technique: CT chest.\n\nThe heart is normal.\n\nImpression: Normal",
        "The heart is normal.", "Normal", {"technique": 2},
    ),
    "a title is left out": (
        "CT chest with contrast.\nFINDINGS: Clear.", "Clear.", "", {"other": 4},
    ),
    "an aside in the findings": (
        "FINDINGS:\nComparison: CT of 2019.\nLungs are clear.\nIMPRESSION: Normal.",
        "Lungs are clear.", "Normal.", {"comparison": 3},
    ),
    "technique at the end": (
        "FINDINGS: Clear.\nIMPRESSION: Normal.\nTECHNIQUE: CT. 5 mm.\nNo contrast.",
        "Clear.", "Normal.", {"technique": 5},
    ),
    "signature": (
        "FINDINGS: Clear.\nIMPRESSION: Normal.\nElectronically signed by: A. B.\nTel. 1",
        "Clear.", "Normal.", {"administrative": 4},
    ),
    "report as a frame": (
        "REPORT:\nINDICATION: cough. fever.\nFINDINGS: Clear.\nSUMMARY: Normal.",
        "Clear.", "Normal.", {"clinical": 2},
    ),
    "report instead of findings": (
        "REPORT: Clear.\nINTERPRETATION: Normal.", "Clear.", "Normal.", {},
    ),
    "interpretation instead of findings": (
        "HISTORY: cough.\nINTERPRETATION: Clear.", "Clear.", "", {"clinical": 1},
    ),
    "two scans": (
        "FINDINGS: Chest clear.\nIMPRESSION: One.\nFINDINGS: Liver normal.\nIMPRESSION: Two.",
        "Chest clear.\n\nLiver normal.", "One.\n\nTwo.", {},
    ),
    "addendum": ("IMPRESSION: Normal.\nADDENDUM: A nodule.", "", "Normal.\n\nA nodule.", {}),
    "none": ("Findings of note are absent.", "Findings of note are absent.", "", {}),
    "history only": ("HISTORY: cough.", "", "", {"clinical": 1}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_sections(name: str) -> None:
    text, findings, impression, left_out = CASES[name]
    sections = split_sections(text)
    assert (sections.findings, sections.impression) == (findings, impression)
    assert sections.num_words_left_out == left_out


def test_unknown_headings_whose_text_is_lost_are_counted() -> None:
    text = "HISTORY: cough.\nWIDGET: one two.\nFINDINGS: Clear.\nGADGET: kept.\nIMPRESSION: Normal."
    sections = split_sections(text)
    assert sections.num_unknown == 1
    assert sections.num_words_left_out == {"clinical": 1, "other": 2}
    assert sections.findings == "Clear.\nGADGET: kept."


LINES = st.lists(
    st.sampled_from(
        ["FINDINGS:", "IMPRESSION: ", "TECHNIQUE:", "HISTORY: ", "LUNGS:", "REPORT:", "COMMENT: ",
         "a clear lung.", "no effusion, ", "\n", "\n\n", " ", "Comparison: 2019.", "Signed by: x",
         "Impression - ", "1. ", "**Findings**: "]
    ),
    max_size=20,
).map("".join)  # fmt: skip


@given(st.one_of(LINES, st.text()))
def test_every_word_is_read_or_counted_once(text: str) -> None:
    sections = split_sections(text)
    num_read = len(f"{sections.findings} {sections.impression}".split())
    num_left_out = sum(sections.num_words_left_out.values())
    assert num_read + num_left_out <= len(text.split()) + 2 * text.count(":")
    position = 0  # what is read stands in the text, in its order
    for word in sections.findings.split():
        position = text.index(word, position) + len(word)


@given(LINES)
def test_words_are_never_lost_without_count(text: str) -> None:
    """Words that are no part of any heading come out somewhere."""
    sections = split_sections(text)
    num_read = f"{sections.findings} {sections.impression}".count("effusion")
    if not sections.num_words_left_out:
        assert num_read == text.count("effusion")
    else:
        assert num_read <= text.count("effusion")
