"""`mg3d audit`: one look at all scans, reports and tables, before anything is trained on them.

Each scan is looked at alone, and what was seen goes into a cache at once: a run that was stopped
anywhere goes on when the same command is given again, and ends with the same bytes. What only the
whole collection shows is found at the end, from a few kilobytes a volume.
"""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rich.markup import escape
from rich.table import Table

from mg3d.audit.checksums import DEFAULT_NAME, read_checksums
from mg3d.audit.collection import Member, member, plain
from mg3d.audit.document import write_audit
from mg3d.audit.duplicates import Copies, find_copies
from mg3d.audit.examine import (
    FACTS_FOLDER,
    THUMBNAIL_FOLDER,
    AuditJob,
    Examined,
    examine,
    facts_name,
    failed,
)
from mg3d.audit.outliers import FAR, Outlier, rank
from mg3d.audit.report_review import review_reports
from mg3d.data.faults import Fault
from mg3d.data.layouts.catalogue import Catalogue
from mg3d.data.layouts.layout import AUTO, LayoutOptions, read_catalogue
from mg3d.data.layouts.table_error import TableError
from mg3d.data.preparation.backends import Backend, Workers
from mg3d.data.preparation.lock import LOCK_FILE, locked
from mg3d.data.preparation.pool import IN_FLIGHT_FOLDER, run_jobs, take_markers
from mg3d.data.splits import SplitConfig
from mg3d.data.store import STORE_FILE
from mg3d.data.text.token_count import DEFAULT_MAX_TOKENS
from mg3d.errors import ConfigError
from mg3d.files import remove_stale_temporaries
from mg3d.progress import bar, console

FailOn = Literal["error", "warning", "never"]
_FAILS: dict[FailOn, frozenset[str]] = {
    "error": frozenset({"error"}),
    "warning": frozenset({"error", "warning"}),
    "never": frozenset(),
}
_ORDER = {"error": 0, "warning": 1, "note": 2}


@dataclass(frozen=True, kw_only=True)
class AuditConfig:
    """Look at a site's scans, reports and tables; write what is wrong as one page and one JSON."""

    data: Path
    """Scans and reports in any layout that `mg3d layouts` lists, as for `mg3d prepare`."""
    out: Path
    """Folder for audit.html, audit.json and the cache; goes on where an earlier run stopped."""
    layout: str = AUTO
    """Name of the layout; auto recognises it."""
    labels: Path | None = None
    """Table of labels that lies elsewhere than the layout expects."""
    reports: Path | None = None
    """Table, file or folder of reports that lies elsewhere than the layout expects."""
    key: Path | None = None
    """File of the secret that makes pseudonyms of ids, for layouts of identified data (dicom); made
    where it is missing. Default: beside the data folder, named as it is. Keep it: with another key
    all ids change."""
    links: Path | None = None
    """Table to write of pseudonyms and the ids they stand for, readable by its owner only."""
    checksums: Path | None = None
    """List of SHA-256 sums as sha256sum writes it; default: SHA256SUMS in the data folder, if
    there is one."""
    split: SplitConfig = field(default_factory=SplitConfig)
    """Division by patient that `mg3d prepare` would make, where the site names no split."""
    keep_without_report: bool = False
    """A volume without a report is no fault."""
    max_tokens: int = DEFAULT_MAX_TOKENS
    """Tokens that a model will read of a report; longer ones are named."""
    fail_on: FailOn = "error"
    """Severity from which the command exits with 1: error, warning (or worse), or never."""
    num_workers: int = 0
    """Processes, each holding one scan; 0 = one a CPU core."""
    backend: Backend = "loky"
    """Who runs the processes: loky (this machine), dask or ray."""
    address: str = ""
    """Scheduler of a dask cluster or head node of a ray cluster; empty starts one here."""

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ConfigError(f"max_tokens {self.max_tokens}: at least 1")
        _ = self.workers  # raises for what is impossible

    @property
    def workers(self) -> Workers:
        """Who does the work."""
        return Workers(backend=self.backend, num=self.num_workers, address=self.address)


def audit(settings: AuditConfig) -> int:
    """Look at a collection and write `audit.html` and `audit.json`.

    Args:
        settings: What to look at, and from when it fails.

    Returns:
        1 if a fault of the severity of ``fail_on`` or worse was found, else 0.

    Raises:
        ConfigError: If the folder holds something else, or no layout fits.
        DataError: If there is nothing that could be looked at.
        StorageError: If the results cannot be written.
    """
    options = LayoutOptions(
        labels=settings.labels, reports=settings.reports, key=settings.key, links=settings.links
    )
    try:
        catalogue = read_catalogue(settings.data, settings.layout, options)
    except TableError as error:  # nothing to look at, but a fault to name
        catalogue = Catalogue(
            layout=settings.layout,
            folder=settings.data,
            rows=(),
            faults=(Fault(kind=error.kind, message=str(error)),),
        )
    _refuse_foreign(settings.out)
    with locked(settings.out, "audit"):
        kinds = _audit(catalogue, settings)
    _say(kinds, settings.out)
    return int(any(kind["severity"] in _FAILS[settings.fail_on] for kind in kinds.values()))


def _audit(catalogue: Catalogue, settings: AuditConfig) -> dict[str, dict[str, Any]]:
    """Look, compare, write; what was found, by kind."""
    _clear(settings.out)
    members = _look(catalogue, settings)
    copies, outliers = find_copies(members), rank(members)
    reports, faults = review_reports(
        members,
        max_tokens=settings.max_tokens,
        keep_without_report=settings.keep_without_report,
    )
    faults += _collect(catalogue, members, copies, outliers)
    faults.sort(key=lambda fault: (_ORDER[fault.severity], fault.kind))
    document = write_audit(settings.out, catalogue, members, faults, outliers, copies, reports)
    _tidy(settings.out, {each.name for each in members})
    kinds: dict[str, dict[str, Any]] = document["kinds"]
    return kinds


def _collect(
    catalogue: Catalogue,
    members: Sequence[Member],
    copies: Sequence[Copies],
    outliers: Sequence[Outlier],
) -> list[Fault]:
    """Everything that is wrong with tables, scans and their sum."""
    faults = list(catalogue.faults)
    for each in members:
        faults += each.own_faults()
    for group in copies:
        faults += group.faults()
    faults += [
        outlier.member.fault("outlier_volume", outlier.says)
        for outlier in outliers
        if outlier.distance >= FAR
    ]
    return faults + _reconstructions(members)


def _reconstructions(members: Sequence[Member]) -> list[Fault]:
    studies: dict[str, int] = {}
    for each in members:
        studies[each.row.study_id] = studies.get(each.row.study_id, 0) + 1
    several = sum(size > 1 for size in studies.values())
    if not several:
        return []
    message = (
        f"{several} of {len(studies)} studies have more than one volume, up to "
        f"{max(studies.values())}; they share one report and count as one study in every score"
    )
    return [Fault(kind="study_reconstructions", message=message)]


def _refuse_foreign(out: Path) -> None:
    """Make sure that the folder is ours to write."""
    ours = {"audit.json", FACTS_FOLDER, LOCK_FILE, IN_FLIGHT_FOLDER}
    if out.is_dir() and any(out.iterdir()) and not any((out / name).exists() for name in ours):
        raise ConfigError(f"{out}: holds other files than an audit. Choose another folder.")
    if (out / STORE_FILE).exists():
        raise ConfigError(f"{out}: holds a store. Choose another folder for the audit.")


def _clear(out: Path) -> None:
    """Forget what a killed run left half done."""
    take_markers(out)
    for folder in (out, out / FACTS_FOLDER, out / THUMBNAIL_FOLDER):
        remove_stale_temporaries(folder)


def _look(catalogue: Catalogue, settings: AuditConfig) -> list[Member]:
    """See every volume, behind a progress bar with rate and estimate."""
    checksums = _checksums(catalogue, settings)
    jobs: dict[str, AuditJob] = {}
    for row in catalogue.rows:
        name = facts_name(row.volume_id, row.image, row.source)
        ids = (plain(row.volume_id), plain(row.study_id), plain(row.patient_id))
        jobs[name] = AuditJob(
            volume_id=name, ids=ids, source=row.source, out=settings.out, checksums=checksums
        )
    seen: dict[str, Examined] = {}
    num_bad, began = 0, time.monotonic()
    with bar() as progress:
        task = progress.add_task("audit", total=len(jobs), status="")
        for outcome in run_jobs(
            list(jobs.values()), examine, failed, settings.workers, settings.out
        ):
            seen[outcome.volume_id] = outcome
            num_bad += outcome.facts.hu is None
            rate = len(seen) / max(time.monotonic() - began, 1e-3)
            status = f"{rate:.1f} scans/s" + (f", {num_bad} not readable" if num_bad else "")
            progress.update(task, advance=1, status=status)
    return [
        member(row, seen[facts_name(row.volume_id, row.image, row.source)].facts, settings.split)
        for row in catalogue.rows
    ]


def _checksums(catalogue: Catalogue, settings: AuditConfig) -> Path | None:
    """The list of checksums to hold the files against, read once here to fail early."""
    path = settings.checksums or catalogue.folder / DEFAULT_NAME
    if settings.checksums is None and not path.is_file():
        return None
    read_checksums(path)
    return path.resolve()


def _tidy(out: Path, wanted: set[str]) -> None:
    """Remove what the cache knows of volumes that are not in the catalogue (any more)."""
    for folder in (FACTS_FOLDER, THUMBNAIL_FOLDER):
        for path in (out / folder).glob("[!.]*"):
            if path.stem not in wanted:
                path.unlink()
    shutil.rmtree(out / IN_FLIGHT_FOLDER, ignore_errors=True)


def _say(kinds: dict[str, dict[str, Any]], out: Path) -> None:
    """One line a kind of fault on the terminal."""
    console.print(escape(f"{out / 'audit.html'}: {len(kinds)} kinds of faults and facts"))
    if not kinds:
        return
    table = Table(title_justify="left")
    for name in ("severity", "fault", "count", "meaning", "what to do"):
        table.add_column(name, overflow="fold", no_wrap=name == "fault")
    for name, kind in kinds.items():
        cells = (kind["severity"], name, str(kind["count"]), kind["title"], kind["remedy"])
        table.add_row(*map(escape, cells))
    console.print(table)
