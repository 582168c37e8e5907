"""RTF to text."""
# ruff: noqa: RUF001 - letters of other alphabets are the point here

from hypothesis import given
from hypothesis import strategies as st

from mg3d.data.text.rtf import is_rtf, rtf_to_text

DOCUMENT = (
    r"{\rtf1\ansi\ansicpg1252\deff0{\fonttbl{\f0\fswiss Arial;}}{\colortbl ;\red0\green0\blue0;}"
    r"{\*\generator Some Editor 1.0;}{\info{\author A Person}}\viewkind4\uc1\pard\f0\fs20"
    "\r\n"
    r"\b FINDINGS:\b0\par No effusion\'2e 5 \u8804?  6 mm.\par{\pict\wmetafile8 0123abcd}"
    r"Braces \{x\} and \\.\tab End\~here.\par}"
)


def test_text_of_a_document() -> None:
    assert is_rtf(DOCUMENT)
    assert rtf_to_text(DOCUMENT) == (
        "FINDINGS:\nNo effusion. 5 ≤  6 mm.\nBraces {x} and \\.\tEnd here."
    )


def test_several_fallback_characters_are_dropped() -> None:
    assert rtf_to_text(r"{\rtf1\uc2 a\u8217??b{\uc0\u8217c}\u8217\'3f\'3fd}") == "a’b’c’d"


def test_negative_numbers_and_halves_of_surrogate_pairs() -> None:
    assert rtf_to_text(r"{\rtf1\u-3913?\u55357?x}") == "\uf0b7x"


def test_other_text_is_no_rtf() -> None:
    assert not is_rtf("The {brace} of \\rtf1.")


@given(st.lists(st.sampled_from([*"{}\\'*u1a ", "\\par", "\\u", "{\\rtf1"]), max_size=50))
def test_any_document_ends_as_plain_text(pieces: list[str]) -> None:
    assert not is_rtf(rtf_to_text("{\\rtf1 " + "".join(pieces)))
