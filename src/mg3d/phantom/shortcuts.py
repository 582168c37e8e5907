"""What could give a finding away without looking at the image: numbers around each study.

A phantom is only worth learning from if none of these predicts a finding. They are computed from
plans, without voxels; `benchmarks/phantom_shortcuts.py` measures them over thousands of studies.
"""

from mg3d.phantom.acquisition import ORIENTATIONS
from mg3d.phantom.reports import PhantomReport
from mg3d.phantom.study import StudyPlan


def metadata(plan: StudyPlan, order: int) -> dict[str, float]:
    """Everything about a study that is neither voxel nor report.

    Args:
        plan: The study.
        order: Its row in the tables.

    Returns:
        Name -> number; the names start with their family: spacing, shape, orientation, position,
        noise, kernel, contrast, anatomy, order.
    """
    scan, body = plan.scan, plan.anatomy
    numbers: dict[str, float] = {"order": order, "order.visit": int(plan.study_id[-1])}
    for axis, name in enumerate("xyz"):
        numbers[f"spacing.{name}"] = scan.spacing_mm[axis]
        numbers[f"shape.{name}"] = scan.grid[axis]
        numbers[f"position.offset_{name}"] = scan.offset_mm[axis]
        numbers[f"position.origin_{name}"] = scan.origin_mm[axis]
    for code in ORIENTATIONS:
        numbers[f"orientation.{code}"] = scan.orientation == code
    numbers["noise"] = scan.noise_hu
    numbers["kernel"] = scan.kernel
    numbers["contrast"] = scan.enhancement_hu
    for name in ("half_width", "half_depth", "stature", "fat", "muscle", "apex", "lung_hu"):
        numbers[f"anatomy.{name}"] = getattr(body, name)
    numbers["anatomy.heart_radius"] = body.heart.radius
    return numbers


def length_without(report: PhantomReport, finding: int) -> tuple[int, int]:
    """Words and characters of a report without the sentences that speak of ``finding``."""
    kept = [
        sentence.text
        for sentence in (*report.findings, *report.impression)
        if finding not in sentence.about
    ]
    return sum(len(text.split()) for text in kept), len(" ".join(kept))
