"""Progress: everything passes through; a log gets a line now and then."""

import pytest

from mg3d.data.preparation import work_progress
from mg3d.data.preparation.work_progress import watched
from mg3d.progress import console


def test_outcomes_pass_through_and_a_log_shows_rate_and_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    console.quiet = False
    now = iter(range(0, 10_000, 30))
    monkeypatch.setattr(work_progress.time, "monotonic", lambda: float(next(now)))
    passed = list(watched(iter(range(10)), 250, lambda number: number % 5 == 0))
    assert passed == list(range(10))
    lines = [line for line in capsys.readouterr().err.splitlines() if " of 250" in line]
    assert lines[0] == "2 of 250, 0.03 scans/s, 2.1 h left, 1 set aside"
    assert len(lines) == 5


def test_nothing_to_do_is_fine() -> None:
    assert list(watched(iter(()), 0, bool)) == []
