"""`mg3d prepare`: scans and reports in, a store out.

Every scan is treated alone and written at once; the index comes at the end. A run that was
stopped anywhere goes on when the same command is given again and ends with the same bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from mg3d.data.faults import FAULTS
from mg3d.data.grid import GridConfig
from mg3d.data.layouts.catalogue import Catalogue
from mg3d.data.layouts.layout import AUTO, LayoutOptions, read_catalogue
from mg3d.data.preparation.backends import Backend, Workers
from mg3d.data.preparation.claim import claim, refuse_half_removed, refuse_to_drop
from mg3d.data.preparation.forecast import forecast
from mg3d.data.preparation.intake import ScanOutcome, set_aside, take_in
from mg3d.data.preparation.lock import locked
from mg3d.data.preparation.masked_reports import mask_reports
from mg3d.data.preparation.notices import show_notices
from mg3d.data.preparation.plan import Plan, make_plan, with_faults
from mg3d.data.preparation.pool import run_jobs
from mg3d.data.preparation.publication import publish
from mg3d.data.preparation.removed import RemovedPatients
from mg3d.data.preparation.work_progress import watched
from mg3d.data.splits import SplitConfig
from mg3d.data.store import INDEX_FILE, QUARANTINE_FILE, StoreSettings, VolumeStore
from mg3d.data.text.clauses import ClauseRule
from mg3d.errors import ConfigError, DataError
from mg3d.progress import console

_MOST_SHOWN = 50


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """What to prepare, and how."""

    data: Path
    """Scans and reports in any layout that `mg3d layouts` lists; for one table (.csv, .tsv,
    .jsonl) a row a volume: study_id, patient_id, image, and, if there are any, volume_id, findings,
    impression or report, split, label:<name>."""
    out: Path
    """Folder of the store; goes on where an earlier run stopped."""
    layout: str = AUTO
    """Name of the layout; auto recognises it."""
    labels: Path | None = None
    """Table of labels that lies elsewhere than the layout expects; for a manifest a CSV of
    study_id and one column a finding (1, 0 or empty)."""
    reports: Path | None = None
    """Table, file or folder of reports that lies elsewhere than the layout expects."""
    key: Path | None = None
    """File of the secret that makes pseudonyms of ids, for layouts of identified data (dicom); made
    where it is missing. Default: beside the data folder, named as it is. Keep it: with another key
    all ids change."""
    links: Path | None = None
    """Table to write of pseudonyms and the ids they stand for, readable by its owner only."""
    geometry: GridConfig = field(default_factory=GridConfig)
    """The model grid."""
    clauses: ClauseRule = "sentence"
    """How reports are cut: sentence (full stops, semicolons) or sen_comma (also commas)."""
    split: SplitConfig = field(default_factory=SplitConfig)
    """Division by patient, where the manifest has no column split."""
    keep_without_report: bool = False
    """Keep volumes without a report; only masked_volume learns from them."""
    mask_identifiers: bool = False
    """Put [name], [date] ... in place of what rules take for identifiers in reports. A help for
    de-identification, not a proof of it."""
    allow_quarantine: bool = False
    """Exit with 0 even if scans had to be set aside."""
    overwrite: bool = False
    """Replace a store that was made with other settings or holds volumes not in the manifest."""
    limit: int = 0
    """Only the first so many volumes in the order of their ids, to try things out; 0 = all."""
    dry_run: bool = False
    """Write nothing; measure a few scans and predict disk, time and memory."""
    verify: bool = False
    """Read all volumes that are in the store already, and make damaged ones again."""
    readmit: tuple[str, ...] = ()
    """Ids of patients that were removed from this store (`mg3d remove`) and may come back."""
    backend: Backend = "loky"
    """Who runs the processes: loky on this machine; dask or ray, also over several machines that
    share the file system (pip install 'mg3d[dask]' or 'mg3d[ray]')."""
    num_workers: int = 0
    """Processes, each holding one scan; 0 = one a CPU core."""
    address: str = ""
    """Address of a running dask scheduler or ray head node; empty starts workers on this
    machine."""

    def __post_init__(self) -> None:
        if self.limit < 0:
            raise ConfigError(f"limit {self.limit}: 0 for all volumes, or a number of them")
        object.__setattr__(self, "readmit", tuple(self.readmit))
        _ = self.workers  # raises for what is impossible

    @property
    def workers(self) -> Workers:
        """Who does the work."""
        return Workers(backend=self.backend, num=self.num_workers, address=self.address)


def prepare(settings: PrepareConfig) -> VolumeStore | None:
    """Make a store from scans and reports.

    Args:
        settings: What and how.

    Returns:
        The store, opened; None for a dry run, which only prints its forecast.

    Raises:
        ConfigError: If the folder holds a store made with other settings, or volumes that this
            manifest would drop, and ``overwrite`` is off; if another command is writing to it.
        DataError: If the manifest is wrong (nothing is written), or, after everything good is
            written, if scans were set aside and ``allow_quarantine`` is off.
        StorageError: If the store cannot be written.
        MissingExtraError: If the backend is not installed.
    """
    catalogue = _read(settings)
    store_settings = StoreSettings(
        geometry=settings.geometry,
        clauses=settings.clauses,
        split=settings.split,
        keep_without_report=settings.keep_without_report,
        mask_identifiers=settings.mask_identifiers,
    )
    if settings.dry_run:
        forecast(_plan(catalogue, settings), settings.out, settings.workers).show(settings.out)
        return None
    with locked(settings.out, "prepare"):
        refuse_half_removed(settings.out)
        plan = _plan(catalogue, settings)
        if not settings.overwrite:
            refuse_to_drop(settings.out, {job.volume_id for job in plan.jobs})
        claim(settings.out, store_settings, overwrite=settings.overwrite)
        if settings.readmit:
            _removed(settings).write(settings.out)
        outcomes = _take_in_all(plan, settings)
        publish(settings.out, plan.rows, catalogue.label_names, store_settings, outcomes)
    aside = [outcomes[row.volume_id] for row in plan.rows if outcomes[row.volume_id].problem]
    _summarise(plan, outcomes, aside, settings.out)
    if aside and not settings.allow_quarantine:
        raise DataError(
            f"{settings.out}: {len(aside)} of {len(outcomes)} volumes were set aside, see "
            f"{QUARANTINE_FILE} there; the others are in the store. Correct or remove them and run "
            "the same command again, or accept it with --allow_quarantine true."
        )
    return VolumeStore.open(settings.out)


def _read(settings: PrepareConfig) -> Catalogue:
    """What the layout finds, its reports masked if asked for; says what is odd about it."""
    options = LayoutOptions(
        labels=settings.labels,
        reports=settings.reports,
        key=settings.key,
        links=None if settings.dry_run else settings.links,
    )
    catalogue = read_catalogue(settings.data, settings.layout, options)
    catalogue.require_sound(settings.data)
    show_notices(catalogue.faults)
    if settings.mask_identifiers:
        catalogue, counts = mask_reports(catalogue)
        kinds = ", ".join(f"{kind} {number}" for kind, number in sorted(counts.items()))
        console.print(f"masked in the reports: {kinds or 'nothing'}")
    return catalogue


def _removed(settings: PrepareConfig) -> RemovedPatients:
    return RemovedPatients.read(settings.out).without(settings.readmit)


def _plan(catalogue: Catalogue, settings: PrepareConfig) -> Plan:
    return make_plan(
        catalogue,
        settings.out,
        settings.geometry,
        _removed(settings),
        keep_without_report=settings.keep_without_report,
        limit=settings.limit,
        verify=settings.verify,
    )


def _take_in_all(plan: Plan, settings: PrepareConfig) -> dict[str, ScanOutcome]:
    """Outcomes by volume id, one a row of the plan."""
    workers = Workers(backend=settings.backend, num=settings.num_workers, address=settings.address)
    made = run_jobs(plan.jobs, take_in, set_aside, workers, settings.out)
    outcomes = {outcome.volume_id: outcome for outcome in plan.outcomes}
    for outcome in watched(made, len(plan.jobs), lambda outcome: bool(outcome.problem)):
        noticed = plan.noticed.get(outcome.volume_id, ())
        outcomes[outcome.volume_id] = with_faults(outcome, noticed)
    return outcomes


def _summarise(
    plan: Plan, outcomes: dict[str, ScanOutcome], aside: Sequence[ScanOutcome], out: Path
) -> None:
    """Say what was kept, and show in one table what was not."""
    num_warned = sum(
        any(FAULTS[kind].severity == "warning" for kind, _ in outcome.faults)
        for outcome in outcomes.values()
    )
    warned = f", {num_warned} with warnings (see {INDEX_FILE})" if num_warned else ""
    console.print(escape(f"{out}: {len(outcomes) - len(aside)} volumes in the store{warned}"))
    if plan.num_barred_patients:
        console.print(
            f"{plan.num_barred_volumes} volumes of {plan.num_barred_patients} removed patients "
            "were left out; --readmit lets a patient come back"
        )
    if not aside:
        return
    table = Table(title=f"{len(aside)} volumes set aside", title_justify="left")
    for name in ("volume", "image", "reason", "what to do"):
        table.add_column(name, overflow="fold")
    for outcome in aside[:_MOST_SHOWN]:
        cells = (outcome.volume_id, outcome.image, outcome.problem, outcome.message)
        table.add_row(*map(escape, cells))
    console.print(table)
    if len(aside) > _MOST_SHOWN:
        console.print(escape(f"and {len(aside) - _MOST_SHOWN} more in {out / QUARANTINE_FILE}"))
