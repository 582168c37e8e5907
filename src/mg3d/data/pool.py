"""Running scans through worker processes, and finding the one that kills its worker.

joblib gives up when a worker dies (out of memory, a crash in a decoder) and does not say on what.
So each job leaves a marker while it is in flight; after a death the marked ones are tried again
one at a time, each in a pool of its own, and the one that kills again is set aside.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from joblib import Parallel, delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError

from mg3d.data.intake import ScanJob, ScanOutcome, set_aside
from mg3d.data.scan_error import ScanError
from mg3d.errors import DataError, StorageError

IN_FLIGHT_FOLDER = ".in_flight"
Work = Callable[[ScanJob], ScanOutcome]


def run_jobs(
    jobs: Sequence[ScanJob], work: Work, num_workers: int, store: Path
) -> Iterator[ScanOutcome]:
    """Take in scans, in any order.

    Args:
        jobs: The scans; volume ids are unique.
        work: What to do with each, `mg3d.data.intake.take_in`.
        num_workers: Processes; 1 works in this process. `joblib.parallel_config` chooses another
            backend than loky.
        store: Where the markers go.

    Yields:
        One outcome a job.

    Raises:
        StorageError: If the store cannot be written.
    """
    pending = {job.volume_id: job for job in jobs}
    while pending:
        try:
            for outcome in _parallel(list(pending.values()), work, num_workers, store):
                del pending[outcome.volume_id]
                yield outcome
        except TerminatedWorkerError:
            suspects = [pending[name] for name in take_markers(store) if name in pending]
            if not suspects:
                raise DataError(
                    "a worker process died before it began a scan; the machine is probably out of "
                    "memory. Use fewer workers (num_workers)."
                ) from None
            for job in suspects:
                del pending[job.volume_id]
                yield _run_alone(job, work, store)


def take_markers(store: Path) -> list[str]:
    """Names of the volumes that were in flight when their process died; forgets them."""
    folder = store / IN_FLIGHT_FOLDER
    names = sorted(path.name for path in folder.glob("*"))
    for path in folder.glob("*"):
        path.unlink()
    return names


def _run_alone(job: ScanJob, work: Work, store: Path) -> ScanOutcome:
    try:
        # Two workers for one job: with one, joblib would use this process, which must survive.
        (outcome,) = _parallel([job], work, 2, store)
    except TerminatedWorkerError:
        take_markers(store)
        problem = "killed its worker process twice: too large for the memory, or a decoder crashed"
        return set_aside(job, ScanError(problem, "worker_killed"))
    return outcome


def _parallel(
    jobs: Sequence[ScanJob], work: Work, num_workers: int, store: Path
) -> Iterator[ScanOutcome]:
    pool = Parallel(n_jobs=num_workers, return_as="generator_unordered")
    outcomes: Iterator[ScanOutcome] = pool(delayed(_marked)(job, work, store) for job in jobs)
    return outcomes


def _marked(job: ScanJob, work: Work, store: Path) -> ScanOutcome:
    marker = store / IN_FLIGHT_FOLDER / job.volume_id
    try:
        # Empty and not synced to the disk: it must outlive this process, not the machine.
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
    except OSError as error:
        raise StorageError(
            f"{marker}: {error.strerror}; the store cannot be written. Free space or choose "
            "another folder, then run the same command again."
        ) from error
    outcome = work(job)
    marker.unlink()
    return outcome
