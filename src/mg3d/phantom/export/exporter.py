"""Exporter: writes a phantom as a public data set, or a hospital, lays its data out.

Each file of this package that defines ``EXPORTERS`` adds some; nothing else has to name them. They
exist so that every layout is tried on data whose truth is known.
"""

import csv
import importlib
import io
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import mg3d.phantom.export
from mg3d.data.layouts.catalogue import Catalogue, CatalogueRow
from mg3d.data.reading import read_scan
from mg3d.data.volume import Volume
from mg3d.files import write_atomic
from mg3d.phantom.phantom import nifti_bytes
from mg3d.progress import track


@dataclass(frozen=True, kw_only=True)
class Exporter:
    """One way to write a phantom."""

    name: str
    """As ``mg3d export`` takes it."""
    layout: str
    """The layout of `mg3d.data.layouts` that reads it back."""
    start: str = "."
    """What that layout is given, relative to the folder written."""
    keeps: str
    """What survives of voxels, geometry, splits and labels, one line."""
    write: Callable[[Catalogue, Path], dict[str, str]]
    """Writes a catalogue into a folder; gives the volume id of each of its rows there."""


@cache
def exporters() -> dict[str, Exporter]:
    """All exporters by name, in alphabetical order."""
    found: dict[str, Exporter] = {}
    for module_info in pkgutil.iter_modules(mg3d.phantom.export.__path__):
        module = importlib.import_module(f"{mg3d.phantom.export.__name__}.{module_info.name}")
        found |= {each.name: each for each in getattr(module, "EXPORTERS", ())}
    return dict(sorted(found.items()))


def volumes(rows: Sequence[CatalogueRow]) -> Iterator[tuple[CatalogueRow, Volume]]:
    """Each row with its scan, behind a progress bar."""
    for row in track(rows, total=len(rows), description="export"):
        yield row, read_scan(row.source).volume


def write_nifti(path: Path, volume: Volume) -> None:
    """A gzipped NIfTI file with the volume's array and affine as they are."""
    write_atomic(path, nifti_bytes(volume.array, volume.affine))


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """A table with the columns of its first row; a row at least."""
    stream = io.StringIO()
    records = list(rows)
    writer = csv.DictWriter(stream, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    write_atomic(path, stream.getvalue())


def short_decimals(numbers: Iterable[float]) -> list[float]:
    """Numbers with the fewest digits that still tell them apart as float32, as in a header."""
    return [float(str(np.float32(number))) for number in numbers]


def label_cells(catalogue: Catalogue, row: CatalogueRow) -> dict[str, str]:
    """The labels of a row as tables spell them: 1, 0 or empty."""
    texts = {1.0: "1", 0.0: "0"}
    names = catalogue.label_names
    return {
        name: texts.get(value, "") for name, value in zip(names, row.labels, strict=True)
    }  # fmt: skip


def write_side_tables(catalogue: Catalogue, out: Path) -> None:
    """``reports.csv`` and ``findings.csv`` by study, for layouts that have neither."""
    studies = {row.study_id: row for row in catalogue.rows}.values()
    write_csv(
        out / "reports.csv",
        (
            {
                "study_id": row.study_id,
                "findings": row.report.findings,
                "impression": row.report.impression,
            }
            for row in studies
        ),
    )
    if catalogue.label_names:
        write_csv(
            out / "findings.csv",
            ({"study_id": row.study_id, **label_cells(catalogue, row)} for row in studies),
        )
