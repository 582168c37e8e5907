"""The pool: every job has one outcome, and a job that kills its worker is found."""

import os
import signal
from pathlib import Path

import pytest
from joblib.externals.loky import get_reusable_executor

from mg3d.data.grid import GridConfig
from mg3d.data.preparation.backends import Workers
from mg3d.data.preparation.intake import ScanJob, ScanOutcome, set_aside, take_in
from mg3d.data.preparation.pool import IN_FLIGHT_FOLDER, run_jobs, take_markers
from mg3d.data.scan import ScanSource
from mg3d.errors import StorageError


@pytest.fixture(autouse=True)
def _no_workers_left_behind() -> object:
    yield
    get_reusable_executor().shutdown(wait=True, kill_workers=True)


def _jobs(store: Path, num: int) -> list[ScanJob]:
    return [
        ScanJob(
            volume_id=f"v{number}", image=f"{number}.nii",
            source=ScanSource(path=store / f"{number}.nii"),
            store=store, geometry=GridConfig(),
        )
        for number in range(num)
    ]  # fmt: skip


def test_one_process_works_in_place(tmp_path: Path) -> None:
    seen = []

    def work(job: ScanJob) -> ScanOutcome:
        seen.append((tmp_path / IN_FLIGHT_FOLDER / job.volume_id).exists())
        return ScanOutcome(volume_id=job.volume_id, image=job.image)

    outcomes = list(run_jobs(_jobs(tmp_path, 3), work, set_aside, Workers(num=1), tmp_path))
    assert [outcome.volume_id for outcome in outcomes] == ["v0", "v1", "v2"]
    assert seen == [True] * 3
    assert take_markers(tmp_path) == []


def test_a_job_that_kills_its_worker_is_named_and_the_others_survive(tmp_path: Path) -> None:
    # Defined here so that it travels to the workers by value.
    def work(job: ScanJob) -> ScanOutcome:
        if job.volume_id == "v2":
            os.kill(os.getpid(), signal.SIGKILL)
        return ScanOutcome(volume_id=job.volume_id, image=job.image)

    outcomes = list(run_jobs(_jobs(tmp_path, 5), work, set_aside, Workers(num=2), tmp_path))
    assert sorted(outcome.volume_id for outcome in outcomes) == [f"v{n}" for n in range(5)]
    killed = sorted(outcome.volume_id for outcome in outcomes if outcome.problem)
    assert killed == ["v2"]
    assert {o.problem for o in outcomes if o.problem} == {"worker_killed"}
    assert take_markers(tmp_path) == []


def test_a_full_disk_stops_everything(tmp_path: Path) -> None:
    def work(job: ScanJob) -> ScanOutcome:
        raise StorageError("no space left")

    with pytest.raises(StorageError, match="no space left"):
        list(run_jobs(_jobs(tmp_path, 4), work, set_aside, Workers(num=2), tmp_path))
    with pytest.raises(StorageError, match="no space left"):
        list(run_jobs(_jobs(tmp_path, 4), work, set_aside, Workers(num=1), tmp_path))
    assert "v0" in take_markers(tmp_path)
    assert take_markers(tmp_path) == []


def test_a_store_that_cannot_be_marked_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / IN_FLIGHT_FOLDER).write_text("in the way")
    with pytest.raises(StorageError, match="cannot be written"):
        list(run_jobs(_jobs(tmp_path, 1), take_in, set_aside, Workers(num=1), tmp_path))
