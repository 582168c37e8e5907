"""The forecast: disk, time and memory of a preparation, from a few scans that are really read.

Scans are chosen evenly over the sizes of their files and taken through everything but the
writing, by as many processes as the preparation will have, since processes slow each other down.
"""

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.filesize import decimal
from rich.markup import escape

from mg3d.data.preparation.backends import Workers
from mg3d.data.preparation.intake import ScanJob, encode_scan
from mg3d.data.preparation.plan import Plan
from mg3d.data.preparation.pool import run_jobs
from mg3d.data.scan_error import ScanError
from mg3d.data.store import volume_path
from mg3d.errors import DataError
from mg3d.process_memory import peak_resident_bytes
from mg3d.progress import console

_FEWEST_SAMPLES = 8
_SAMPLES_A_WORKER = 3
_INDEX_ROW_BYTES = 700
"""A row of the index with hashes and 18 labels, as those of the phantom have it."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a preparation will take."""

    num_volumes: int
    """Still to be made."""
    num_sampled: int
    num_bad: int
    """Of the sample, how many would be set aside."""
    disk_bytes: float
    seconds: float
    seconds_error: float
    """Twice the standard error from sampling, in seconds."""
    memory_bytes: float
    """Peak of all processes together."""

    def show(self, out: Path) -> None:
        """Print it, with what the disk has left."""
        place = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
        free = shutil.disk_usage(place).free
        console.print(
            f"{self.num_volumes} volumes to make; predicted from {self.num_sampled} of them, "
            f"{self.num_bad} of which would be set aside:"
        )
        console.print(f"  disk    {decimal(round(self.disk_bytes))} of {decimal(free)} free")
        unit, name = _time_unit(self.seconds)
        time_shown = f"{self.seconds / unit:.1f} +- {self.seconds_error / unit:.1f} {name}"
        console.print(f"  time    {time_shown}, writing to the disk not counted")
        console.print(f"  memory  {decimal(round(self.memory_bytes))}")
        if self.disk_bytes > free:
            console.print(escape(f"[!] {place}: the disk is too small for this store"))


def _time_unit(seconds: float) -> tuple[int, str]:
    return next(
        ((unit, name) for unit, name in ((3600, "h"), (60, "min")) if seconds >= 2 * unit), (1, "s")
    )


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """One scan taken through all but the writing."""

    volume_id: str
    seconds: float = 0.0
    num_bytes: int = 0
    """Size of the volume file; 0 where the scan would be set aside."""
    peak_bytes: int = 0
    """Largest memory of its process so far."""


def forecast(plan: Plan, out: Path, workers: Workers) -> Forecast:
    """Predict what a plan takes; nothing is written.

    Args:
        plan: What is to be done.
        out: Where it would go; volumes that are there are not counted.
        workers: Who would do it.

    Raises:
        DataError: If none of the scans tried can be used.
    """
    jobs = [job for job in plan.jobs if not volume_path(out, job.volume_id).exists()]
    sizes = source_sizes(jobs)
    chosen = choose_sample(sizes, max(_FEWEST_SAMPLES, _SAMPLES_A_WORKER * workers.num_processes))
    with tempfile.TemporaryDirectory() as folder:  # for the marks of the pool
        made = {
            rehearsal.volume_id: rehearsal
            for rehearsal in run_jobs(
                [jobs[i] for i in chosen], _rehearse, _give_up, workers, Path(folder)
            )
        }
    rehearsals = [made[jobs[i].volume_id] for i in chosen]
    good = [rehearsal for rehearsal in rehearsals if rehearsal.num_bytes]
    if jobs and not good:
        raise DataError(
            f"none of {len(rehearsals)} scans tried can be used, so nothing can be predicted; "
            "`mg3d audit` says what is wrong with them"
        )
    total, error = estimate_total(
        [sizes[i] for i in chosen], [rehearsal.seconds for rehearsal in rehearsals], sizes
    )
    at_a_time = min(workers.num_processes, max(1, len(jobs)))
    share_good = len(good) / max(1, len(rehearsals))
    file_bytes = statistics.fmean(r.num_bytes for r in good) if good else 0.0
    return Forecast(
        num_volumes=len(jobs),
        num_sampled=len(rehearsals),
        num_bad=len(rehearsals) - len(good),
        disk_bytes=len(jobs) * share_good * file_bytes + _table_bytes(plan),
        seconds=total / at_a_time,
        seconds_error=error / at_a_time,
        memory_bytes=at_a_time * max((r.peak_bytes for r in rehearsals), default=0),
    )


def source_sizes(jobs: Sequence[ScanJob]) -> list[int]:
    """Bytes of each scan's file, or of the files in its folder; 0 where there is none."""
    known: dict[Path, int] = {}
    for job in jobs:
        path = job.source.path
        if path not in known:
            known[path] = _size(path)
    return [known[job.source.path] for job in jobs]


def _size(path: Path) -> int:
    try:
        if not path.is_dir():
            return path.stat().st_size
        with os.scandir(path) as entries:
            return sum(entry.stat().st_size for entry in entries if entry.is_file())
    except OSError:
        return 0


def choose_sample(sizes: Sequence[int], number: int) -> list[int]:
    """Places of a sample spread evenly over the sizes, the smallest and the largest included."""
    order = sorted(range(len(sizes)), key=lambda i: (sizes[i], i))
    if len(order) <= number:
        return order
    return [order[round(i * (len(order) - 1) / (number - 1))] for i in range(number)]


def estimate_total(
    sizes: Sequence[float], values: Sequence[float], all_sizes: Sequence[float]
) -> tuple[float, float]:
    """Sum over a population from a sample, corrected by a size known for all.

    Args:
        sizes: Of the sample.
        values: Of the sample, what is to be summed.
        all_sizes: Of the population.

    Returns:
        The regression estimate of the sum and twice its standard error; 0, 0 for no population.

    Source:
        W. G. Cochran, Sampling Techniques, 3rd edition, section 7.
    """
    if not all_sizes:
        return 0.0, 0.0
    num, num_all = len(values), len(all_sizes)
    mean_size, mean_value = statistics.fmean(sizes), statistics.fmean(values)
    spread = sum((size - mean_size) ** 2 for size in sizes)
    slope = 0.0
    if spread and num > 2:
        pairs = zip(sizes, values, strict=True)
        slope = sum((s - mean_size) * (v - mean_value) for s, v in pairs) / spread
    slope = max(0.0, slope)  # a larger file takes no less
    mean = mean_value + slope * (statistics.fmean(all_sizes) - mean_size)
    pairs = zip(sizes, values, strict=True)
    rest = sum((v - mean_value - slope * (s - mean_size)) ** 2 for s, v in pairs)
    deviation = (rest / max(1, num - 2)) ** 0.5
    unseen = max(0.0, 1 - num / num_all) ** 0.5
    return num_all * mean, 2 * num_all * deviation / num**0.5 * unseen


def _table_bytes(plan: Plan) -> int:
    texts = {row.study_id: len(row.report.findings + row.report.impression) for row in plan.rows}
    return sum(texts.values()) + _INDEX_ROW_BYTES * len(plan.rows)


def _rehearse(job: ScanJob) -> Rehearsal:
    began = time.perf_counter()
    try:
        num_bytes = len(encode_scan(job))
    except (ScanError, MemoryError):
        num_bytes = 0
    return Rehearsal(
        volume_id=job.volume_id,
        seconds=time.perf_counter() - began,
        num_bytes=num_bytes,
        peak_bytes=peak_resident_bytes(),
    )


def _give_up(job: ScanJob, error: ScanError) -> Rehearsal:
    return Rehearsal(volume_id=job.volume_id)
