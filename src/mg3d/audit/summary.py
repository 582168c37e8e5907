"""Summary tables of a collection: per split, per slice distance, per finding; no voxel is read."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from mg3d.audit.collection import Member
from mg3d.audit.outliers import MEASURES, measures_of
from mg3d.audit.volume_facts import HU_EDGES
from mg3d.data.faults import FAULTS, Fault
from mg3d.data.splits import SPLITS

_PERCENTILES = (0, 5, 50, 95, 100)
_BAND = (10, 50, 90)
"""Percentiles over volumes of the share of voxels in each bin of HU."""
_SLICE_EDGES_MM = (0.0, 1.0, 1.5, 2.5, 3.5, 5.5, math.inf)


def summarise(members: Sequence[Member], label_names: Sequence[str]) -> dict[str, Any]:
    """All tables, ready for JSON."""
    usable = [member for member in members if member.usable]
    return {
        "counts": _counts(members),
        "splits": {split: _counts([m for m in members if m.split == split]) for split in SPLITS},
        "volumes_per_study": _volumes_per_study(members),
        "orientations": dict(Counter(_geometry(m).orientation for m in usable).most_common()),
        "slice_distances": _slice_distances(usable),
        "measures": _measures(usable),
        "hu": _hu_bands(usable),
        "labels": _labels(members, label_names),
    }


def count_kinds(faults: Sequence[Fault]) -> dict[str, dict[str, Any]]:
    """Kind -> what it is, what to do and how often it was found; worst and most frequent first."""
    order = {"error": 0, "warning": 1, "note": 2}
    found = Counter(fault.kind for fault in faults)
    volumes: dict[str, set[str]] = {}
    for fault in faults:
        volumes.setdefault(fault.kind, set()).update({fault.volume_id} - {""})
    kinds = sorted(found, key=lambda k: (order[FAULTS[k].severity], -found[k], k))
    return {
        kind: {
            "severity": FAULTS[kind].severity,
            "action": FAULTS[kind].action,
            "title": FAULTS[kind].title,
            "remedy": FAULTS[kind].remedy,
            "count": found[kind],
            "volumes": len(volumes[kind]),
        }
        for kind in kinds
    }


def _counts(members: Sequence[Member]) -> dict[str, int]:
    return {
        "volumes": len(members),
        "studies": len({member.row.study_id for member in members}),
        "patients": len({member.row.patient_id for member in members}),
        "usable": sum(member.usable for member in members),
        "files": sum(member.facts.num_files for member in members),
        "bytes": sum(member.facts.num_bytes for member in members),
    }


def _volumes_per_study(members: Sequence[Member]) -> dict[str, int]:
    """Number of volumes -> how many studies have so many."""
    sizes = Counter(member.row.study_id for member in members)
    return {str(size): count for size, count in sorted(Counter(sizes.values()).items())}


def _geometry(member: Member) -> Any:
    assert member.facts.geometry is not None
    return member.facts.geometry


def _slice_distances(members: Sequence[Member]) -> list[dict[str, Any]]:
    """Volumes by the distance of their slices from feet to head."""
    distances = np.array([_geometry(member).ras_spacing_mm[2] for member in members])
    rows = []
    for low, high in pairwise(_SLICE_EDGES_MM):
        count = int(((distances > low) & (distances <= high)).sum()) if members else 0
        if count:
            rows.append(
                {"above_mm": low, "to_mm": None if high == math.inf else high, "volumes": count}
            )
    return rows


def _measures(members: Sequence[Member]) -> dict[str, dict[str, Any]]:
    """Smallest, 5 %, median, 95 % and largest of each measure."""
    table = {}
    for name, measure in MEASURES.items():
        values = (measures_of(member)[name] for member in members)
        known = [value for value in values if value is not None]
        if known:
            percentiles = np.percentile(known, _PERCENTILES).round(4).tolist()
            table[name] = {
                "title": measure.title, "unit": measure.unit.strip(), "percentiles": percentiles,
            }  # fmt: skip
    return table


def _hu_bands(members: Sequence[Member]) -> dict[str, Any]:
    """Over the volumes: 10 %, median and 90 % of the share of voxels in each bin."""
    shares = [member.facts.hu.shares for member in members if member.facts.hu is not None]
    bands = np.percentile(shares, _BAND, axis=0).round(6).tolist() if shares else []
    return {"edges": HU_EDGES.tolist(), "bands": bands}


def _labels(members: Sequence[Member], names: Sequence[str]) -> list[dict[str, Any]]:
    """How many studies of each split have a finding, lack it or are unknown."""
    studies = {member.row.study_id: member for member in members if member.row.labels}
    rows = []
    for place, name in enumerate(names):
        by_split: dict[str, Mapping[str, int]] = {}
        for split in SPLITS:
            values = [m.row.labels[place] for m in studies.values() if m.split == split]
            by_split[split] = {
                "present": sum(value == 1 for value in values),
                "absent": sum(value == 0 for value in values),
                "unknown": sum(math.isnan(value) for value in values),
            }
        rows.append({"name": name, "splits": by_split})
    return rows
