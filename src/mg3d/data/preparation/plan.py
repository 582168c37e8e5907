"""The plan of a store: which scans are taken in, which are set aside unseen, which are barred."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mg3d.data.faults import Fault
from mg3d.data.grid import GridConfig
from mg3d.data.layouts.catalogue import Catalogue, CatalogueRow
from mg3d.data.preparation.intake import ScanJob, ScanOutcome
from mg3d.data.preparation.removed import RemovedPatients

FaultPairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What `prepare` is to do with each row of a catalogue."""

    rows: tuple[CatalogueRow, ...]
    """All rows that count, sorted by volume id; barred patients are not among them."""
    jobs: tuple[ScanJob, ...]
    """Scans to take in, in the same order."""
    outcomes: tuple[ScanOutcome, ...]
    """Rows that need no look to be set aside: without a report, or barred by their table."""
    noticed: dict[str, FaultPairs]
    """Volume id -> (kind, message) of what the tables have wrong but does not bar it."""
    num_barred_patients: int = 0
    num_barred_volumes: int = 0


def make_plan(
    catalogue: Catalogue,
    store: Path,
    geometry: GridConfig,
    removed: RemovedPatients,
    *,
    keep_without_report: bool = False,
    limit: int = 0,
    verify: bool = False,
) -> Plan:
    """Decide what happens to each row.

    Args:
        catalogue: What the layout found.
        store: Where volumes go.
        geometry: The model grid.
        removed: Patients who must not come back.
        keep_without_report: Take in volumes whose study has no report.
        limit: Only the first so many volumes by their id; 0 = all.
        verify: See `ScanJob`.
    """
    barred = removed.barred({row.patient_id for row in catalogue.rows})
    rows = sorted(catalogue.rows, key=lambda row: row.volume_id)
    num_all = len(rows)
    rows = [row for row in rows if row.patient_id not in barred]
    num_barred = num_all - len(rows)
    rows = rows[: limit or None]
    outcomes, noticed = _judge_tables(rows, catalogue.faults)
    for row in rows:
        if row.report.is_empty and not keep_without_report and row.volume_id not in outcomes:
            outcomes[row.volume_id] = _without_report(row)
    jobs = tuple(
        ScanJob(
            volume_id=row.volume_id,
            image=row.image,
            source=row.source,
            store=store,
            geometry=geometry,
            verify=verify,
        )
        for row in rows
        if row.volume_id not in outcomes
    )
    return Plan(
        rows=tuple(rows),
        jobs=jobs,
        outcomes=tuple(outcomes.values()),
        noticed=noticed,
        num_barred_patients=len(barred),
        num_barred_volumes=num_barred,
    )


def _judge_tables(
    rows: Sequence[CatalogueRow], faults: Sequence[Fault]
) -> tuple[dict[str, ScanOutcome], dict[str, FaultPairs]]:
    """What faults of the tables say about single volumes; a study's concern all of its volumes."""
    by_id: dict[str, list[Fault]] = defaultdict(list)
    for fault in faults:
        by_id[fault.volume_id or fault.study_id].append(fault)
    outcomes: dict[str, ScanOutcome] = {}
    noticed: dict[str, FaultPairs] = {}
    for row in rows:
        found = [f for f in by_id.get(row.volume_id, ()) if f.volume_id]
        found += [f for f in by_id.get(row.study_id, ()) if not f.volume_id]
        kept = tuple((fault.kind, fault.message) for fault in found if fault.action == "keep")
        if kept:
            noticed[row.volume_id] = kept
        for fault in found:
            if fault.action == "set_aside":
                outcomes[row.volume_id] = _set_aside(row, fault.kind, fault.message)
                break
    return outcomes, noticed


def _without_report(row: CatalogueRow) -> ScanOutcome:
    message = (
        f"{row.place}: no findings, impression or report. Add one, or keep such volumes for "
        "masked_volume with keep_without_report."
    )
    return _set_aside(row, "report_missing", message)


def _set_aside(row: CatalogueRow, kind: str, message: str) -> ScanOutcome:
    return ScanOutcome(volume_id=row.volume_id, image=row.image, problem=kind, message=message)


def with_faults(outcome: ScanOutcome, noticed: FaultPairs) -> ScanOutcome:
    """An outcome with what the tables have wrong put before what the scan has."""
    return replace(outcome, faults=(*noticed, *outcome.faults)) if noticed else outcome
