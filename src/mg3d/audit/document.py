"""The audit as files: `audit.json`, which holds everything, and `audit.html`, drawn from it."""

import base64
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mg3d.audit.collection import Member, plain
from mg3d.audit.duplicates import Copies
from mg3d.audit.examine import THUMBNAIL_FOLDER
from mg3d.audit.outliers import Outlier, measures_of
from mg3d.audit.summary import count_kinds, summarise
from mg3d.data.faults import FAULTS, Fault
from mg3d.data.layouts.catalogue import Catalogue
from mg3d.files import write_atomic, write_json
from mg3d.reporting.audit_page import draw_audit

SCHEMA = "mg3d.audit/1"
JSON_FILE = "audit.json"
PAGE_FILE = "audit.html"
_MOST_PICTURES = 12
_NUM_TYPICAL = 6


def write_audit(
    out: Path,
    catalogue: Catalogue,
    members: Sequence[Member],
    faults: Sequence[Fault],
    outliers: Sequence[Outlier],
    copies: Sequence[Copies],
    reports: dict[str, Any],
) -> dict[str, Any]:
    """Write both files; the same data gives the same bytes.

    Args:
        out: The folder of the audit; thumbnails lie in it.
        catalogue: What the layout found.
        members: Every volume.
        faults: All of them, worst first.
        outliers: Volumes by their distance from the others, farthest first.
        copies: Sets of volumes that hold the same scan.
        reports: Figures about the reports.

    Returns:
        What `audit.json` holds.
    """
    document = {
        "schema": SCHEMA,
        "version": version("mg3d"),
        "layout": catalogue.layout,
        "kinds": count_kinds(faults),
        "faults": [asdict(fault) for fault in faults],
        "summary": {**summarise(members, catalogue.label_names), "reports": reports},
        "duplicates": [_copies_row(each) for each in copies],
        "outliers": [_outlier_row(each) for each in outliers[:_MOST_PICTURES]],
        "pictures": list(_pictures(out, members, outliers)),
        "volumes": [_volume_row(each) for each in members],
    }
    write_json(out / JSON_FILE, document)
    write_atomic(out / PAGE_FILE, draw_audit(document))
    return document


def _volume_row(member: Member) -> dict[str, Any]:
    facts = member.facts
    hu = None if facts.hu is None else asdict(facts.hu)
    if hu is not None:
        del hu["shares"]  # in the summary as bands; one by one in the cache
    return {
        "volume_id": plain(member.row.volume_id),
        "study_id": plain(member.row.study_id),
        "patient_id": plain(member.row.patient_id),
        "split": member.split,
        "place": member.row.place,
        "facts": member.name,
        "usable": member.usable,
        "faults": sorted({kind for kind, _ in facts.faults}),
        "num_files": facts.num_files,
        "num_bytes": facts.num_bytes,
        "sha256": facts.sha256,
        "voxels": facts.voxels,
        "geometry": None if facts.geometry is None else asdict(facts.geometry),
        "hu": hu,
        "lung_litres": facts.lung_litres,
        "measures": measures_of(member),
    }


def _copies_row(copies: Copies) -> dict[str, Any]:
    return {
        "likeness": copies.likeness,
        "volumes": [plain(member.row.volume_id) for member in copies.members],
        "leaks": copies.leaks,
        "detail": copies.detail,
    }


def _outlier_row(outlier: Outlier) -> dict[str, Any]:
    return {
        "volume_id": plain(outlier.member.row.volume_id),
        "measure": outlier.measure,
        "says": outlier.says,
        "distance": round(outlier.distance, 2),
    }


def _pictures(
    out: Path, members: Sequence[Member], outliers: Sequence[Outlier]
) -> Iterator[dict[str, str]]:
    """Thumbnails worth a look: faulty scans, those unlike the others, and a few of the rest."""
    chosen: dict[str, tuple[str, Member, str]] = {}
    suspicious = [member for member in members if _suspicions(member)]
    for member in suspicious[:_MOST_PICTURES]:
        chosen[member.name] = ("faulty", member, ", ".join(_suspicions(member)))
    for outlier in outliers[:_MOST_PICTURES]:
        chosen.setdefault(outlier.member.name, ("unlike", outlier.member, outlier.says))
    ordinary = [member for member in members if member.name not in chosen and member.usable]
    step = max(1, len(ordinary) // _NUM_TYPICAL)
    for member in ordinary[::step][:_NUM_TYPICAL]:
        chosen[member.name] = ("others", member, "")
    for why, member, text in chosen.values():
        path = out / THUMBNAIL_FOLDER / f"{member.name}.png"
        if path.is_file():
            png = base64.b64encode(path.read_bytes()).decode("ascii")
            volume_id = plain(member.row.volume_id)
            yield {"volume_id": volume_id, "why": why, "text": text, "png": png}


def _suspicions(member: Member) -> list[str]:
    """Titles of what is wrong with this scan, notes aside."""
    kinds = {kind for kind, _ in member.facts.faults}
    return sorted(FAULTS[kind].title for kind in kinds if FAULTS[kind].severity != "note")
