"""Which words are headings, and where."""
# ruff: noqa: RUF001 - letters of other alphabets are the point here

import pytest

from mg3d.data.text.headings import find_headings, kind_of

HEADINGS = {
    "FINDINGS:": "findings", "Findings:": "findings", "findings :": "findings",
    "FINDINGS": "findings", "**Findings:**": "findings", "**Findings**:": "findings",
    "__FINDINGS__": "findings", "## Findings": "findings", "1. FINDINGS:": "findings",
    "(2) Findings:": "findings", "II. FINDINGS": "findings", "[FINDINGS]": "findings",
    "FINDINGS/IMPRESSION:": "findings", "CT CHEST FINDINGS:": "findings",
    "Findings and Impression:": "findings", "FINDINGS.": "findings",
    "Impression - ": "impression", "IMPRESSION –": "impression", "IMPRESSIONS:": "impression",
    "CONCLUSION:": "impression", "Opinion:": "impression", "SUMMARY:": "impression",
    "Impression & Recommendations:": "impression", "INTERPRETATION:": "interpretation",
    "REPORT:": "text", "BODY:": "text", "Technique:": "technique", "CT PROTOCOL:": "technique",
    "Clinical information:": "clinical", "INDICATION:": "clinical", "Reason for exam:": "clinical",
    "COMPARISON:": "comparison", "Electronically signed by:": "administrative",
    "PLEURA:": "unknown",
}  # fmt: skip
TEXTS = [
    "Findings of note are absent.", "history.", "Impressions of ribs", "Study - limited by motion",
    "Lungs: clear", "Lymph nodes Normal.", "Other findings: None.", "No focal findings: clear",
    "the findings are: none", "A:", "1. Nodule", "results", "Summary of the case", "- nodule",
]  # fmt: skip


@pytest.mark.parametrize("line", HEADINGS)
def test_headings_at_the_start_of_a_line(line: str) -> None:
    for after in ("", " Clear.") if line.rstrip()[-1] in ":-–" else ("", "\n"):
        found = list(find_headings(f"Text before.\n{line}{after}"))
        assert [heading.kind for heading in found] == [HEADINGS[line]]
        assert found[0].start == len("Text before.\n")


@pytest.mark.parametrize("line", TEXTS)
def test_text_is_no_heading(line: str) -> None:
    assert list(find_headings(f"Text before.\n{line}\nText after.")) == []


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("HISTORY: cough. TECHNIQUE: CT. FINDINGS: Clear. IMPRESSION: Normal.",
         ["clinical", "technique", "findings", "impression"]),
        ("Findings: Clear. Impression: Normal.", ["findings", "impression"]),
        ("findings: clear. impression: normal.", ["findings", "impression"]),
        ("Cough for weeks FINDINGS: Clear", ["findings"]),
        ("HISTORY: TECHNIQUE: FINDINGS: Clear.", ["clinical", "technique", "findings"]),
        ("NO ACUTE FINDINGS: CLEAR. IMPRESSION: NORMAL", ["unknown", "impression"]),
        ("See the impression: it is normal.", []),
        ("Clear. Study: limited. Results: pending.", []),
    ],
)  # fmt: skip
def test_headings_inside_a_line(text: str, kinds: list[str]) -> None:
    assert [heading.kind for heading in find_headings(text)] == kinds


def test_positions_cut_out_the_heading() -> None:
    text = "x\n 1. **FINDINGS:** Clear. IMPRESSION: Normal"
    bodies = [text[heading.start : heading.end] for heading in find_headings(text)]
    assert bodies == [" 1. **FINDINGS:**", "IMPRESSION:"]


def test_names_are_blind_to_case_space_and_signs() -> None:
    assert kind_of("Findings /  IMPRESSION") == "findings"
    assert kind_of("assessment & plan") == "impression"
    assert kind_of("heart") is None
