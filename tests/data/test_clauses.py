"""The clause splitter on the wording of real reports."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mg3d.data.text.clauses import split_clauses
from mg3d.errors import ConfigError

CASES = {
    "two sentences": "No effusion.|Clear lungs.",
    "semicolon": "Emphysema;|no nodule.",
    "semicolon without space": "Emphysema;|no nodule.",
    "decimal": "Nodule of 2.5 cm.|No effusion.",
    "measurement at the end": "Mass of 3.2 x 1.4 cm.|No effusion.",
    "measurement inside": "Mass of 3.2 cm. in diameter is seen.|No effusion.",
    "measurement then millimetres": "Nodule 5 mm.|Cyst 12 mm.",
    "abbreviations": "Discussed with Dr. Smith, approx. 2 cm, e.g. a cyst vs. nodule.|Clear.",
    "i.e.": "Node, i.e. benign.|Clear.",
    "number": "Lesion no. 3 in segment 4.|Clear.",
    "answer no": "Effusion: no.|Consolidation: no.",
    "figure": "See fig. 3 for details.|Clear.",
    "list": "1. Nodule.|2. Effusion.|3. No change.",
    "letters list": "a. Nodule.|b. Effusion.",
    "list in brackets": "(1) Nodule.|(2) Effusion.",
    "image reference": "Lesion (Image 30/116).|Clear.",
    "stop in brackets": "Lesion (series 5. image 36; see below) is new.|Clear.",
    "sentence in brackets": "(No prior. None.)|Clear.",
    "ellipsis goes on": "Possibly ... a cyst.|Clear.",
    "ellipsis ends": "Difficult to say...|Clear.",
    "no space after the stop": "No effusion.|No nodule.",
    "degree": "Scoliosis grade II.|Clear.",
    "level": "Fracture of T12.|Clear.",
    "no final stop": "Clear lungs.|No effusion",
    "quoted": 'Described as "stable."|Clear.',
    "initial": "Discussed with Dr. J. Smith.|Clear.",
    "initials": "Reviewed by A. B. Smith.|Clear.",
    "abbreviation of letters": "U.S. guided biopsy.|Clear.",
    "letter at the end": "Hepatitis C.|Clear.",
    "saint": "Seen at St. John's.|Clear.",
    "month": "Compared to Jan. 5, 2020.|Clear.",
    "day": "Compared to 03.12.2019.|Clear.",
    "maximum": "SUV max. 3.5.|Clear.",
    "list after a colon": "Impression: 1. Nodule;|2. Effusion.",
    "grade after a colon": "Grade: 1.|Clear.",
    "Roman list": "II. Nodule.|III. Effusion.",
    "brackets inside a line": "1) Nodule|2) Effusion|3) Clear.",
    "bracketed list inside a line": "Impression: (1) Nodule|(2) Effusion.",
    "numbers in brackets": "Nodules (1) and (2) are stable.|Clear.",
    "no space in capitals": "LUNGS CLEAR.|NO EFFUSION.|HEART NORMAL.",
    "no space in small letters": "no effusion.|no nodule.",
    "space before the stop": "No effusion .|No nodule.",
}

TIGHT = {
    "semicolon without space", "no space after the stop", "no space in capitals",
    "no space in small letters", "space before the stop",
}  # fmt: skip
CAPITALS = {
    "no space after the stop", "ellipsis ends", "initial", "initials", "abbreviation of letters",
    "no space in capitals", "space before the stop",
}  # fmt: skip
"""Cases that only capitals tell."""


@pytest.mark.parametrize("name", CASES)
def test_wording(name: str) -> None:
    clauses = tuple(CASES[name].split("|"))
    joiner = "" if name in TIGHT else " "
    assert split_clauses(joiner.join(clauses)) == clauses


@pytest.mark.parametrize("name", sorted(set(CASES) - CAPITALS))
def test_wording_in_lower_case(name: str) -> None:
    clauses = tuple(CASES[name].lower().split("|"))
    joiner = "" if name in TIGHT else " "
    assert split_clauses(joiner.join(clauses)) == clauses


def test_wrapped_lines_join_and_blank_lines_divide() -> None:
    text = "The heart is\nnormal. No\n  effusion\n\nLocation: left hilar region\n\nShape: smooth"
    assert split_clauses(text) == (
        "The heart is normal.", "No effusion", "Location: left hilar region", "Shape: smooth",
    )  # fmt: skip


def test_list_items_on_lines_divide_without_stops() -> None:
    assert split_clauses("- nodule\n- effusion") == ("- nodule", "- effusion")
    assert split_clauses("1. Nodule\n2. Effusion") == ("1. Nodule", "2. Effusion")


def test_short_lines_that_begin_anew_divide_and_wrapped_ones_join() -> None:
    assert split_clauses("Lungs clear\nNo effusion\nHeart normal") == (
        "Lungs clear", "No effusion", "Heart normal",
    )  # fmt: skip
    for wrapped in ("Nodule in the\nRight lobe", "seen in\nthe lung", "Lungs,\nHeart normal"):
        assert split_clauses(wrapped) == (wrapped.replace("\n", " "),)
    long = "The lungs are clear and no pleural effusion is seen on either side of\nHodgkin nodes."
    assert len(split_clauses(long)) == 1


def test_long_texts_without_an_end_are_cut_in_time() -> None:
    """Each took minutes where every stop looked at the whole text before it."""
    for piece in ("e.g. ", "(a). ", "Dr. A. ", "1) ", "a.\n", "A\nB ", "...", "( "):
        assert (
            "".join("".join(split_clauses(piece * 2000)).split())
            == piece.strip().replace(" ", "").replace("\n", "") * 2000
        )


def test_the_comma_rule_cuts_outside_brackets_only() -> None:
    text = "No effusion, pneumothorax or 1,000 nodules (series 5, image 6). Clear."
    assert split_clauses(text) == (text.removesuffix(" Clear."), "Clear.")
    assert split_clauses(text, "sen_comma") == (
        "No effusion,", "pneumothorax or 1,000 nodules (series 5, image 6).", "Clear.",
    )  # fmt: skip


def test_an_unclosed_bracket_does_not_swallow_the_report() -> None:
    assert split_clauses("Lesion (image 3. Clear. No effusion.") == (
        "Lesion (image 3.", "Clear.", "No effusion.",
    )  # fmt: skip


def test_unknown_rules_are_refused() -> None:
    with pytest.raises(ConfigError, match="choose one of sentence, sen_comma"):
        split_clauses("a.", "words")  # type: ignore[arg-type]


WORDS = st.sampled_from(
    [
        "no",
        "No",
        "effusion",
        "2.5",
        "cm.",
        "dr.",
        "approx.",
        ";",
        ",",
        ".",
        "...",
        "(image",
        "3.",
        ")",
        "1.",
        "\n",
        "\n\n",
        "e.g.",
        "T12.",
        "a;b",
        "ab.Cd",
    ]
)


@given(st.one_of(st.text(), st.lists(WORDS).map(" ".join)))
def test_nothing_is_lost_added_or_reordered(text: str) -> None:
    for rule in ("sentence", "sen_comma"):
        clauses = split_clauses(text, rule)  # type: ignore[arg-type]
        assert "".join("".join(clauses).split()) == "".join(text.split())
        assert all(clause == " ".join(clause.split()) for clause in clauses)
        assert "" not in clauses
        if len(clauses) > 1:
            assert all(any(c.isalnum() for c in clause) for clause in clauses[1:])


@pytest.mark.real_data
def test_real_reports_have_whole_clauses(real_reports: list[dict[str, str]]) -> None:
    texts = [report[name] for report in real_reports for name in ("findings", "impression")]
    clauses = [clause for text in texts for clause in split_clauses(text)]
    # Counted by reading them: eight reports with list numbers, decimals and image references.
    assert len(clauses) == 145
    assert not [c for c in clauses if c.endswith(("Dr.", "vs.")) or c.strip("1234567890.") == ""]
    assert all(clause.count("(") == clause.count(")") for clause in clauses)
