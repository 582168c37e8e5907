"""CT-RATE, both generations of its NIfTI files, from its published tables.

A volume is named ``train_53_a_1``: split, patient, scan, reconstruction; patient and study are the
first two and three fields. Files of the first generation (folders ``train`` and ``valid``) carry
neither HU nor spacing, so slope, intercept and spacing come from the metadata table; those of the
second (``train_fixed``, ``valid_fixed``) carry both and must not be rescaled again
(ibrahimethemhamamci/CT-CLIP issue 50). In folders of other names the voxels tell, see
`mg3d.data.stated`. Where both are there, the second is taken.

Its ``valid`` is the set that papers report on, so it is the test split here; a twentieth of the
training patients, chosen by a hash of their number, is held out as val.
"""

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mg3d.data.faults import Fault
from mg3d.data.layouts.catalogue import Catalogue, CatalogueRow, assemble
from mg3d.data.layouts.label_table import LabelTable, read_labels
from mg3d.data.layouts.layout import Layout, LayoutOptions
from mg3d.data.layouts.matching import listed
from mg3d.data.layouts.report_table import read_reports
from mg3d.data.layouts.site_folder import SiteFolder, list_folder, stem
from mg3d.data.layouts.table import Record, read_table, read_text
from mg3d.data.scan import ScanSource, Stated
from mg3d.data.splits import Split, SplitConfig, split_of
from mg3d.data.text.reports import Report

VOLUME_NAME = re.compile(r"(train|valid)_(\d+)_([a-z]+)_(\d+)")
SECOND_GENERATION = re.compile(r"(train|valid)_fix(ed)?")
"""Folders whose files carry HU and spacing."""
_SEGMENTATIONS = re.compile(r".*(seg|mask).*", re.IGNORECASE)
"""Folders of files that bear the names of volumes and hold labels, such as ``ts_seg``."""
HELD_OUT = SplitConfig(val_fraction=0.05, test_fraction=0.0)
"""Which training patients make the val split: a thousand of 20,000."""
KEY = "VolumeName"
PREPROCESSED = Stated(axes="SLP", spacing_mm=(1.5, 0.75, 0.75), rescale=(1000.0, 0.0))
"""NPZ files of CT-CLIP's script: axes moved, resampled, clipped to 1000 HU and divided by it."""


@dataclass(frozen=True)
class _Tables:
    reports: dict[str, tuple[str, Report]]
    """Volume -> where its report stands, and it."""
    labels: LabelTable | None
    stated: dict[str, Stated]
    has_metadata: bool
    not_chest: frozenset[str]


def recognise(path: Path) -> bool:
    """Whether a folder holds CT-RATE's reports, or folders of its volumes."""
    if not path.is_dir():
        return False
    if any((path / part / "radiology_text_reports").is_dir() for part in (".", "dataset")):
        return True
    names = [entry.name for entry in path.iterdir() if entry.is_dir()]
    inner = (path / name for name in names if re.fullmatch(r"(train|valid)(_fix(ed)?)?", name))
    return any(
        re.fullmatch(r"(train|valid)_\d+", entry.name) is not None
        for folder in inner
        for entry in folder.iterdir()
    )


def read(path: Path, options: LayoutOptions) -> Catalogue:
    """The catalogue of a folder with any part of CT-RATE.

    Args:
        path: The folder ``dataset`` of the release or one around it; scans are found by name,
            wherever they lie.
        options: ``labels`` (column VolumeName) and ``reports`` (column VolumeName, or study_id)
            that lie elsewhere.
    """
    site = list_folder(path)
    faults: list[Fault] = []
    scans = _scans(site, faults)
    tables = _read_tables(site, options, faults)
    names = sorted(_wanted(scans, tables, faults), key=_order)
    rows = [_row(site, name, scans, tables, faults) for name in names]
    if options.reports is not None:
        reports = read_reports(options.reports, (KEY, "study_id"), faults)
        by_volume = any(VOLUME_NAME.fullmatch(stem(key)) for key in reports.reports)
        rows = reports.renamed(stem).attach(
            rows, faults, lambda row: row.volume_id if by_volume else row.study_id
        )
    if tables.labels is not None:
        sides = {name.split("_")[0] for name in names}
        here = tables.labels.only(
            lambda name: name.split("_")[0] in sides and name not in tables.not_chest
        )
        faults += here.match(names, "volume")
    if tables.has_metadata:
        _check_metadata(names, tables.stated, faults)
    if any(row.split == "val" for row in rows):
        message = (
            f"valid is the test split; {HELD_OUT.val_fraction:.0%} of the training patients, by a "
            "hash of their number, are val"
        )
        faults.append(Fault(kind="split_rule", message=message))
    label_names = tables.labels.names if tables.labels is not None else ()
    return assemble(LAYOUT.name, path, rows, label_names=label_names, faults=faults)


def _scans(site: SiteFolder, faults: list[Fault]) -> dict[str, Path]:
    """Volume -> file. Of the same volume in both generations, the second."""
    found: dict[str, Path] = {}
    left_out, unlisted = [], []
    for file in site.scans((".nii.gz", ".nii", ".npz")):
        name = stem(file.name)
        if any(map(_SEGMENTATIONS.fullmatch, file.relative_to(site.path).parts[:-1])):
            continue
        if VOLUME_NAME.fullmatch(name) is None:
            unlisted.append(site.relative(file))
            continue
        other = found.get(name)
        if other is None:
            found[name] = file
            continue
        chosen, rest = sorted((other, file), key=_preference)
        found[name] = chosen
        left_out.append(site.relative(rest))
    if left_out:
        message = f"{len(left_out)} files are another copy of a volume: {listed(left_out)}"
        faults.append(Fault(kind="scan_left_out", message=message))
    if unlisted:
        message = f"{len(unlisted)} scans are not named like train_1_a_1: {listed(unlisted)}"
        faults.append(Fault(kind="file_unlisted", message=message))
    return found


def _preference(file: Path) -> tuple[bool, bool, str]:
    return file.name.endswith(".npz"), not _is_second_generation(file), file.as_posix()


def _is_second_generation(file: Path) -> bool:
    return any(SECOND_GENERATION.fullmatch(part) for part in file.parts)


def _read_tables(site: SiteFolder, options: LayoutOptions, faults: list[Fault]) -> _Tables:
    reports: dict[str, tuple[str, Report]] = {}
    for path in site.named(r"(train|valid|validation)_reports\.csv"):
        table = read_table(path)
        table.require((KEY, "Findings_EN", "Impressions_EN"))
        for record in table.records:
            name = stem(record.text(KEY))
            if name in reports:
                faults.append(_twice(record, reports[name][0]))
                continue
            report = Report(record.text("Findings_EN"), record.text("Impressions_EN"))
            reports[name] = record.place, report
    stated: dict[str, Stated] = {}
    metadata = site.named(r"(train|valid|validation)_metadata\.csv")
    for path in metadata:
        table = read_table(path)
        table.require((KEY, "XYSpacing", "ZSpacing", "RescaleSlope", "RescaleIntercept"))
        for record in table.records:
            stated[stem(record.text(KEY))] = _stated(record, faults)
    label_paths = [options.labels] if options.labels is not None else []
    label_paths = label_paths or site.named(r"(train|valid)_predicted_labels\.csv")
    return _Tables(
        reports=reports,
        labels=_labels(label_paths, faults),
        stated=stated,
        has_metadata=bool(metadata),
        not_chest=frozenset(
            stem(Path(line.strip()).name)
            for path in site.named(r"no_chest_(train|valid)\.txt")
            for line in read_text(path).splitlines()
        ),
    )


def _twice(record: Record, first: str) -> Fault:
    return Fault(
        kind="table_row_twice", message=f"its volume has a row in {first} too", place=record.place
    )


def _labels(paths: Iterable[Path], faults: list[Fault]) -> LabelTable | None:
    merged: LabelTable | None = None
    for path in paths:
        table = read_labels(read_table(path), KEY, faults).renamed(stem)
        merged = table if merged is None else merged.joined(table, faults)
    return merged


def _stated(record: Record, faults: list[Fault]) -> Stated:
    """What the metadata table says about a volume; facts that make no sense are left out."""

    def numbers(column: str, count: int) -> tuple[float, ...] | None:
        try:
            value = ast.literal_eval(record.text(column))
            found = tuple(float(v) for v in (value if isinstance(value, list | tuple) else [value]))
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            found = ()
        if len(found) == count and np.isfinite(found).all():
            return found
        message = f"{column} is not {count} number(s)"
        faults.append(Fault(kind="table_fact_malformed", message=message, place=record.place))
        return None

    rows_columns, slices = numbers("XYSpacing", 2), numbers("ZSpacing", 1)
    slope, intercept = numbers("RescaleSlope", 1), numbers("RescaleIntercept", 1)
    spacing = None
    if rows_columns is not None and slices is not None:
        # DICOM's order is between rows, between columns; the array's is along a row, down a
        # column.
        spacing = (rows_columns[1], rows_columns[0], slices[0])
    rescale = None if slope is None or intercept is None else (slope[0], intercept[0])
    return Stated(spacing_mm=spacing, rescale=rescale)


def _wanted(scans: Mapping[str, Path], tables: _Tables, faults: list[Fault]) -> set[str]:
    """Volumes that have a scan or a report; those of a split without any scan are left out."""
    wanted = set(scans) | {name for name in tables.reports if VOLUME_NAME.fullmatch(name)}
    foreign = [place for name, (place, _) in tables.reports.items() if name not in wanted]
    if foreign:
        message = f"{len(foreign)} volume names are not like train_1_a_1: {listed(foreign)}"
        faults.append(Fault(kind="id_unsafe", message=message))
    for side in ("train", "valid"):
        of_side = {name for name in wanted if name.startswith(f"{side}_")}
        if of_side and not of_side.intersection(scans):
            message = f"none of the {len(of_side)} volumes that the tables of {side} name is here"
            faults.append(Fault(kind="table_split_absent", message=message))
            wanted -= of_side
    heads = wanted & tables.not_chest
    if heads:
        message = f"{len(heads)} volumes are listed as not of the chest"
        faults.append(Fault(kind="scan_left_out", message=message))
    return wanted - heads


def _order(name: str) -> tuple[str, int, str, int]:
    match = VOLUME_NAME.fullmatch(name)
    assert match is not None
    return match[1], int(match[2]), match[3], int(match[4])


def _row(
    site: SiteFolder,
    name: str,
    scans: Mapping[str, Path],
    tables: _Tables,
    faults: list[Fault],
) -> CatalogueRow:
    side, patient, scan, _ = name.split("_")
    patient_id = f"{side}_{patient}"
    study_id = f"{patient_id}_{scan}"
    place, report = tables.reports.get(name, ("", Report()))
    # A volume that is not here keeps the path where the release has it.
    missing = site.path / f"{side}_fixed" / patient_id / study_id / f"{name}.nii.gz"
    file = scans.get(name, missing)
    split: Split = "test" if side == "valid" else split_of(patient_id, HELD_OUT)
    return CatalogueRow(
        place=place or site.relative(file),
        volume_id=name,
        study_id=study_id,
        patient_id=patient_id,
        source=ScanSource(path=file, stated=_stated_for(file, tables.stated.get(name, Stated()))),
        image=site.relative(file),
        report=report,
        split=split,
        labels=tables.labels.of(name) if tables.labels is not None else (),
    )


def _stated_for(file: Path, metadata: Stated) -> Stated:
    if file.name.endswith(".npz"):
        return PREPROCESSED
    if _is_second_generation(file):
        return Stated(spacing_mm=metadata.spacing_mm)
    return metadata


def _check_metadata(
    names: Iterable[str], stated: Mapping[str, Stated], faults: list[Fault]
) -> None:
    missing = [name for name in names if name not in stated]
    if missing:
        message = f"{len(missing)} volumes have no row in the metadata: {listed(missing)}"
        faults.append(Fault(kind="table_fact_missing", message=message))


LAYOUT = Layout(
    name="ct_rate",
    summary="CT-RATE, NIfTI files of either generation or CT-CLIP's NPZ, with its tables",
    expects=(
        "a folder; scans train_1_a_1.nii.gz anywhere below it; radiology_text_reports/"
        "{train,validation}_reports.csv, multi_abnormality_labels/*_predicted_labels.csv, "
        "metadata/*_metadata.csv and metadata/no_chest_*.txt"
    ),
    recognise=recognise,
    read=read,
)
