"""UTF-8 read as Windows-1252 comes back; nothing else changes."""
# ruff: noqa: RUF001 - letters of other alphabets are the point here

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mg3d.data.text.mojibake import count_lost, repair

TEXTS = ["≥ 5 mm", "2 × 3 cm", "20°", "µg", "α1", "patient’s", "“stable”", "nodule – 4 mm", "naïve"]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("times", [1, 2, 3])
def test_misread_text_comes_back(text: str, times: int) -> None:
    damaged = text
    for _ in range(times):
        data = damaged.encode("utf-8")
        # Windows-1252 leaves five bytes without a meaning; programs fall back to Latin-1 there.
        damaged = "".join(
            bytes([byte]).decode("latin-1" if byte in (0x81, 0x8D, 0x8F, 0x90, 0x9D) else "cp1252")
            for byte in data
        )
    assert damaged != text
    repaired, num = repair(damaged)
    assert repaired == text
    assert num > 0


@pytest.mark.parametrize(
    "text", [*TEXTS, "São Paulo", "NÃO HÁ", "Größe, ≤ 3 mm", "胸水", "a\tb\nc"]
)
def test_sound_text_stays(text: str) -> None:
    assert repair(text) == (text, 0)


def test_what_prints_nothing_goes_and_separators_break_lines() -> None:
    assert repair("\ufeffNo\x00 effu\u00adsion\u200b.\x0cClear.\u2028End.")[0] == (
        "No effusion.\nClear.\nEnd."
    )


def test_lost_characters_stay_and_are_counted() -> None:
    text = "5 \ufffd 3 mm \ufffd"
    assert repair(text)[0] == text
    assert count_lost(text) == 2


@given(st.text(alphabet=st.one_of(st.characters(), st.sampled_from("ÃÂâ€™°â©\x9d"))))
def test_repairing_again_changes_nothing(text: str) -> None:
    repaired, _ = repair(text)
    assert repair(repaired) == (repaired, 0)
    assert len(repaired) <= len(text)
