"""Rad-ChestCT (Duke): NPZ volumes and labels, without reports.

A file ``trn00001.npz`` holds ``ct``, int16 HU clipped to -1000 .. 1000, 0.8 mm isotropic, its axes
running to inferior, posterior and left. The name says the split: trn, val or tst. Labels are
finding x location (``nodule*right_lower``); a finding is present when it is anywhere. Patients are
named by the full metadata table (MRN_DEID); without it every scan counts as a patient of its own.
"""

import math
import re
from collections.abc import Iterable
from pathlib import Path

from mg3d.data.faults import Fault
from mg3d.data.layouts.catalogue import Catalogue, CatalogueRow, assemble, patients_unknown
from mg3d.data.layouts.label_table import LabelTable, read_labels
from mg3d.data.layouts.layout import Layout, LayoutOptions
from mg3d.data.layouts.matching import listed
from mg3d.data.layouts.report_table import read_reports
from mg3d.data.layouts.site_folder import SiteFolder, list_folder
from mg3d.data.layouts.table import read_table
from mg3d.data.scan import ScanSource, Stated
from mg3d.data.splits import Split
from mg3d.data.text.reports import Report

KEY = "NoteAcc_DEID"
_VOLUME = re.compile(r"(trn|val|tst)\d+")
_SPLITS: dict[str, Split] = {"trn": "train", "val": "val", "tst": "test"}
STATED = Stated(array_name="ct", axes="IPL", spacing_mm=(0.8, 0.8, 0.8))
_LABEL_TABLE = r"img(train|valid|test)_Abnormality_and_Location_Labels\.csv"


def recognise(path: Path) -> bool:
    """Whether a folder holds one of the label tables, or volumes named like trn00001.npz."""
    if not path.is_dir():
        return False
    return any(
        re.fullmatch(_LABEL_TABLE, entry.name) is not None
        or (entry.suffix == ".npz" and _VOLUME.fullmatch(entry.stem) is not None)
        for entry in path.iterdir()
    )


def read(path: Path, options: LayoutOptions) -> Catalogue:
    """The catalogue of a folder of Rad-ChestCT.

    Args:
        path: The folder; volumes may lie anywhere below it.
        options: ``labels``: one table of the same columns instead of those found; ``reports``: a
            table with the column NoteAcc_DEID, for those who have them.
    """
    site = list_folder(path)
    faults: list[Fault] = []
    labels: LabelTable | None = None
    given = [options.labels] if options.labels is not None else site.named(_LABEL_TABLE)
    for table in given:
        part = read_labels(read_table(table), KEY, faults)
        labels = part if labels is None else labels.joined(part, faults)
    scans, unlisted = {}, []
    for file in site.scans((".npz",)):
        if _VOLUME.fullmatch(file.stem) is None:
            unlisted.append(site.relative(file))
        else:
            scans[file.stem] = file
    if unlisted:
        message = f"{len(unlisted)} arrays are not named like trn00001: {listed(unlisted)}"
        faults.append(Fault(kind="file_unlisted", message=message))
    if labels is not None:
        faults += labels.match(scans, "volume")
        labels = over_locations(labels)
    patients = _patients(site)
    if patients:
        unknown = [name for name in scans if name not in patients]
        if unknown:
            message = f"{len(unknown)} volumes have no row in the metadata: {listed(unknown)}"
            faults.append(Fault(kind="table_fact_missing", message=message))
    rows = [_row(site, scans[name], patients, labels) for name in sorted(scans)]
    if not patients:
        faults.append(patients_unknown(rows))
    if options.reports is not None:
        rows = read_reports(options.reports, (KEY, "study_id"), faults).attach(rows, faults)
    names = labels.names if labels is not None else ()
    return assemble(LAYOUT.name, path, rows, label_names=names, faults=faults)


def over_locations(labels: LabelTable) -> LabelTable:
    """Labels of findings, from labels of findings at locations: present where it is anywhere."""
    columns: dict[str, list[int]] = {}
    for number, name in enumerate(labels.names):
        columns.setdefault(name.partition("*")[0], []).append(number)
    values = {
        key: tuple(_largest(row[i] for i in group) for group in columns.values())
        for key, row in labels.values.items()
    }
    return LabelTable(labels.place, tuple(columns), values, labels.places)


def _largest(values: Iterable[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return max(known) if known else math.nan


def _patients(site: SiteFolder) -> dict[str, str]:
    path = site.the_one(r"CT_Scan_Metadata_Complete.*\.csv", "the metadata")
    if path is None:
        return {}
    table = read_table(path)
    table.require((KEY, "MRN_DEID"))
    return {record.text(KEY): record.text("MRN_DEID") for record in table.records}


def _row(
    site: SiteFolder, file: Path, patients: dict[str, str], labels: LabelTable | None
) -> CatalogueRow:
    name = file.stem
    return CatalogueRow(
        place=site.relative(file),
        volume_id=name,
        study_id=name,
        patient_id=patients.get(name, name),
        source=ScanSource(path=file, stated=STATED),
        image=site.relative(file),
        report=Report(),
        split=_SPLITS[name[:3]],
        labels=labels.of(name) if labels is not None else (),
    )


LAYOUT = Layout(
    name="rad_chestct",
    summary="Rad-ChestCT, NPZ volumes with labels and no reports",
    expects=(
        "a folder; trn00001.npz, val..., tst... (array ct); "
        "img{train,valid,test}_Abnormality_and_Location_Labels.csv; "
        "CT_Scan_Metadata_Complete*.csv for patients"
    ),
    recognise=recognise,
    read=read,
)
