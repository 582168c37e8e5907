"""Members of a collection without files: facts as wanted, ids by number."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mg3d.audit.collection import Member
from mg3d.audit.fingerprint import Fingerprint
from mg3d.audit.volume_facts import Geometry, HuFacts, VolumeFacts
from mg3d.data.layouts.catalogue import CatalogueRow
from mg3d.data.scan import ScanSource
from mg3d.data.text.reports import Report

GEOMETRY = Geometry(
    shape=(50, 40, 30), spacing_mm=(7.0, 7.0, 10.0), ras_shape=(50, 40, 30),
    ras_spacing_mm=(7.0, 7.0, 10.0), extent_mm=(350.0, 280.0, 300.0), orientation="RAS",
    oblique_degrees=0.0,
)  # fmt: skip
HU = HuFacts(
    minimum=-1024, p01=-1010, median=-800, p99=300, maximum=900, mean=-550.0, deviation=470.0,
    air_share=0.5, soft_share=0.4, bone_share=0.02, air_peak=-1000, soft_peak=50,
    shares=(0.0,) * 55 + (1.0,),
)  # fmt: skip


def some_print(seed: int) -> Fingerprint:
    values = np.random.default_rng(seed).normal(size=1727)
    return (values / np.linalg.norm(values)).astype(np.float16)


def made(
    number: int, *, split: Any = "train", report: Report | None = None, **changes: Any
) -> Member:
    """The volume of patient ``number``; changes go to its facts, or to its row where they fit."""
    facts = VolumeFacts(
        num_files=1, num_bytes=10, sha256=f"file{number}", geometry=GEOMETRY, hu=HU,
        voxels=f"voxels{number}", fingerprint=some_print(number), lung_litres=4.0,
    )  # fmt: skip
    row = CatalogueRow(
        place=f"line {number + 2}", volume_id=f"v{number}", study_id=f"s{number}",
        patient_id=f"p{number}", source=ScanSource(path=Path(f"v{number}.nii.gz")),
        image=f"v{number}.nii.gz", report=report or Report(), split=split,
    )  # fmt: skip
    of_row = {name: value for name, value in changes.items() if hasattr(row, name)}
    of_facts = {name: value for name, value in changes.items() if name not in of_row}
    return Member(row=replace(row, **of_row), facts=replace(facts, **of_facts), split=split)
