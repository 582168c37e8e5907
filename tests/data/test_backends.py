"""Backends: under each, jobs stream back, and one that kills its worker is named and lost alone."""

import importlib.util
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cloudpickle
import pytest
from joblib.externals.loky import get_reusable_executor

from mg3d.data.preparation import backends
from mg3d.data.preparation.backends import Backend, Workers, running
from mg3d.data.preparation.pool import run_jobs, take_markers
from mg3d.data.scan_error import ScanError
from mg3d.errors import ConfigError, MissingExtraError

# Workers cannot import this file, so what it defines travels to them by value.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

EACH = [
    "loky",
    *(
        pytest.param(
            name,
            marks=pytest.mark.skipif(
                importlib.util.find_spec(module) is None, reason=f"needs mg3d[{name}]"
            ),
        )
        for name, module in (("dask", "distributed"), ("ray", "ray"))
    ),
]


@dataclass(frozen=True)
class Count:
    """A job that names itself, or dies."""

    volume_id: str
    deadly: bool = False


def _give_up(job: Count, error: ScanError) -> str:
    return f"{job.volume_id} {error.kind}"


@pytest.fixture(autouse=True)
def _no_workers_left_behind() -> Iterator[None]:
    yield
    get_reusable_executor().shutdown(wait=True, kill_workers=True)


@pytest.mark.parametrize("backend", EACH)
def test_a_killed_worker_loses_its_job_alone(backend: Backend, tmp_path: Path) -> None:
    def work(job: Count) -> str:  # defined here, so it travels to the workers by value
        if job.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return f"{job.volume_id} in {os.getpid()}"

    jobs = [Count(f"v{number}", deadly=number == 3) for number in range(8)]
    workers = Workers(backend=backend, num=2)
    outcomes = sorted(run_jobs(jobs, work, _give_up, workers, tmp_path))
    assert [outcome.split()[0] for outcome in outcomes] == [job.volume_id for job in jobs]
    assert [outcome for outcome in outcomes if "worker_killed" in outcome] == ["v3 worker_killed"]
    processes = {outcome.split()[-1] for outcome in outcomes} - {"worker_killed"}
    assert str(os.getpid()) not in processes
    assert take_markers(tmp_path) == []


@pytest.mark.parametrize("backend", EACH)
def test_what_a_job_raises_arrives(backend: Backend, tmp_path: Path) -> None:
    def work(job: Count) -> str:
        raise ScanError("not for users", "memory")

    workers = Workers(backend=backend, num=2)
    with pytest.raises(ScanError, match="not for users"):
        list(run_jobs([Count("v0"), Count("v1")], work, _give_up, workers, tmp_path))


def test_a_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for backend in ("dask", "ray"):
        with (
            pytest.raises(
                MissingExtraError, match=rf"pip install 'mg3d\[{backend}\]', or take loky"
            ),
            running(Workers(backend=backend)),
        ):
            pass


def test_impossible_workers_are_refused() -> None:
    with pytest.raises(ConfigError, match="num_workers -1"):
        Workers(num=-1)
    with pytest.raises(ConfigError, match="loky works on this machine only"):
        Workers(address="tcp://head:8786")


@pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="needs mg3d[dask]")
def test_a_running_cluster_is_used_by_its_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distributed import LocalCluster

    def work(job: Count) -> int:
        return os.getpid()

    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        workers = Workers(backend="dask", address=cluster.scheduler_address)
        jobs = [Count(f"v{number}") for number in range(4)]
        found = set(run_jobs(jobs, work, _give_up, workers, tmp_path))
        assert found == {worker.pid for worker in cluster.workers.values()}
    monkeypatch.setattr(backends, "_CONNECT_TIMEOUT_S", 1)
    with (
        pytest.raises(ConfigError, match="no dask cluster answers at address"),
        running(Workers(backend="dask", address="tcp://127.0.0.1:1")),
    ):
        pass


def test_one_process_means_this_one(tmp_path: Path) -> None:
    assert Workers(num=3).num_processes == 3
    assert Workers().num_processes == backends.cpu_count()
    (outcome,) = run_jobs(
        [Count("v")], lambda job: str(os.getpid()), _give_up, Workers(num=1), tmp_path
    )
    assert outcome == str(os.getpid())
