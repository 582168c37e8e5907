"""One study: everything about it is planned first, from the seed alone, and rendered afterwards.

`plan_study` draws findings, patient, scan and report without a voxel, so that thousands of
studies can be checked for shortcuts in seconds. `render` turns a plan into voxels and adds no
randomness that the plan does not name.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mg3d.phantom.acquisition import (
    Acquisition,
    blank_canvas,
    draw_acquisition,
    scan_voxels,
    stored_affine,
    stored_order,
)
from mg3d.phantom.anatomy import Anatomy, draw_anatomy
from mg3d.phantom.canvas import Canvas
from mg3d.phantom.findings import CARDIOMEGALY, FINDINGS, paint_lesions
from mg3d.phantom.lesion import Draw, Lesion
from mg3d.phantom.reports import PhantomReport, draw_report
from mg3d.phantom.settings import PhantomConfig, Split
from mg3d.phantom.thorax import paint_thorax
from mg3d.randomness import rng

SPLITS: tuple[Split, ...] = ("train", "val", "test")


class Visit(NamedTuple):
    """Which study: split, number of the patient in it, number of the patient's visit from 1."""

    split: Split
    patient: int
    number: int


@dataclass(frozen=True, kw_only=True)
class StudyPlan:
    """All that is true about a study, before any voxel exists."""

    study_id: str
    patient_id: str
    split: Split
    anatomy: Anatomy
    """The healthy body."""
    lesions: dict[int, Lesion]
    """By index into `FINDINGS`; absent findings have no entry."""
    scan: Acquisition
    report: PhantomReport
    vessels_per_lung: int

    @property
    def labels(self) -> tuple[int, ...]:
        """1 or 0 for each of the 18 findings."""
        return tuple(int(k in self.lesions) for k in range(len(FINDINGS)))


class Rendering(NamedTuple):
    """A study as it is stored."""

    hu: NDArray[np.int16]
    """In the scan's storage order."""
    masks: NDArray[np.uint8]
    """Same shape: 0 background, 1 lungs, 2 heart, 10 + k lesion of the k-th finding."""
    affine: NDArray[np.float64]
    """(4, 4) stored voxel index to scanner mm (RAS+)."""


def list_visits(settings: PhantomConfig) -> Iterator[Visit]:
    """Every study of the phantom in the order of its tables."""
    for split in SPLITS:
        for patient in range(settings.num_patients(split)):
            yield Visit(split, patient, 1)
            if rng(settings.seed, split, patient, "visits").random() < settings.follow_up_share:
                yield Visit(split, patient, 2)


def plan_study(settings: PhantomConfig, split: Split, index: int, visit: int = 1) -> StudyPlan:
    """Draw everything about one study except its voxels.

    Args:
        settings: Seed, difficulty and grid count; the number of patients does not.
        split: Which split the patient belongs to.
        index: Number of the patient in the split, from 0.
        visit: 1 or 2; a later visit has the same anatomy and findings of its own.
    """
    seed, level = settings.seed, settings.level
    patient_keys: tuple[str | int, ...] = (split, index)
    study_keys = (*patient_keys, visit)
    anatomy = draw_anatomy(level.jitter, seed, *patient_keys)
    present = rng(seed, *study_keys, "findings").random(len(FINDINGS))
    lesions = {
        k: finding.draw(
            Draw(source=rng(seed, *study_keys, finding.name), anatomy=anatomy, level=level)
        )
        for k, finding in enumerate(FINDINGS)
        if present[k] < finding.prevalence
    }
    patient_id = f"{split}_{index:05d}"
    return StudyPlan(
        study_id=f"{patient_id}_{visit}",
        patient_id=patient_id,
        split=split,
        anatomy=anatomy,
        lesions=lesions,
        scan=draw_acquisition(level, settings.grid or level.grid, seed, *study_keys),
        report=draw_report(lesions, level.phrasings, seed, *study_keys),
        vessels_per_lung=level.vessels_per_lung,
    )


def paint(plan: StudyPlan) -> Canvas:
    """Paint the body and its lesions, free of noise, in patient order."""
    canvas = blank_canvas(plan.scan)
    lesions = dict(plan.lesions)
    heart = plan.anatomy.heart
    enlarged = lesions.pop(CARDIOMEGALY, None)
    if enlarged is not None:
        heart = heart.enlarged(enlarged.sizes[0])
    paint_thorax(canvas, plan.anatomy, heart, plan.scan.enhancement_hu, plan.vessels_per_lung)
    if enlarged is not None:  # labelled against the healthy heart, the others lie on the real one
        paint_lesions(canvas, plan.anatomy, {CARDIOMEGALY: enlarged})
    paint_lesions(canvas, replace(plan.anatomy, heart=heart), lesions)
    return canvas


def render(plan: StudyPlan) -> Rendering:
    """Turn a plan into the voxels, masks and affine that are stored."""
    canvas = paint(plan)
    hu = stored_order(scan_voxels(canvas.hu, plan.scan), plan.scan)
    masks = stored_order(canvas.label, plan.scan)
    return Rendering(hu.astype(np.int16), masks.astype(np.uint8), stored_affine(plan.scan))
