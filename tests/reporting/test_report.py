"""The page as a whole: complete, self-contained, deterministic, drawn without torch."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import mg3d.files
from mg3d.errors import DataError, StorageError
from mg3d.reporting.report import ReportConfig, render, report
from mg3d.reporting.run_folder import read_run
from mg3d.reporting.sections import SECTIONS

VOID = {"meta", "img", "path", "use", "br", "link", "input", "hr"}


@pytest.fixture
def bare_run(tmp_path: Path) -> Path:
    """A run that was trained and nothing else: quick to draw."""
    run = tmp_path / "bare"
    run.mkdir()
    rows = [{"step": step, "loss": {"total": 2.0}, "total_steps": 300} for step in range(1, 6)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run


class _Balance(HTMLParser):
    """Fails on a tag that is closed out of order, and collects ids and links."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self._note(attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def _note(self, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.ids.append(value)
            if name in ("href", "src", "xlink:href") and value:
                self.links.append(value)


def test_the_page_is_complete_and_needs_nothing_else(run_folder: Path) -> None:
    target = report(ReportConfig(run=run_folder))
    assert target == run_folder / "report.html"
    page = target.read_text(encoding="utf-8")
    parsed = _Balance()
    parsed.feed(page)
    assert parsed.open == []
    assert len(parsed.ids) == len(set(parsed.ids))
    assert set(parsed.ids) >= set(SECTIONS)
    assert all(link.startswith(("#", "data:")) for link in parsed.links)
    assert {link[1:] for link in parsed.links if link.startswith("#")} <= set(parsed.ids)
    assert not re.search(r"@import|<script|<link", page)
    assert 'class="missing"' not in page  # the fixture lacks nothing
    assert page.count("Research use only - not a medical device.") == 1
    assert "<h1>phantom-tiny</h1>" in page


def test_the_same_files_give_the_same_bytes(run_folder: Path) -> None:
    run = read_run(run_folder)
    assert render(run) == render(run)


def test_a_run_that_was_only_trained_gets_a_page(bare_run: Path) -> None:
    page = report(ReportConfig(run=bare_run)).read_text(encoding="utf-8")
    assert page.count('class="missing"') >= 7
    assert "not evaluated yet" in page


def test_a_folder_that_is_no_run_is_refused_and_left_alone(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not the folder of a run"):
        report(ReportConfig(run=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_page(bare_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (bare_run / "report.html").write_text("old")

    def no_space(stream: object, payload: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mg3d.files, "_write_all", no_space)
    with pytest.raises(StorageError, match="no space left"):
        report(ReportConfig(run=bare_run))
    assert (bare_run / "report.html").read_text() == "old"


def test_text_from_files_cannot_become_markup(bare_run: Path) -> None:
    (bare_run / "config.yaml").write_text("note: <script>alert(1)</script> $title ${css}\n")
    page = render(read_run(bare_run))
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; $title ${css}" in page


def test_torch_is_not_needed() -> None:
    code = (
        "import sys; import mg3d.reporting.report; "
        "sys.exit(any(name.split('.')[0] == 'torch' for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_pace_of_a_run_is_the_median_step(bare_run: Path) -> None:
    path = bare_run / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        row["seconds"] = 0.25
    rows[0]["seconds"] = 60.0  # compilation, first reads: not what a step takes
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "optimiser steps of 300 planned, a step takes 0.25 s" in render(read_run(bare_run))
