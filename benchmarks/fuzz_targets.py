"""What is fuzzed: for each target its inputs and the call that must survive them."""

import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fuzz_mutations import ODD_TEXTS, damage_file, damage_text
from mg3d.data.grid import GridConfig
from mg3d.data.layouts.layout import LayoutOptions, layouts, read_catalogue
from mg3d.data.preparation.intake import ScanJob, encode_scan
from mg3d.data.readers.dicom.report import read_sr
from mg3d.data.scan import ScanSource, Stated
from mg3d.data.text.clauses import split_clauses
from mg3d.data.text.identifiers import find_identifiers, mask_identifiers
from mg3d.data.text.report_corpus import StudyReport, check_corpus
from mg3d.data.text.report_faults import check_report
from mg3d.data.text.reports import Report

_GRID = GridConfig(grid=(8, 8, 8), spacing_mm=(6, 6, 6))
_TABLES = (".csv", ".tsv", ".json", ".jsonl", ".xlsx", ".txt")
_PHRASES = (
    "FINDINGS: The heart is normal in size. There is a 2.2 x 1.4 cm cavitary lesion (Image 30/116)",
    "IMPRESSION:\n1. No evidence of pulmonary embolism.\n2. Interval lobectomy, e.g. on 4/22/1986.",
    "TECHNIQUE: 5 mm slices. COMPARISON: CT of 03.12.2019. HISTORY: 94-year-old, MRN 1234567.",
    "Discussed with Dr. Maria Smith at 555-123-4567; dictated by john smith, M.D. on 1 May 2020.",
    "{\\rtf1\\ansi\\b FINDINGS:\\b0\\par No effusion\\'2e \\u8804? 5 mm\\par}",
    "<p><b>Findings</b>:<br/>&lt;5 mm nodule &amp; <i>effusion</i></p>\n\n- item\n(2) item",
    "Kein Erguss. \u80f8\u6c34\u306a\u3057\u3002 \u00e2\u2030\u00a5 5 mm, \u00c2\u00b0, etc. 3.3",
)


@dataclass(frozen=True)
class Target:
    """One thing that reads what others wrote."""

    name: str
    weight: int
    """Its share of all inputs."""
    make: Callable[[Path, Path, random.Random], Path]
    """(seeds, folder to write to, source) -> the damaged input in that folder."""
    call: Callable[[Path], None]
    """Must return, or raise DataError."""


def _choose(seeds: Path, folder: Path, source: random.Random) -> Path:
    """A copy of one seed; its files are links that damage replaces."""
    seed = source.choice(sorted(seeds.iterdir()))
    copy = folder / seed.name
    if seed.is_dir():
        shutil.copytree(seed, copy, copy_function=os.link)
    else:
        os.link(seed, copy)
    return copy


def _make_scan(seeds: Path, folder: Path, source: random.Random) -> Path:
    path = _choose(seeds, folder, source)
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    for victim in source.sample(files, source.choice((1, 1, 1, min(2, len(files))))):
        damage_file(victim, source)
    if len(files) > 1 and source.random() < 0.1:
        source.choice(files).unlink()
    return path


def _make_site(seeds: Path, folder: Path, source: random.Random) -> Path:
    """A folder of a layout with a damaged table, seldom a damaged scan; or the table alone."""
    path = _choose(seeds, folder, source)
    files = sorted(p for p in path.rglob("*") if p.is_file())
    tables = [file for file in files if file.suffix in _TABLES]
    if not tables or source.random() < 0.1:
        tables = files
    victim = source.choice(tables)
    damage_file(victim, source)
    if source.random() < 0.05:
        source.choice(files).unlink()
    return start_of(seeds.name, path)


def start_of(target: str, site: Path) -> Path:
    """What a layout is given: the folder, or the one table that is all it reads."""
    pattern = {"layout_manifest": "reports.*", "layout_monai_datalist": "*.json"}.get(target)
    return site if pattern is None else next(iter(sorted(site.glob(pattern))), site)


def _make_text(seeds: Path, folder: Path, source: random.Random) -> Path:
    pieces = [source.choice(_PHRASES) for _ in range(source.randint(1, 4))]
    if source.random() < 0.3:
        pieces.append(source.choice(ODD_TEXTS) * source.choice((1, 10)))
    text = damage_text(source.choice((" ", "\n", "\n\n", "")).join(pieces), source)
    path = folder / "text"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return path


def _read_scan(path: Path) -> None:
    """All that `mg3d prepare` does with a scan, up to the bytes of the store."""
    inside = sorted(path.glob("*")) if path.is_dir() else []
    headers = [file for file in inside if file.suffix in (".nhdr", ".mhd")]
    affine = tuple(tuple(row) for row in np.diag([3.0, 3.0, 4.0, 1.0]).tolist())
    needs = path.suffix == ".npz" or path.name in ("png", "jpg")
    stated = Stated(
        affine=affine if needs else None,  # type: ignore[arg-type]
        window_hu=(-1000, 400) if path.name in ("png", "jpg") else None,
        array_name="ct" if path.suffix == ".npz" else "",
    )
    source = ScanSource(path=headers[0] if headers else path, stated=stated)
    encode_scan(ScanJob(volume_id="v", image="v", source=source, store=path.parent, geometry=_GRID))


def _read_layout(name: str) -> Callable[[Path], None]:
    def call(path: Path) -> None:
        for layout in layouts().values():
            layout.recognise(path)
        catalogue = read_catalogue(path, name, LayoutOptions())
        for row in catalogue.rows:
            check_report(row.report)
        catalogue.require_sound(path)

    return call


def _read_text(path: Path) -> None:
    """Everything that looks at a report; what holds for every text is asserted."""
    text = path.read_bytes().decode("utf-8", "surrogatepass")
    report = Report.from_text(text)
    assert Report(report.findings, report.impression) == report
    for section in (report.findings, report.impression, text):
        for clauses in (split_clauses(section), split_clauses(section, "sen_comma")):
            assert "".join("".join(clauses).split()) == "".join(section.split())
        masked, _ = mask_identifiers(section)
        assert not find_identifiers(masked)
    check_report(report)
    check_corpus([StudyReport(study_id=f"s{n}", patient_id=f"p{n}", report=report) for n in (1, 2)])


_LAYOUTS = {
    "manifest": 12, "ct_rate": 8, "ctrg_chest": 3, "merlin": 6, "monai_datalist": 5, "msd": 4,
    "nnunet": 4, "rad_chestct": 5, "dicom": 5,
}  # fmt: skip
TARGETS = {
    target.name: target
    for target in (
        Target("nifti", 20, _make_scan, _read_scan),
        Target("nrrd", 15, _make_scan, _read_scan),
        Target("metaimage", 15, _make_scan, _read_scan),
        Target("npz", 12, _make_scan, _read_scan),
        Target("pictures", 10, _make_scan, _read_scan),
        Target("dicom", 40, _make_scan, _read_scan),
        Target("dicom_sr", 12, _make_scan, lambda path: _check_sr(path)),
        Target("text", 50, _make_text, _read_text),
        *(
            Target(f"layout_{name}", weight, _make_site, _read_layout(name))
            for name, weight in _LAYOUTS.items()
        ),
    )
}
"""By name; weights are in per mille of a little over 200 in all."""


def _check_sr(path: Path) -> None:
    check_report(Report.from_text(read_sr(path)))


def check_targets() -> None:
    """Make sure that no layout is forgotten."""
    missing = layouts().keys() - _LAYOUTS.keys()
    assert not missing, f"layouts without a target: {', '.join(missing)}"
