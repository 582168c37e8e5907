"""Publishing a store: index, reports and quarantine, then `store.json`, which vouches for them."""

import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mg3d.data.layouts.catalogue import CatalogueRow
from mg3d.data.preparation.intake import ScanOutcome
from mg3d.data.preparation.pool import IN_FLIGHT_FOLDER
from mg3d.data.splits import split_of
from mg3d.data.store import (
    INDEX_FILE,
    PREPARING_FILE,
    QUARANTINE_FILE,
    REPORTS_FILE,
    SCHEMA,
    STORE_FILE,
    StoreRow,
    StoreSettings,
    hash_content,
    stored_volumes,
    to_jsonl,
    volume_path,
)
from mg3d.data.text.report_faults import check_report
from mg3d.files import write_atomic


@dataclass(frozen=True, kw_only=True)
class StoreTables:
    """The four files that describe a store, as bytes."""

    index: bytes
    reports: bytes
    quarantine: bytes
    description: bytes
    content_hash: str

    def write(self, out: Path) -> None:
        """Write them, the description last; nothing if nothing changed.

        Raises:
            StorageError: If the store cannot be written.
        """
        files = {
            REPORTS_FILE: self.reports,
            INDEX_FILE: self.index,
            QUARANTINE_FILE: self.quarantine,
            STORE_FILE: self.description,
        }
        if any(_content(out / name) != content for name, content in files.items()):
            (out / STORE_FILE).unlink(missing_ok=True)
            for name, content in files.items():
                write_atomic(out / name, content)


def make_tables(
    settings: dict[str, Any],
    label_names: Sequence[str],
    index: Sequence[dict[str, Any]],
    reports: Iterable[dict[str, Any]],
    quarantine: Iterable[dict[str, Any]],
) -> StoreTables:
    """The files of a store from their rows.

    Args:
        settings: `StoreSettings.to_json`.
        label_names: What the labels of the rows mean.
        index: One row a volume, sorted by volume id.
        reports: One row a study, sorted by study id.
        quarantine: One row a volume that was set aside, sorted by volume id.
    """
    index_bytes, report_bytes = to_jsonl(index), to_jsonl(reports)
    content_hash = hash_content(settings, label_names, index_bytes, report_bytes)
    description = {
        "schema": SCHEMA,
        "settings": settings,
        "label_names": list(label_names),
        "num_volumes": len(index),
        "content_hash": content_hash,
    }
    return StoreTables(
        index=index_bytes,
        reports=report_bytes,
        quarantine=to_jsonl(quarantine),
        description=(json.dumps(description, indent=1, sort_keys=True) + "\n").encode(),
        content_hash=content_hash,
    )


def publish(
    out: Path,
    rows: Sequence[CatalogueRow],
    label_names: Sequence[str],
    settings: StoreSettings,
    outcomes: dict[str, ScanOutcome],
) -> None:
    """Write what describes the store, and remove volumes that are not in the index (any more).

    Args:
        out: The store.
        rows: All rows of the plan, sorted by volume id.
        label_names: Names of their labels.
        settings: What the store was made with.
        outcomes: By volume id, one a row.

    Raises:
        StorageError: If the store cannot be written.
    """
    kept = [row for row in rows if not outcomes[row.volume_id].problem]
    aside = [row for row in rows if outcomes[row.volume_id].problem]
    make_tables(
        settings.to_json(),
        label_names,
        [_index_row(row, outcomes[row.volume_id], settings).to_json() for row in kept],
        _report_rows(kept),
        (_quarantine_row(row, outcomes[row.volume_id]) for row in aside),
    ).write(out)
    for volume_id in stored_volumes(out) - {row.volume_id for row in kept}:
        volume_path(out, volume_id).unlink()
    shutil.rmtree(out / IN_FLIGHT_FOLDER, ignore_errors=True)
    (out / PREPARING_FILE).unlink(missing_ok=True)


def _index_row(row: CatalogueRow, outcome: ScanOutcome, settings: StoreSettings) -> StoreRow:
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
    """One row a study, sorted by study; of what is wrong with a report, the kinds alone."""
    reports = {row.study_id: row.report for row in rows}
    for study_id, report in sorted(reports.items()):
        yield {
            "study_id": study_id, "findings": report.findings, "impression": report.impression,
            "faults": sorted({kind for kind, _ in check_report(report)} - {"report_missing"}),
        }  # fmt: skip


def _quarantine_row(row: CatalogueRow, outcome: ScanOutcome) -> dict[str, Any]:
    return {
        "volume_id": row.volume_id,
        "study_id": row.study_id,
        "patient_id": row.patient_id,
        "image": outcome.image,
        "kind": outcome.problem,
        "message": outcome.message,
    }


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None
