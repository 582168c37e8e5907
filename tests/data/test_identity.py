"""Identity of a source: one file or many, unchanged by names and dates, changed by content."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mg3d.data.preparation import identity
from mg3d.data.preparation.identity import holds, identify
from mg3d.data.scan import ScanSource
from mg3d.data.scan_error import ScanError
from mg3d.files import sha256

LATER_NS = 4 * 10**18


@pytest.fixture
def series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ScanSource:
    """A source of three files, whatever reads it."""
    for number in range(3):
        (tmp_path / f"slice{number}").write_bytes(bytes([number]) * 10)
    monkeypatch.setattr(
        identity, "source_files", lambda source: tuple(sorted(source.path.iterdir()))
    )
    return ScanSource(path=tmp_path)


def test_one_file_is_known_by_its_own_hash(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    path.write_bytes(b"scan")
    found = identify(ScanSource(path=path))
    assert (found.num_files, found.num_bytes, found.sha256) == (1, 4, sha256(b"scan"))


def test_a_series_is_known_by_all_its_files(series: ScanSource) -> None:
    first = identify(series)
    assert (first.num_files, first.num_bytes) == (3, 30)
    assert holds(series, first.to_json(), LATER_NS)
    (series.path / "slice1").write_bytes(b"x" * 10)
    assert identify(series).sha256 != first.sha256
    assert not holds(series, first.to_json(), 0)  # a look at the content is needed
    (series.path / "slice1").unlink()
    assert not holds(series, first.to_json(), LATER_NS)


def test_names_and_dates_are_no_part_of_it(series: ScanSource) -> None:
    first = identify(series)
    (series.path / "slice2").rename(series.path / "slice9_DOE^JANE")
    os.utime(series.path / "slice1", ns=(5, 5))
    assert identify(series) == first


def test_a_touched_file_is_hashed_and_an_older_one_is_not(
    series: ScanSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = identify(series).to_json()
    assert holds(series, facts, 0)
    monkeypatch.setattr(identity, "_hash_file", None)
    assert holds(series, facts, LATER_NS)
    with pytest.raises(TypeError):
        holds(series, facts, 0)


def test_a_source_that_is_gone_holds(tmp_path: Path) -> None:
    assert holds(ScanSource(path=tmp_path / "unmounted/a.nii"), {}, 0)


@pytest.mark.parametrize("ask", [identify, lambda source: holds(source, {}, 0)])
def test_a_refusal_of_the_system_is_said(
    ask: Callable[[ScanSource], object], series: ScanSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "stat", refuse)
    monkeypatch.setattr(os, "stat", refuse)
    with pytest.raises(ScanError, match="Permission denied while reading"):
        ask(series)
