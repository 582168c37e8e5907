"""One scan: taken in once, kept while nothing changes, made again when anything does."""

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mg3d.data.grid import GridConfig
from mg3d.data.preparation import identity, intake
from mg3d.data.preparation.intake import ScanJob, take_in
from mg3d.data.scan import Scan, ScanSource, Stated
from mg3d.data.store import volume_path
from mg3d.data.volume_file import is_intact, map_voxels, read_header
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
    assert outcome.problem == ""
    assert [kind for kind, _ in outcome.faults] == ["anatomy_not_chest"]  # 6 cm across
    header = read_header(volume_path(job.store, "v"), "v")
    hu, facts = map_voxels(volume_path(job.store, "v"), header), header.facts
    assert header.sha256 == outcome.volume_sha256
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
    assert is_intact(volume_path(job.store, "v"), read_header(volume_path(job.store, "v"), "v"))


def test_damaged_voxels_are_found_where_that_is_asked_for(job: ScanJob) -> None:
    first, path = take_in(job), volume_path(job.store, "v")
    content = bytearray(path.read_bytes())
    content[-7] ^= 1
    path.write_bytes(content)
    assert take_in(job) == first  # its header and size are as they were
    assert not is_intact(path, read_header(path, "v"))
    assert take_in(replace(job, verify=True)) == first
    assert is_intact(path, read_header(path, "v"))


def test_what_a_table_states_decides_too(job: ScanJob) -> None:
    take_in(job)
    made = _made(job)
    stated = replace(job.source, stated=Stated(window_hu=(-1000.0, 1000.0)))
    for _ in range(2):
        take_in(replace(job, source=stated))
    assert _made(job) > made
    made = _made(job)
    take_in(replace(job, source=stated))
    assert _made(job) == made


def test_a_fault_that_bars_a_scan_sets_it_aside_whoever_notices_it(
    job: ScanJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = intake.read_scan

    def read_with(*faults: tuple[str, str]) -> Callable[[ScanSource], Scan]:
        return lambda source: Scan(read(source).volume, faults)

    monkeypatch.setattr(intake, "read_scan", read_with(("geometry_oblique", "10 degrees")))
    for _ in range(2):  # the second time from the stored volume
        assert ("geometry_oblique", "10 degrees") in take_in(job).faults
    other = replace(job, volume_id="w")
    monkeypatch.setattr(intake, "read_scan", read_with(("file_slices", "two gaps")))
    outcome = take_in(other)
    assert (outcome.problem, outcome.message, outcome.faults) == ("file_slices", "two gaps", ())


def test_a_new_volume_leaves_the_store_readable_and_a_changed_one_does_not(job: ScanJob) -> None:
    (job.store).mkdir()
    (job.store / "store.json").write_text("{}")
    take_in(job)
    assert (job.store / "store.json").exists()
    take_in(replace(job, geometry=GridConfig(grid=(8, 8, 8), spacing_mm=(6, 6, 7))))
    assert not (job.store / "store.json").exists()


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
    owner: Any = identity if place == "_hash_file" else Path
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
    path = volume_path(job.store, "v")
    hu = map_voxels(path, read_header(path, "v"))
    assert hu.max() > 20000
    assert hu.min() >= -1100
