"""Running jobs through worker processes, and finding the one that kills its worker.

joblib gives up when a worker dies (out of memory, a crash in a decoder) and does not say on what.
So each job leaves a marker while it is in flight; after a death the marked ones are tried again
one at a time, and the one that kills again is given up. What the jobs are is the caller's
business: `prepare` takes scans in, `audit` looks at them.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from joblib import Parallel, delayed

from mg3d.data.preparation.backends import Running, Workers, running
from mg3d.data.scan_error import ScanError
from mg3d.errors import DataError, StorageError

IN_FLIGHT_FOLDER = ".in_flight"


class Job(Protocol):
    """What the pool must know of a job."""

    @property
    def volume_id(self) -> str:
        """Unique among the jobs; names a marker file."""
        ...


J = TypeVar("J", bound=Job)
O = TypeVar("O")  # noqa: E741


def run_jobs(
    jobs: Sequence[J],
    work: Callable[[J], O],
    give_up: Callable[[J, ScanError], O],
    workers: Workers,
    folder: Path,
) -> Iterator[O]:
    """Do jobs, in any order. Only a few a worker are handed out ahead, however many there are.

    Args:
        jobs: What to do; volume ids are unique.
        work: What to do with each, in a worker process.
        give_up: The outcome of a job that killed its worker twice; called in this process.
        workers: How many processes, and under whom.
        folder: Where the markers go; every worker must reach it under this path.

    Yields:
        One outcome a job.

    Raises:
        DataError: If a worker dies before it begins a job.
        StorageError: If the folder cannot be written.
        MissingExtraError: If the backend is not installed.
        ConfigError: If no cluster answers.
    """
    with running(workers) as pool:
        pending = {job.volume_id: job for job in jobs}
        while pending:
            try:
                for name, outcome in _parallel(tuple(pending.values()), work, pool, folder):
                    del pending[name]
                    yield outcome
            except pool.deaths:
                suspects = [pending[name] for name in take_markers(folder) if name in pending]
                if not suspects:
                    raise DataError(
                        "a worker process died before it began a scan; the machine is probably "
                        "out of memory. Use fewer workers (num_workers)."
                    ) from None
                for job in suspects:
                    del pending[job.volume_id]
                    yield _run_alone(job, work, give_up, pool, folder)


def take_markers(folder: Path) -> list[str]:
    """Names of the volumes that were in flight when their process died; forgets them."""
    markers = sorted((folder / IN_FLIGHT_FOLDER).glob("*"))
    for marker in markers:
        marker.unlink(missing_ok=True)
    return [marker.name for marker in markers]


def _run_alone(
    job: J,
    work: Callable[[J], O],
    give_up: Callable[[J, ScanError], O],
    pool: Running,
    folder: Path,
) -> O:
    # Two workers for one job: with one, joblib would use this process, which must survive.
    alone = Running(2, pool.deaths)
    try:
        ((_, outcome),) = _parallel([job], work, alone, folder)
    except pool.deaths:
        take_markers(folder)
        problem = "killed its worker process twice: too large for the memory, or a decoder crashed"
        return give_up(job, ScanError(problem, "worker_killed"))
    return outcome


def _parallel(
    jobs: Iterable[J], work: Callable[[J], O], pool: Running, folder: Path
) -> Iterator[tuple[str, O]]:
    """Names and outcomes as they come. Jobs go out one by one: each takes seconds, and a worker
    that dies then takes no other job along."""
    parallel = Parallel(n_jobs=pool.num, return_as="generator_unordered", batch_size=1)
    outcomes: Iterator[tuple[str, O]] = parallel(delayed(_marked)(j, work, folder) for j in jobs)
    return outcomes


def _marked(job: J, work: Callable[[J], O], folder: Path) -> tuple[str, O]:
    marker = folder / IN_FLIGHT_FOLDER / job.volume_id
    try:
        # Empty and not synced to the disk: it must outlive this process, not the machine.
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
    except OSError as error:
        raise StorageError(
            f"{marker}: {error.strerror}; the folder cannot be written. Free space or choose "
            "another, then run the same command again."
        ) from error
    outcome = work(job)
    marker.unlink(missing_ok=True)  # a job that is tried again may run twice for a moment
    return job.volume_id, outcome
