"""The runner of code blocks fails where a page is wrong; otherwise its silence means nothing."""

from pathlib import Path

import page_runner
import pytest


@pytest.fixture(autouse=True)
def _pages_are_temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_runner, "ROOT", tmp_path)


def _page(folder: Path, text: str) -> Path:
    page = folder / "page.md"
    page.write_text(text)
    return page


@pytest.mark.parametrize(
    "text",
    [
        "```console\n$ echo one two\none ...\n```\n",
        "```console\n$ echo a\n$ echo b\nb\n```\n",
        "<!-- exits with 3 -->\n```console\n$ exit 3\n```\n",
        "<!-- exits with 2 -->\n```console\n$ mg3d nonsense\nmg3d: ConfigError: unknown ...\n```\n",
        "```python\nx = 1\n```\ntext\n```python\nassert x == 1\n```\n",
        "```sh\nexit 7\n```\n",
    ],
)
def test_a_true_page_passes(tmp_path: Path, text: str) -> None:
    page_runner.run_page(_page(tmp_path, text), tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "```console\n$ echo one\ntwo\n```\n",
        "```console\n$ exit 3\n```\n",
        "<!-- exits with 3 -->\n```console\n$ echo fine\n```\n",
        "```console\n$ false\n$ true\n```\n",
        "```console\noutput first\n$ true\n```\n",
        "```python\nassert False\n```\n",
        "```console\n$ mg3d nonsense\n```\n",
    ],
)
def test_a_false_page_fails(tmp_path: Path, text: str) -> None:
    page = _page(tmp_path, "heading\n\n" + text)
    with pytest.raises(AssertionError):
        page_runner.run_page(page, tmp_path)


def test_an_error_names_page_and_line(tmp_path: Path) -> None:
    page = _page(tmp_path, "one\n\n```console\n$ echo one\ntwo\n```\n")
    with pytest.raises(AssertionError, match=r"page\.md, line 3: `echo one`"):
        page_runner.run_page(page, tmp_path)
