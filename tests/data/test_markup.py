"""HTML and escaped line breaks go; what only looks like them stays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mg3d.data.text.markup import strip_markup

CASES = {
    "No effusion.<br>Clear.": "No effusion.\nClear.",
    "No effusion.<BR/>Clear.": "No effusion.\nClear.",
    "<p>No effusion.</p><p class='x'>Clear.</p>": "\n\nNo effusion.\n\n\n\nClear.\n\n",
    "<ul><li>Nodule.</li><li>Cyst.</li></ul>": "\n\n\n- Nodule.\n\n- Cyst.\n\n\n",
    "<b>FINDINGS:</b> Clear.": "FINDINGS: Clear.",
    "CO<sub>2</sub>": "CO2",
    "<td>Heart</td><td>normal</td>": " Heart  normal ",
    "a &lt;5 mm &amp; stable&nbsp;node": "a <5 mm & stable\xa0node",
    "&amp;lt;5 mm": "<5 mm",
    "&#181;m": "µm",
    "<!-- hidden -->Clear.": " Clear.",
    "<style>p {x: y}</style>Clear.": " Clear.",
    "&lt;br&gt;": "\n",
    "Clear.\\nNo effusion.\\r\\nEnd": "Clear.\nNo effusion.\nEnd",
    "Clear._x000D_\nEnd": "Clear.\nEnd",
    "{\\rtf1\\ansi Clear.\\par <b>End</b>}": "Clear.\nEnd",
}


@pytest.mark.parametrize("text", CASES)
def test_markup_goes(text: str) -> None:
    assert strip_markup(text) == CASES[text]


@pytest.mark.parametrize(
    "text",
    ["nodule <5 mm, >3 mm", "mass\\nodule", "a < b > c", "AT&T", "R&D;", "<patient> seen", "<5 mm"],
)
def test_what_only_looks_like_markup_stays(text: str) -> None:
    assert strip_markup(text) == text


FRAGMENTS = ["<", ">", "b", "br", "/", "p ", "&", "amp;", "lt;", "#38;", "#60;", "\\n", "\\", "A"]


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=40).map("".join))
def test_stripping_again_changes_nothing(text: str) -> None:
    plain = strip_markup(text)
    assert strip_markup(plain) == plain


def test_nested_markup_ends() -> None:
    for text in ("<b" * 5000 + ">" * 5000, "&amp;" * 5000 + "lt;b>", "<!--" * 5000):
        plain = strip_markup(text)
        assert strip_markup(plain) == plain
