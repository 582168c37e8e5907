"""Every `console` and `python` block of the documentation runs and prints what the page says."""

from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs" / "tutorials" / "first-run.md"
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
RUNNABLE = ("```console", "```python")


def _runs(page: Path) -> bool:
    text = page.read_text(encoding="utf-8")
    return page != TUTORIAL and any(fence in text for fence in RUNNABLE)


def test_the_tutorial_leaves_a_run_with_a_page(tutorial_folder: Path) -> None:
    page = (tutorial_folder / "run" / "report.html").read_text(encoding="utf-8")
    assert "Research use only" in page
    assert "No evidence that the model learned" in page, "three steps must not look like learning"


@pytest.mark.parametrize(
    "page", [page for page in PAGES if _runs(page)], ids=lambda page: str(page.relative_to(ROOT))
)
def test_the_blocks_of_a_page_run(page: Path, run_in_copy: Callable[[Path], None]) -> None:
    run_in_copy(page)
