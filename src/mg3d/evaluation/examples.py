"""Example studies for the report: three planes through the place a prompt points to.

Pictures invite cherry-picking, so the rule is fixed and stored: findings by AUROC, and of a
finding's true positives the one with the middle score; of all its positives, where validation
gave no threshold that tells which are true ones. Arrays are (X, Y, Z) in RAS+ order: x to
the patient's right, y to the front, z up. Planes are in radiological display: the patient's right
is on the left of axial and coronal planes, front is up (axial) or left (sagittal), head is up.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.numpy import save
from torch import Tensor

from mg3d import hu_window
from mg3d.evaluation.bootstrap import Array
from mg3d.evaluation.metrics import auroc
from mg3d.evaluation.zero_shot import FindingScores
from mg3d.files import write_atomic, write_json

RULE = (
    "findings by AUROC; of each one's true positives (all positives where there is no threshold) "
    "the study with the middle score"
)
WINDOW_HU = (-1000.0, 400.0)
"""Shown from black to white: lung and soft tissue both stay visible."""
PLANES = {"axial": 2, "coronal": 1, "sagittal": 0}
"""Plane -> the axis it cuts."""


class Choice(NamedTuple):
    """A study to show for a finding, as row and column of the scores."""

    row: int
    finding: int


def choose_examples(scores: FindingScores, thresholds: Array, count: int) -> list[Choice]:
    """Pick at most ``count`` positives by the stored rule, no study and no finding twice.

    Args:
        scores: Of the judged studies.
        thresholds: (F,) operating points; NaN where there is none, then every positive may be
            picked (no number could stand in: 0 means nothing to a single cosine).
        count: Most examples.

    Returns:
        The best-ranked finding first.
    """
    ranked = []
    for finding in range(len(scores.finding_names)):
        values, positive, _ = scores.known(finding)
        if positive.any() and not positive.all():
            area = auroc(values, positive, np.ones((1, len(values))))[0]
            ranked.append((-float(area), finding))
    chosen: list[Choice] = []
    for _, finding in sorted(ranked):
        column = scores.scores[:, finding]
        found = (scores.labels[:, finding] == 1) & ~(column < thresholds[finding])  # NaN: all
        taken = {choice.row for choice in chosen}
        rows = [row for row in np.flatnonzero(found).tolist() if row not in taken]
        if rows and len(chosen) < count:
            rows.sort(key=lambda row: (-column[row], row))
            chosen.append(Choice(rows[len(rows) // 2], finding))
    return chosen


def planes_through(volume: NDArray[Any], centre: tuple[int, ...]) -> dict[str, NDArray[Any]]:
    """The three planes of ``volume`` (X, Y, Z) through ``centre``, in display orientation.

    Rows of a picture run downwards and columns to the right; on all three planes both axes of a
    RAS+ cut point the other way.
    """
    return {
        plane: np.ascontiguousarray(np.take(volume, centre[axis], axis=axis).T[::-1, ::-1])
        for plane, axis in PLANES.items()
    }


def write_example(
    folder: Path,
    *,
    image: Tensor,
    similarity: Tensor,
    spacing_mm: tuple[float, float, float],
    about: dict[str, Any],
) -> None:
    """Write one example: planes as safetensors, what they show as JSON.

    Args:
        folder: ``evaluation/examples`` of the run.
        image: (X, Y, Z) in [0, 1], the model's input.
        similarity: (x, y, z), one value a token.
        spacing_mm: Of the image along (x, y, z); gives the pictures' pixel sizes.
        about: What is shown; ``study_id`` names the files.
    """
    centre = _middle_of_best_token(similarity, tuple(image.shape))
    enlarged = F.interpolate(
        similarity[None, None], size=image.shape, mode="trilinear", align_corners=False
    )[0, 0]
    grey = _grey(image.cpu().numpy())
    shown = {f"{plane}_image": cut for plane, cut in planes_through(grey, centre).items()}
    shown |= {
        f"{plane}_similarity": cut.astype(np.float32)
        for plane, cut in planes_through(enlarged.cpu().numpy(), centre).items()
    }
    name = about["study_id"]
    write_atomic(folder / f"{name}.safetensors", save(shown))
    planes = {
        plane: {
            "axis": "xyz"[axis],
            "index": centre[axis],
            "pixel_mm": [size for other, size in enumerate(spacing_mm) if other != axis][::-1],
        }
        for plane, axis in PLANES.items()
    }
    window = {"window_hu": list(WINDOW_HU), "rule": RULE, "voxel": list(centre)}
    write_json(folder / f"{name}.json", about | {"planes": planes} | window)


def _middle_of_best_token(similarity: Tensor, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The voxel where the planes meet.

    The maximum of the enlarged map would not do: that map is flat beyond the middles of the outer
    tokens, so its maximum often lies on the border of the volume.
    """
    best = np.unravel_index(int(similarity.argmax()), similarity.shape)
    return tuple(
        int((token + 0.5) * size / count)
        for token, size, count in zip(best, shape, similarity.shape, strict=True)
    )


def _grey(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """[0, 1] of HU [-1000, 1000] to 8 bits of the shown window."""
    low, high = WINDOW_HU
    hu = image * hu_window.WIDTH_HU + hu_window.WINDOW_HU[0]
    return np.asarray((np.clip((hu - low) / (high - low), 0, 1) * 255).round(), dtype=np.uint8)


def remove_other_examples(folder: Path, kept: Sequence[str]) -> None:
    """Delete examples of an earlier evaluation, so that a page never mixes two models."""
    for path in folder.glob("*"):
        if path.suffix in (".json", ".safetensors") and path.stem not in kept:
            path.unlink()
