"""`mg3d remove`: one patient out of a store, and out of everything made from it.

What names the patient goes last, so the same command goes on after a kill. Files are deleted, not
overwritten on the disk; backups, snapshots and the source data are their owner's.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape

from mg3d.data.preparation.claim import clear_leftovers
from mg3d.data.preparation.lock import locked
from mg3d.data.preparation.pool import IN_FLIGHT_FOLDER
from mg3d.data.preparation.publication import StoreTables, make_tables
from mg3d.data.preparation.removed import RemovedPatients
from mg3d.data.preparation.traces import (
    Exposure,
    Traces,
    check_audits,
    clean_audit,
    clean_run,
    find_runs,
    still_naming,
)
from mg3d.data.store import (
    INDEX_FILE,
    PREPARING_FILE,
    QUARANTINE_FILE,
    REMOVING_FILE,
    REPORTS_FILE,
    STORE_FILE,
    read_description,
    volume_path,
)
from mg3d.errors import DataError
from mg3d.files import write_json
from mg3d.progress import console


@dataclass(frozen=True, kw_only=True)
class RemoveConfig:
    """Whom to remove, and where else to look for traces."""

    store: Path
    """The store that `mg3d prepare` wrote."""
    patient: str
    """Id of the patient, as the store's index has it."""
    runs: tuple[Path, ...] = ()
    """Runs whose evaluation may hold the patient, or folders with runs at any depth."""
    audits: tuple[Path, ...] = ()
    """Folders that `mg3d audit` wrote."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "runs", tuple(Path(run) for run in self.runs))
        object.__setattr__(self, "audits", tuple(Path(audit) for audit in self.audits))


@dataclass(frozen=True, kw_only=True)
class RemoveResult:
    """What was found, and which runs the patient is in for good."""

    num_volumes: int
    num_reports: int
    exposures: dict[Path, Exposure]
    """Run -> what its weights have seen."""


def remove(settings: RemoveConfig) -> RemoveResult:
    """Remove a patient; the next `mg3d prepare` into this store leaves the patient out.

    Nothing of the patient is left in volumes, index, reports, quarantine and marks of the store, in
    the given audits, and in features, examples and pages of the given runs. Weights cannot forget:
    those that were trained on the patient are listed.

    Args:
        settings: Whom, and where.

    Returns:
        What was found.

    Raises:
        DataError: No such patient, no store or a half-prepared one; or, after everything else is
            done, files that still name the patient.
        ConfigError: If another command is writing to the store.
        StorageError: If it cannot be written.
    """
    store, patient = settings.store, settings.patient
    if (store / PREPARING_FILE).exists():
        raise DataError(
            f"{store}: `mg3d prepare` was stopped here or is still running; let it come to its "
            "end, then remove the patient"
        )
    description = _description(store)
    runs = find_runs(settings.runs)
    check_audits(settings.audits)
    with locked(store, "remove"):
        clear_leftovers(store)
        traces = _traces(store, patient)
        tables = _tables_without(store, patient, description)
        removed = _bar(store, patient, traces, description, tables)
        write_json(store / REMOVING_FILE, description)
        (store / STORE_FILE).unlink(missing_ok=True)
        for audit in settings.audits:
            clean_audit(audit, traces)
        history = removed.history(patient, description["content_hash"])
        exposures = {run: clean_run(run, store, traces, history) for run in runs}
        for volume_id in traces.volume_ids:
            volume_path(store, volume_id).unlink(missing_ok=True)
            (store / IN_FLIGHT_FOLDER / volume_id).unlink(missing_ok=True)
        tables.write(store)
        (store / REMOVING_FILE).unlink()
    result = RemoveResult(
        num_volumes=len(traces.volume_ids), num_reports=len(traces.study_ids), exposures=exposures
    )
    _summarise(result, store)
    left = still_naming((store, *runs, *settings.audits), traces)
    if left:
        shown = "\n  ".join(str(path) for path in left)
        raise DataError(
            f"{store}: the patient was removed, but these files still name one of the patient's "
            f"ids; look at them and delete them:\n  {shown}"
        )
    return result


def _description(store: Path) -> dict[str, Any]:
    """Schema, settings, label names and content hash, also of a store half-removed from."""
    path = store / REMOVING_FILE
    if not path.exists():
        found = read_description(store)
        return {name: found[name] for name in ("schema", "settings", "label_names", "content_hash")}
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not readable ({type(error).__name__})") from error
    return content


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: not readable ({type(error).__name__}), so it cannot be said what belongs to "
            "the patient. Run `mg3d prepare` again first."
        ) from error


def _traces(store: Path, patient: str) -> Traces:
    index = [r for r in _rows(store / INDEX_FILE) if r["patient_id"] == patient]
    aside = [r for r in _rows(store / QUARANTINE_FILE) if r.get("patient_id") == patient]
    return Traces(
        patient_id=patient,
        volume_ids=frozenset(row["volume_id"] for row in (*index, *aside)),
        study_ids=frozenset(row["study_id"] for row in (*index, *aside)),
        split=index[0]["split"] if index else "",
    )


def _tables_without(store: Path, patient: str, description: dict[str, Any]) -> StoreTables:
    """The store's tables as they will be."""

    def others(name: str) -> list[dict[str, Any]]:
        return [row for row in _rows(store / name) if row.get("patient_id") != patient]

    index = others(INDEX_FILE)
    studies = {row["study_id"] for row in index}
    return make_tables(
        description["settings"],
        description["label_names"],
        index,
        [row for row in _rows(store / REPORTS_FILE) if row["study_id"] in studies],
        others(QUARANTINE_FILE),
    )


def _bar(
    store: Path, patient: str, traces: Traces, description: dict[str, Any], tables: StoreTables
) -> RemovedPatients:
    """Keep the patient from coming back, before anything else is done."""
    removed = RemovedPatients.read(store)
    if removed.find(patient) is not None:
        return removed
    if not traces.volume_ids:
        raise DataError(
            f"{store}: no volume of this patient, in the store or set aside. Give the id as "
            f"{INDEX_FILE} has it."
        )
    removed = removed.plus(patient, traces.split, description["content_hash"], tables.content_hash)
    removed.write(store)
    return removed


def _summarise(result: RemoveResult, store: Path) -> None:
    console.print(
        escape(f"{store}: {result.num_volumes} volumes of {result.num_reports} studies removed")
    )
    _list(result, "trained", "weights trained on the patient; train anew, or retire them:")
    _list(result, "unknown", "trained on another state of the store, perhaps on the patient:")
    _list(result, "judged", "evaluated or chosen with the patient; weights not trained on them:")


def _list(result: RemoveResult, exposure: Exposure, title: str) -> None:
    runs: Iterable[Path] = (run for run, found in result.exposures.items() if found == exposure)
    lines = [f"  {run}" for run in sorted(runs)]
    if lines:
        console.print(escape("\n".join([title, *lines])))
