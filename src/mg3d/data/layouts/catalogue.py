"""The catalogue: what a layout found, one row a volume, the same for every layout."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mg3d.data.faults import Fault
from mg3d.data.scan import ScanSource
from mg3d.data.splits import SPLITS, Split
from mg3d.data.text.reports import Report
from mg3d.errors import DataError

SPLIT_NAMES: dict[str, Split] = {
    **{name: name for name in SPLITS}, "valid": "val", "validation": "val", "training": "train",
}  # fmt: skip
"""How tables spell a split, in lower case."""
_MOST_COMPLAINTS = 20
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=-]{0,199}")


@dataclass(frozen=True, kw_only=True)
class CatalogueRow:
    """One volume as its site names it."""

    place: str
    """Where the row stands, for messages: "line 7", or a file relative to the folder."""
    volume_id: str
    study_id: str
    patient_id: str
    source: ScanSource
    image: str
    """The source's name as store, quarantine and audit may show it: relative to the folder, with
    forward slashes, and without personal data."""
    report: Report
    split: Split | None = None
    labels: tuple[float, ...] = ()
    """1, 0 or NaN for unknown, in the order of `Catalogue.label_names`."""


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """All volumes of a site."""

    layout: str
    """Name of the layout that read it."""
    folder: Path
    """What ``image`` is relative to."""
    rows: tuple[CatalogueRow, ...]
    label_names: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()
    """What is wrong with the tables as such; those whose action is "stop" stop `prepare`."""
    private_names: bool = False
    """Files below the folder may be named after persons: show ``image``, never a path."""

    def require_sound(self, place: Path) -> None:
        """Stop on faults of the tables.

        Raises:
            DataError: Listing up to 20 of them with their places.
        """
        complaints = [fault for fault in self.faults if fault.action == "stop"]
        if complaints:
            lines = [f"{f.place}: {f.message}" if f.place else f.message for f in complaints]
            shown = "\n  ".join(lines[:_MOST_COMPLAINTS])
            more = len(lines) - _MOST_COMPLAINTS
            raise DataError(
                f"{place}: {len(lines)} problem(s) in the tables; correct the rows and run the "
                f"same command again.\n  {shown}" + (f"\n  and {more} more" if more > 0 else "")
            )


def assemble(
    layout: str,
    folder: Path,
    rows: Sequence[CatalogueRow],
    *,
    label_names: tuple[str, ...] = (),
    faults: Sequence[Fault] = (),
    private_names: bool = False,
) -> Catalogue:
    """The catalogue of rows as a layout found them, checked as every layout's are.

    Args:
        layout: Its name.
        folder: What ``image`` is relative to.
        rows: In the layout's order.
        label_names: Names of the rows' labels.
        faults: What the layout noticed itself.
        private_names: See `Catalogue`.
    """
    rows, at_odds = share_reports(rows)
    none = [] if rows else [Fault(kind="scan_none", message="no scan found; check the path")]
    return Catalogue(
        layout=layout,
        folder=folder,
        rows=tuple(rows),
        label_names=label_names,
        faults=(*faults, *none, *at_odds, *check_identities(rows)),
        private_names=private_names,
    )


def patients_unknown(rows: Sequence[CatalogueRow]) -> Fault:
    """Said by layouts of data sets that do not tell which scans are of one patient."""
    message = (
        f"the data set does not name patients; each of the {len(rows)} scans counts as one, so a "
        "patient scanned twice may stand in two splits"
    )
    return Fault(kind="id_patient_unknown", message=message)


def share_reports(rows: Sequence[CatalogueRow]) -> tuple[list[CatalogueRow], list[Fault]]:
    """Give every volume of a study the study's report; two different ones are a mistake."""
    faults = []
    first: dict[str, CatalogueRow] = {}
    for row in rows:
        if row.report.is_empty:
            continue
        known = first.setdefault(row.study_id, row)
        if known.report.report_id != row.report.report_id:
            message = f"study {shown(row.study_id)} has another report in {known.place}"
            faults.append(_fault("report_contradiction", row, message))
    return [
        replace(row, report=first[row.study_id].report) if row.study_id in first else row
        for row in rows
    ], faults


def check_identities(rows: Sequence[CatalogueRow]) -> list[Fault]:
    """What contradicts itself among volumes, studies, patients and splits."""
    faults: list[Fault] = []
    volumes: dict[str, CatalogueRow] = {}
    patients: dict[str, CatalogueRow] = {}
    splits: dict[str, CatalogueRow] = {}
    some_split = any(row.split for row in rows)
    for row in rows:
        # A volume without a name of its own is named after its study: one complaint is enough.
        for name, value in (("study_id", row.study_id), ("volume_id", row.volume_id)):
            if value and not _SAFE_NAME.fullmatch(value):
                message = (
                    f"{name} ({len(value)} characters) names files: up to 200 letters, digits and "
                    "._+=-, starting with a letter or digit. Rename it."
                )
                faults.append(_fault("id_unsafe", row, message))
                break
        key = row.volume_id.casefold()  # some file systems do not tell A from a
        if key in volumes:
            message = f"volume id {shown(row.volume_id)} stands in {volumes[key].place} too"
            faults.append(_fault("id_twice", row, message))
        volumes.setdefault(key, row)
        owner = patients.setdefault(row.study_id, row)
        if owner.patient_id != row.patient_id:
            message = f"study {shown(row.study_id)} belongs to another patient in {owner.place}"
            faults.append(_fault("id_study_of_two_patients", row, message))
        side = splits.setdefault(row.patient_id, row)
        if side.split != row.split and row.split and side.split:
            message = (
                f"patient {shown(row.patient_id)} is in {row.split}, and in {side.split} in "
                f"{side.place}; a patient belongs to one split"
            )
            faults.append(_fault("split_patient_in_two", row, message))
        if some_split and not row.split:
            message = "split is empty; fill it in every row or in none"
            faults.append(_fault("split_incomplete", row, message))
    return faults


def _fault(kind: str, row: CatalogueRow, message: str) -> Fault:
    return Fault(kind=kind, message=message, place=row.place, volume_id=row.volume_id)


def shown(name: str) -> str:
    """An id as a message may hold it: where columns are mixed up, an id is a report or a person."""
    return repr(name) if _SAFE_NAME.fullmatch(name) else f"of {len(name)} characters"
