"""The table of findings: CT-RATE's 18 in its order, each with how it is drawn and painted.

The position in `FINDINGS` is the column of the label table and, plus 10, the label in the masks.
"""

from collections.abc import Callable
from dataclasses import dataclass

from mg3d.phantom import chest_findings as chest
from mg3d.phantom import lung_findings as lung
from mg3d.phantom.anatomy import Anatomy
from mg3d.phantom.canvas import Canvas
from mg3d.phantom.lesion import Draw, Lesion

FIRST_LESION_LABEL = 10


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One finding: its name, how often it occurs, how it is drawn and painted."""

    name: str
    prevalence: float
    """Chance in each study, independent of everything else."""
    draw: Callable[[Draw], Lesion]
    paint: Callable[[Canvas, Anatomy, Lesion, int], None]
    layer: int
    """Painting order: widespread changes first, so that they do not cover small lesions."""


def _finding(
    name: str,
    prevalence: float,
    layer: int,
    draw: Callable[[Draw], Lesion],
    paint: Callable[[Canvas, Anatomy, Lesion, int], None],
) -> Finding:
    return Finding(name=name, prevalence=prevalence, layer=layer, draw=draw, paint=paint)


FINDINGS: tuple[Finding, ...] = (
    _finding("Medical material", 0.20, 9,
             chest.draw_medical_material, chest.paint_medical_material),
    _finding("Arterial wall calcification", 0.30, 8,
             chest.draw_arterial_calcification, chest.paint_arterial_calcification),
    _finding("Cardiomegaly", 0.20, 0, chest.draw_cardiomegaly, chest.paint_cardiomegaly),
    _finding("Pericardial effusion", 0.16, 5,
             chest.draw_pericardial_effusion, chest.paint_pericardial_effusion),
    _finding("Coronary artery wall calcification", 0.28, 8,
             chest.draw_coronary_calcification, chest.paint_coronary_calcification),
    _finding("Hiatal hernia", 0.18, 7, chest.draw_hiatal_hernia, chest.paint_hiatal_hernia),
    _finding("Lymphadenopathy", 0.26, 7, chest.draw_lymphadenopathy, chest.paint_lymphadenopathy),
    _finding("Emphysema", 0.22, 2, lung.draw_emphysema, lung.paint_emphysema),
    _finding("Atelectasis", 0.25, 4, lung.draw_atelectasis, lung.paint_atelectasis),
    _finding("Lung nodule", 0.34, 6, lung.draw_nodule, lung.paint_nodule),
    _finding("Lung opacity", 0.30, 2, lung.draw_opacity, lung.paint_opacity),
    _finding("Pulmonary fibrotic sequela", 0.26, 4,
             lung.draw_fibrotic_sequela, lung.paint_fibrotic_sequela),
    _finding("Pleural effusion", 0.18, 5,
             chest.draw_pleural_effusion, chest.paint_pleural_effusion),
    _finding("Mosaic attenuation pattern", 0.16, 1,
             lung.draw_mosaic_attenuation, lung.paint_mosaic_attenuation),
    _finding("Peribronchial thickening", 0.18, 3,
             lung.draw_peribronchial_thickening, lung.paint_peribronchial_thickening),
    _finding("Consolidation", 0.22, 3, lung.draw_consolidation, lung.paint_consolidation),
    _finding("Bronchiectasis", 0.18, 6, lung.draw_bronchiectasis, lung.paint_bronchiectasis),
    _finding("Interlobular septal thickening", 0.16, 1,
             lung.draw_septal_thickening, lung.paint_septal_thickening),
)  # fmt: skip

CARDIOMEGALY = next(k for k, finding in enumerate(FINDINGS) if finding.name == "Cardiomegaly")


def paint_lesions(canvas: Canvas, anatomy: Anatomy, lesions: dict[int, Lesion]) -> None:
    """Paint every lesion of a study, widespread ones first.

    Args:
        canvas: Holds the patient's thorax; changed in place.
        anatomy: The patient, with the heart as it is now.
        lesions: By index into `FINDINGS`.
    """
    for k in sorted(lesions, key=lambda k: (FINDINGS[k].layer, k)):
        FINDINGS[k].paint(canvas, anatomy, lesions[k], FIRST_LESION_LABEL + k)
