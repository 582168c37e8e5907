"""One scan: taken in once, kept while nothing changes, made again when anything does."""

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mg3d.data import intake
from mg3d.data.grid import GridConfig
from mg3d.data.intake import ScanJob, take_in
from mg3d.data.scan import ScanSource
from mg3d.data.store import decode_volume, volume_path
from mg3d.errors import StorageError

LONG_AGO_NS = 10**18


@pytest.fixture
def job(tmp_path: Path, body: Callable[..., Any], write_nifti: Callable[..., Path]) -> ScanJob:
    source = write_nifti(tmp_path / "a.nii", body(), np.diag([3.0, 3, 4, 1]))
    geometry = GridConfig(grid=(8, 8, 8), spacing_mm=(6, 6, 8))
    store = tmp_path / "store"
    return ScanJob(
        volume_id="v", image="a.nii", source=ScanSource(path=source), store=store, geometry=geometry
    )


def _made(job: ScanJob) -> int:
    return volume_path(job.store, job.volume_id).stat().st_mtime_ns


def test_a_scan_becomes_a_volume(job: ScanJob, body: Callable[..., Any]) -> None:
    outcome = take_in(job)
    assert (outcome.problem, outcome.warnings) == ("", ())
    hu, facts = decode_volume(volume_path(job.store, "v").read_bytes(), "v")
    # The middle of the right lung and of the soft tissue around it, noise of 10 HU averaged.
    assert hu[2, 4, 4] == pytest.approx(-850, abs=30)
    assert facts["source_sha256"] == outcome.source_sha256
    assert "time" not in str(facts)


def test_an_untouched_scan_is_kept(job: ScanJob, monkeypatch: pytest.MonkeyPatch) -> None:
    first = take_in(job)
    monkeypatch.setattr(intake, "read_scan", None)
    assert take_in(job) == first


def test_a_touched_but_equal_scan_is_kept_by_its_hash(
    job: ScanJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = take_in(job)
    os.utime(job.source.path)
    monkeypatch.setattr(intake, "read_scan", None)
    assert take_in(job) == first


def test_changed_content_of_equal_size_is_noticed_even_with_an_old_date(
    job: ScanJob, body: Callable[..., Any], write_nifti: Callable[..., Path]
) -> None:
    first = take_in(job)
    write_nifti(job.source.path, body(seed=9), np.diag([3.0, 3, 4, 1]))
    os.utime(job.source.path, ns=(LONG_AGO_NS, LONG_AGO_NS))
    assert take_in(job).volume_sha256 != first.volume_sha256


def test_another_grid_or_a_new_intake_makes_it_again(
    job: ScanJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_in(job)
    made = _made(job)
    take_in(replace(job, geometry=GridConfig(grid=(8, 8, 8), spacing_mm=(6, 6, 7))))
    assert _made(job) > made
    made = _made(job)
    take_in(replace(job, geometry=GridConfig(grid=(8, 8, 8), spacing_mm=(6, 6, 7))))
    assert _made(job) == made
    monkeypatch.setattr(intake, "_INTAKE_VERSION", 10**6)
    take_in(replace(job, geometry=GridConfig(grid=(8, 8, 8), spacing_mm=(6, 6, 7))))
    assert _made(job) > made


def test_a_damaged_volume_is_made_again(job: ScanJob) -> None:
    first = take_in(job)
    volume_path(job.store, "v").write_bytes(b"half")
    assert take_in(job) == first
    assert decode_volume(volume_path(job.store, "v").read_bytes(), "v")


def test_a_scan_that_went_bad_takes_its_volume_along(job: ScanJob) -> None:
    take_in(job)
    (job.store / "store.json").write_text("{}")
    job.source.path.write_bytes(b"broken")
    outcome = take_in(job)
    assert outcome.problem == "unreadable"
    assert not volume_path(job.store, "v").exists()
    assert not (job.store / "store.json").exists()  # so nobody reads the old index over it


def test_a_volume_outlives_its_source(job: ScanJob) -> None:
    first = take_in(job)
    job.source.path.unlink()
    assert take_in(job) == first
    volume_path(job.store, "v").unlink()
    assert take_in(job).problem == "missing_file"


@pytest.mark.parametrize(
    ("place", "taken_before"),
    [
        ("stat", False),
        ("_hash_file", False),
        ("exists", True),
        ("stat", True),
        ("_hash_file", True),
    ],
)
def test_a_source_that_the_system_refuses_is_set_aside_alone(
    place: str, taken_before: bool, job: ScanJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    if taken_before:
        take_in(job)
        os.utime(job.source.path)  # so that the hash is asked for
    owner = intake if place == "_hash_file" else Path
    real = getattr(owner, place)

    def refuse(path: Path, **options: Any) -> Any:
        if path == job.source.path:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path, **options)

    scan = intake.read_scan(job.source)
    monkeypatch.setattr(intake, "read_scan", lambda path: scan)
    monkeypatch.setattr(owner, place, refuse)
    outcome = take_in(job)
    assert outcome.problem == "unreadable"
    assert outcome.message.startswith("Permission denied while reading")


def test_a_target_that_cannot_be_written_concerns_every_scan(job: ScanJob) -> None:
    job.store.mkdir()
    (job.store / "volumes").write_text("in the way")
    with pytest.raises(StorageError, match="the previous file"):
        take_in(job)


def test_too_large_a_scan_is_set_aside(job: ScanJob, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(path: Path) -> None:
        raise MemoryError

    monkeypatch.setattr(intake, "read_scan", exhausted)
    assert take_in(job).problem == "memory"


def test_extreme_values_are_clipped_not_wrapped(
    job: ScanJob, body: Callable[..., Any], write_nifti: Callable[..., Path]
) -> None:
    array = body().astype(np.float32)
    array[8:12, 8:12, 6:10] = 32767
    write_nifti(job.source.path, array, np.diag([3.0, 3, 4, 1]))
    take_in(job)
    hu, _ = decode_volume(volume_path(job.store, "v").read_bytes(), "v")
    assert hu.max() > 20000
    assert hu.min() >= -1100
