"""`mg3d layouts` names every layout, what it expects, and explains one."""

import re
from pathlib import Path

import pytest

from mg3d.cli import main
from mg3d.data.layouts.layout import layouts as known
from mg3d.data.layouts.listing import LayoutsConfig, explain, layouts


def test_all_are_listed_with_what_they_expect(capsys: pytest.CaptureFixture[str]) -> None:
    layouts(LayoutsConfig())
    lines = capsys.readouterr().out.splitlines()
    for layout in known().values():
        assert layout.name in lines
    words = " ".join(" ".join(lines).split())
    assert all(f"expects {layout.expects}" in words for layout in known().values())


@pytest.mark.parametrize("name", known())
def test_each_is_explained(name: str) -> None:
    text = explain(known()[name])
    assert text.startswith(f"{name}: {known()[name].summary}")
    assert len(text.splitlines()) >= 6  # the words of its module


def test_the_reference_page_has_a_row_for_each() -> None:
    page = Path(__file__).parents[3] / "docs" / "reference" / "layouts.md"
    rows = re.findall(r"^\| `(\w+)` \|", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sorted(rows) == list(known())


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["layouts", "--name", "ct_rate"]) == 0
    assert "a twentieth of the\ntraining patients" in capsys.readouterr().out
    assert main(["layouts", "--name", "ct-rate"]) == 2
    assert "did you mean 'ct_rate'" in capsys.readouterr().err
