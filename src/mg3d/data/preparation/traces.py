"""Traces of a patient outside a store: in audits, and in what evaluation leaves in a run.

Known here by the files that the contracts name, because data knows neither training nor audit.
What can be made again (features, pages) is deleted whole; single scans are taken out of the rest.
"""

import json
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mg3d.data.preparation.pool import IN_FLIGHT_FOLDER
from mg3d.data.preparation.removed import History
from mg3d.errors import DataError
from mg3d.files import remove_stale_temporaries

Exposure = Literal["trained", "judged", "none", "unknown"]
"""What a run has seen of a patient: trained on, only evaluated on, nothing, or not known."""
_PROVENANCE = "provenance.json"
_TEXT_FILES = (".json", ".jsonl", ".html", ".yaml", ".yml", ".csv", ".tsv", ".txt", ".log", ".md")
_LONGEST_BYTES = 1 << 28


@dataclass(frozen=True, kw_only=True)
class Traces:
    """What names a patient."""

    patient_id: str
    volume_ids: frozenset[str]
    """Empty where the store has forgotten the patient already."""
    study_ids: frozenset[str]
    split: str

    @property
    def ids(self) -> frozenset[str]:
        """All names together."""
        return self.volume_ids | self.study_ids | {self.patient_id}


def find_runs(folders: Iterable[Path]) -> list[Path]:
    """Runs among the given folders and below them.

    Raises:
        DataError: If a folder holds none, which a misspelt path would too.
    """
    found: list[Path] = []
    for folder in folders:
        runs = sorted(path.parent for path in folder.rglob(_PROVENANCE))
        if not runs:
            raise DataError(f"{folder}: no run in it ({_PROVENANCE} is missing); check the path")
        found += runs
    return list(dict.fromkeys(found))


def clean_run(run: Path, store: Path, traces: Traces, history: History) -> Exposure:
    """Take a patient out of a run's evaluation.

    Args:
        run: The run.
        store: The store the patient is removed from.
        traces: What names the patient.
        history: Of the store.

    Returns:
        What the weights have seen.
    """
    provenance = _read(run / _PROVENANCE)
    trained_on = provenance.get("store_hash")
    exposure = _exposure(trained_on, history)
    named = provenance.get("store")
    is_ours = isinstance(named, str) and (run / named).resolve() == store.resolve()
    if exposure == "unknown" and not is_ours:
        exposure = "none"
    evaluation = run / "evaluation"
    known = history.with_patient | history.without_patient
    judged_on = {_read(path).get("store_hash") for path in evaluation.glob("*.json")}
    if not (is_ours or known & {trained_on, *judged_on}):
        return exposure
    shutil.rmtree(evaluation / "features", ignore_errors=True)
    examples = evaluation / "examples"
    remove_stale_temporaries(examples)
    for path in examples.glob("*"):  # all of them where it is no longer known whose is whose
        if path.stem in traces.study_ids or not traces.study_ids:
            path.unlink()
    (run / "report.html").unlink(
        missing_ok=True
    )  # it shows examples; drawn again from what is left
    return exposure


def _exposure(trained_on: Any, history: History) -> Exposure:
    if trained_on in history.without_patient:
        return "none"
    if trained_on not in history.with_patient:
        return "unknown"
    if history.split == "train":
        return "trained"
    return "judged" if history.split else "none"


def check_audits(folders: Iterable[Path]) -> None:
    """Stop where a folder is no audit's, as that of a misspelt path.

    Raises:
        DataError: Naming it.
    """
    for audit in folders:
        if not (audit / "facts").is_dir():
            raise DataError(f"{audit}: no audit in it (no folder facts); check the path")


def clean_audit(audit: Path, traces: Traces) -> None:
    """Take a patient out of an audit; its page is to be made again by `mg3d audit`."""
    facts = audit / "facts"
    for folder in (audit, facts, audit / "thumbnails"):
        remove_stale_temporaries(folder)
    for path in facts.glob("*.json"):
        if _read(path).get("patient_id", traces.patient_id) == traces.patient_id:
            (audit / "thumbnails" / f"{path.stem}.png").unlink(missing_ok=True)
            (audit / IN_FLIGHT_FOLDER / path.stem).unlink(missing_ok=True)
            path.unlink()
    for name in ("audit.json", "audit.html"):
        (audit / name).unlink(missing_ok=True)


def still_naming(folders: Iterable[Path], traces: Traces) -> list[Path]:
    """Text files that hold one of a patient's ids between quotes, tags or slashes, or as a name."""
    names = "|".join(re.escape(name) for name in sorted(traces.ids))
    pattern = re.compile(f"[\"'<>/](?:{names})[\"'<>/.]".encode())
    return [
        path
        for path in _files(folders)
        if path.stem in traces.ids or (path.suffix in _TEXT_FILES and _holds(path, pattern))
    ]


def _files(folders: Iterable[Path]) -> Iterator[Path]:
    for folder in folders:
        yield from sorted(path for path in folder.rglob("*") if path.is_file())


def _holds(path: Path, pattern: re.Pattern[bytes]) -> bool:
    if path.stat().st_size > _LONGEST_BYTES:
        return False
    return pattern.search(path.read_bytes()) is not None


def _read(path: Path) -> dict[str, Any]:
    """A JSON file that may be missing or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
