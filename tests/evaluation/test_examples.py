import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file

from mg3d.evaluation import examples
from mg3d.evaluation.zero_shot import FindingScores


def test_the_rule_takes_the_middle_true_positive_of_the_best_findings() -> None:
    labels = np.array([[1, 1], [1, 0], [1, 1], [1, 0], [0, 1], [0, 0]], dtype=float)
    column = np.array([0.9, 0.8, 0.7, 0.1, -0.5, -0.6])  # 0.1 lies below the first threshold
    scores = FindingScores(
        patient_ids=tuple("abcdef"),
        scores=np.stack([column, column], axis=1),
        labels=labels,
        finding_names=("first", "second"),
    )
    thresholds = np.array([0.5, np.nan])
    chosen = examples.choose_examples(scores, thresholds, 5)
    # finding 0 has AUROC 1: true positives 0, 1, 2 -> 1
    # finding 1 has no threshold: positives 0, 2, 4 -> 2
    assert chosen == [(1, 0), (2, 1)]
    assert examples.choose_examples(scores, thresholds, 1) == [(1, 0)]
    assert examples.choose_examples(scores, thresholds, 0) == []


def test_without_a_threshold_the_sign_of_a_score_means_nothing() -> None:
    """Under scoring "positive" all scores of a finding may lie on one side of 0."""
    scores = FindingScores(
        patient_ids=tuple("abcd"),
        scores=np.array([[-0.1], [-0.2], [-0.3], [-0.4]]),
        labels=np.array([[1.0], [1.0], [1.0], [0.0]]),
        finding_names=("finding",),
    )
    none = np.array([np.nan])
    assert examples.choose_examples(scores, none, 1) == [(1, 0)]
    shifted = replace(scores, scores=scores.scores + 5)
    assert examples.choose_examples(shifted, none, 1) == [(1, 0)]
    assert examples.choose_examples(scores, np.array([-0.15]), 1) == [(0, 0)]


def test_no_study_is_shown_twice() -> None:
    scores = FindingScores(
        patient_ids=("a", "b"),
        scores=np.array([[1.0, 1.0], [-1.0, -1.0]]),
        labels=np.array([[1.0, 1.0], [0.0, 0.0]]),
        finding_names=("first", "second"),
    )
    assert examples.choose_examples(scores, np.full(2, np.nan), 5) == [(0, 0)]


def test_planes_are_in_radiological_display() -> None:
    """Right is low columns, front is up (axial) or low columns (sagittal), head is up."""
    right, left, front, back, head, feet = range(1, 7)
    volume = np.zeros((5, 7, 9), dtype=int)
    centre = (2, 3, 4)
    volume[4, 3, 4], volume[0, 3, 4] = right, left
    volume[2, 6, 4], volume[2, 0, 4] = front, back
    volume[2, 3, 8], volume[2, 3, 0] = head, feet
    planes = examples.planes_through(volume, centre)
    axial, coronal, sagittal = planes["axial"], planes["coronal"], planes["sagittal"]
    assert (axial.shape, coronal.shape, sagittal.shape) == ((7, 5), (9, 5), (9, 7))
    assert [axial[0, 2], axial[-1, 2], axial[3, 0], axial[3, -1]] == [front, back, right, left]
    assert [coronal[0, 2], coronal[-1, 2]] == [head, feet]
    assert [coronal[4, 0], coronal[4, -1]] == [right, left]
    assert [sagittal[0, 3], sagittal[-1, 3]] == [head, feet]
    assert [sagittal[4, 0], sagittal[4, -1]] == [front, back]


def test_written_planes_meet_in_the_best_token_and_replace_older_ones(tmp_path: Path) -> None:
    image = torch.zeros(8, 12, 16)
    image[1, 9, 6], image[0, 0, 0] = 1.0, 0.35  # HU 1000 is white, HU -300 is half way
    similarity = torch.zeros(4, 2, 4)
    similarity[0, 1, 1] = 0.5  # tokens of 2 x 6 x 4 voxels: the middle is voxel (1, 9, 6)
    about = {"study_id": "s1", "finding": "nodule", "score": 0.1, "label": 1.0}
    examples.write_example(
        tmp_path, image=image, similarity=similarity, spacing_mm=(1.0, 2.0, 3.0), about=about
    )
    planes = load_file(tmp_path / "s1.safetensors")
    told = json.loads((tmp_path / "s1.json").read_text())
    assert told["voxel"] == [1, 9, 6]
    assert told["planes"]["axial"] == {"axis": "z", "index": 6, "pixel_mm": [2.0, 1.0]}
    assert told["planes"]["sagittal"]["pixel_mm"] == [3.0, 2.0]  # rows are z, columns are y
    assert told["finding"] == "nodule"
    for plane, shape in (("axial", (12, 8)), ("coronal", (16, 8)), ("sagittal", (16, 12))):
        shown, overlay = planes[f"{plane}_image"], planes[f"{plane}_similarity"]
        assert (shown.dtype, overlay.dtype) == (np.uint8, np.float32)
        assert shown.shape == overlay.shape == shape
        white = np.unravel_index(shown.argmax(), shape)
        assert shown[white] == 255
        assert overlay[white] > 0.7 * overlay.max() > 0.2  # the middle lies between voxels
    assert examples._grey(image.numpy())[0, 0, 0] == 128
    examples.remove_other_examples(tmp_path, ["s2"])
    assert not list(tmp_path.iterdir())
