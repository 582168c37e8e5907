"""`mg3d prepare`: scans and reports in, a store out.

Every scan is treated alone and written at once; the index comes at the end. A run that was
stopped anywhere goes on when the same command is given again and ends with the same bytes.
"""

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from mg3d.data.backends import Workers
from mg3d.data.clauses import ClauseRule
from mg3d.data.faults import FAULTS
from mg3d.data.grid import GridConfig
from mg3d.data.intake import ScanJob, ScanOutcome, set_aside, take_in
from mg3d.data.layouts.catalogue import Catalogue, CatalogueRow
from mg3d.data.layouts.layout import AUTO, LayoutOptions, read_catalogue
from mg3d.data.pool import IN_FLIGHT_FOLDER, run_jobs, take_markers
from mg3d.data.splits import SplitConfig, split_of
from mg3d.data.store import (
    INDEX_FILE,
    PREPARING_FILE,
    QUARANTINE_FILE,
    REPORTS_FILE,
    SCHEMA,
    STORE_FILE,
    VOLUME_FOLDER,
    StoreRow,
    StoreSettings,
    VolumeStore,
    hash_content,
    to_jsonl,
    volume_path,
)
from mg3d.errors import ConfigError, DataError
from mg3d.files import remove_stale_temporaries, write_atomic, write_json
from mg3d.progress import bar, console

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
    geometry: GridConfig = field(default_factory=GridConfig)
    """The model grid."""
    clauses: ClauseRule = "sentence"
    """How reports are cut: sentence (full stops, semicolons) or sen_comma (also commas)."""
    split: SplitConfig = field(default_factory=SplitConfig)
    """Division by patient, where the manifest has no column split."""
    keep_without_report: bool = False
    """Keep volumes without a report; only masked_volume learns from them."""
    allow_quarantine: bool = False
    """Exit with 0 even if scans had to be set aside."""
    overwrite: bool = False
    """Replace a store that was made with other settings or holds volumes not in the manifest."""
    num_workers: int = 0
    """Processes, each holding one scan; 0 = one a CPU core."""

    def __post_init__(self) -> None:
        if self.num_workers < 0:
            raise ConfigError(f"num_workers {self.num_workers}: 0 for one a core, or a number")


def prepare(settings: PrepareConfig) -> VolumeStore:
    """Make a store from scans and reports.

    Args:
        settings: What and how.

    Returns:
        The store, opened.

    Raises:
        ConfigError: If the folder holds a store made with other settings, or volumes that this
            manifest would drop, and ``overwrite`` is off.
        DataError: If the manifest is wrong (nothing is written), or, after everything good is
            written, if scans were set aside and ``allow_quarantine`` is off.
        StorageError: If the store cannot be written.
    """
    options = LayoutOptions(labels=settings.labels, reports=settings.reports)
    catalogue = read_catalogue(settings.data, settings.layout, options)
    catalogue.require_sound(settings.data)
    store_settings = StoreSettings(
        geometry=settings.geometry,
        clauses=settings.clauses,
        split=settings.split,
        keep_without_report=settings.keep_without_report,
    )
    jobs, outcomes = _plan(catalogue, settings)
    if not settings.overwrite:
        _refuse_to_drop(settings.out, {job.volume_id for job in jobs})
    _claim(settings.out, store_settings, overwrite=settings.overwrite)
    outcomes += _watch(jobs, settings)
    _publish(settings.out, catalogue, store_settings, outcomes)
    aside = sorted((o for o in outcomes if o.problem), key=lambda o: o.volume_id)
    _summarise(outcomes, aside, settings.out)
    if aside and not settings.allow_quarantine:
        raise DataError(
            f"{settings.out}: {len(aside)} of {len(outcomes)} volumes were set aside, see "
            f"{QUARANTINE_FILE} there; the others are in the store. Correct or remove them and run "
            "the same command again, or accept it with --allow_quarantine true."
        )
    return VolumeStore.open(settings.out)


def _refuse_to_drop(out: Path, wanted: set[str]) -> None:
    """Stop before a wrong manifest empties a store that took days to make."""
    dropped = sorted(_stored_volumes(out) - wanted)
    if dropped:
        raise ConfigError(
            f"{out}: holds {len(dropped)} volumes that this manifest does not ask for (the first "
            f"is {dropped[0]!r}). Choose another folder, or drop them with --overwrite true."
        )


def _stored_volumes(out: Path) -> set[str]:
    ending = ".safetensors"
    return {path.name.removesuffix(ending) for path in (out / VOLUME_FOLDER).glob(f"[!.]*{ending}")}


def _claim(out: Path, settings: StoreSettings, *, overwrite: bool) -> None:
    """Make sure that the folder is ours to write, and clear what a killed run left behind."""
    wanted = settings.to_json()
    for name in (PREPARING_FILE, STORE_FILE):
        try:
            found = json.loads((out / name).read_text(encoding="utf-8")).get("settings")
        except FileNotFoundError:
            continue
        except (OSError, ValueError, AttributeError):
            found = None
        if found == wanted:
            continue
        if not overwrite:
            raise ConfigError(
                f"{out}: holds a store made with other settings ({_difference(found, wanted)}). "
                "Choose another folder, or replace it with --overwrite true."
            )
        (out / STORE_FILE).unlink(missing_ok=True)
    write_json(out / PREPARING_FILE, {"schema": SCHEMA, "settings": wanted})
    interrupted = take_markers(out)
    if interrupted:
        console.print(f"an earlier run was stopped at {', '.join(interrupted)}; going on")
    remove_stale_temporaries(out)
    remove_stale_temporaries(out / VOLUME_FOLDER)


def _difference(found: Any, wanted: dict[str, Any]) -> str:
    if not isinstance(found, dict):
        return "its description is not readable"
    there, asked = _flat(found), _flat(wanted)
    names = [name for name in asked if there.get(name) != asked[name]]
    return "; ".join(f"{name}: {there.get(name)} there, {asked[name]} asked for" for name in names)


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings under dotted names, as the command line spells them."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= (
            _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
        )
    return flat


def _plan(catalogue: Catalogue, settings: PrepareConfig) -> tuple[list[ScanJob], list[ScanOutcome]]:
    """Scans to take in, and outcomes of those that need no look: they lack a report."""
    jobs, outcomes = [], []
    for row in catalogue.rows:
        if row.report.is_empty and not settings.keep_without_report:
            outcomes.append(
                ScanOutcome(
                    volume_id=row.volume_id,
                    image=row.image,
                    problem="report_missing",
                    message=f"{row.place}: no findings, impression or report. Add one, or keep "
                    "such volumes for masked_volume with keep_without_report.",
                )
            )
            continue
        jobs.append(
            ScanJob(
                volume_id=row.volume_id,
                image=row.image,
                source=row.source,
                store=settings.out,
                geometry=settings.geometry,
            )
        )
    return jobs, outcomes


def _watch(jobs: Sequence[ScanJob], settings: PrepareConfig) -> list[ScanOutcome]:
    """Run the jobs behind a progress bar with rate and estimate."""
    workers = Workers(num=settings.num_workers)
    outcomes: list[ScanOutcome] = []
    num_bad = 0
    began = time.monotonic()
    with bar() as progress:
        task = progress.add_task("prepare", total=len(jobs), status="")
        for outcome in run_jobs(jobs, take_in, set_aside, workers, settings.out):
            outcomes.append(outcome)
            num_bad += bool(outcome.problem)
            rate = len(outcomes) / max(time.monotonic() - began, 1e-3)
            status = f"{rate:.1f} scans/s" + (f", {num_bad} set aside" if num_bad else "")
            progress.update(task, advance=1, status=status)
    return outcomes


def _publish(
    out: Path, catalogue: Catalogue, settings: StoreSettings, outcomes: Sequence[ScanOutcome]
) -> None:
    """Write index, reports and quarantine, then `store.json`; nothing if nothing changed."""
    by_volume = {outcome.volume_id: outcome for outcome in outcomes}
    kept = sorted(
        (row for row in catalogue.rows if not by_volume[row.volume_id].problem),
        key=lambda row: row.volume_id,
    )
    index = to_jsonl(_store_row(r, by_volume[r.volume_id], settings).to_json() for r in kept)
    reports = to_jsonl(_report_rows(kept))
    description = {
        "schema": SCHEMA,
        "settings": settings.to_json(),
        "label_names": list(catalogue.label_names),
        "num_volumes": len(kept),
        "content_hash": hash_content(settings.to_json(), catalogue.label_names, index, reports),
    }
    set_aside = sorted((o for o in outcomes if o.problem), key=lambda o: o.volume_id)
    files = {
        REPORTS_FILE: reports,
        INDEX_FILE: index,
        QUARANTINE_FILE: to_jsonl(_quarantine_row(outcome) for outcome in set_aside),
        STORE_FILE: (json.dumps(description, indent=1, sort_keys=True) + "\n").encode(),
    }
    if any(_content(out / name) != content for name, content in files.items()):
        (out / STORE_FILE).unlink(missing_ok=True)
        for name, content in files.items():
            write_atomic(out / name, content)
    _tidy(out, {row.volume_id for row in kept})


def _store_row(row: CatalogueRow, outcome: ScanOutcome, settings: StoreSettings) -> StoreRow:
    return StoreRow(
        volume_id=row.volume_id,
        study_id=row.study_id,
        patient_id=row.patient_id,
        report_id=row.report.report_id,
        split=row.split or split_of(row.patient_id, settings.split),
        image=outcome.image,
        source_sha256=outcome.source_sha256,
        volume_sha256=outcome.volume_sha256,
        faults=outcome.faults,
        labels=row.labels,
    )


def _report_rows(rows: Sequence[CatalogueRow]) -> Iterator[dict[str, Any]]:
    """One row a study, sorted by study."""
    reports = {row.study_id: row.report for row in rows}
    for study_id, report in sorted(reports.items()):
        yield {
            "study_id": study_id, "findings": report.findings, "impression": report.impression,
        }  # fmt: skip


def _quarantine_row(outcome: ScanOutcome) -> dict[str, Any]:
    return {
        "volume_id": outcome.volume_id,
        "image": outcome.image,
        "kind": outcome.problem,
        "message": outcome.message,
    }


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _tidy(out: Path, kept: set[str]) -> None:
    """Remove volumes that are not in the index (any more), and the traces of the work."""
    for volume_id in _stored_volumes(out) - kept:
        volume_path(out, volume_id).unlink()
    shutil.rmtree(out / IN_FLIGHT_FOLDER, ignore_errors=True)
    (out / PREPARING_FILE).unlink(missing_ok=True)


def _summarise(
    outcomes: Sequence[ScanOutcome], set_aside: Sequence[ScanOutcome], out: Path
) -> None:
    """Say what was kept, and show in one table what was not."""
    num_warned = sum(any(FAULTS[k].severity == "warning" for k, _ in o.faults) for o in outcomes)
    warned = f", {num_warned} with warnings (see {INDEX_FILE})" if num_warned else ""
    num_kept = len(outcomes) - len(set_aside)
    console.print(escape(f"{out}: {num_kept} volumes in the store{warned}"))
    if not set_aside:
        return
    table = Table(title=f"{len(set_aside)} volumes set aside", title_justify="left")
    for name in ("volume", "image", "reason", "what to do"):
        table.add_column(name, overflow="fold")
    for outcome in set_aside[:_MOST_SHOWN]:
        cells = (outcome.volume_id, outcome.image, outcome.problem, outcome.message)
        table.add_row(*map(escape, cells))
    console.print(table)
    if len(set_aside) > _MOST_SHOWN:
        console.print(escape(f"and {len(set_aside) - _MOST_SHOWN} more in {out / QUARANTINE_FILE}"))
