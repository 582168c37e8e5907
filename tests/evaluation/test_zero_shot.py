import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    precision_score,
    roc_auc_score,
)

from mg3d.evaluation import zero_shot
from mg3d.evaluation.bootstrap import Resampling
from mg3d.evaluation.protocol import LEGACY, STRICT

RESAMPLING = Resampling(repeats=200, permutations=10, seed=0)


def scores_of(scans, noise: float = 1.0, seed: int = 5) -> zero_shot.FindingScores:
    generator = np.random.default_rng(seed)
    return zero_shot.FindingScores(
        patient_ids=scans.patient_ids,
        scores=scans.labels + generator.normal(size=scans.labels.shape) * noise,
        labels=scans.labels,
        finding_names=scans.finding_names,
    )


def test_score_is_the_difference_of_cosines(volumes) -> None:
    scans = volumes(patients=6)
    generator = np.random.default_rng(0)
    wordings = generator.normal(size=(2, 4, 3, 12)) * 7  # present/absent, finding, wording, size
    prompts = zero_shot.PromptEmbeddings(
        positive=np.stack([zero_shot.ensemble(w) for w in wordings[0]]),
        negative=np.stack([zero_shot.ensemble(w) for w in wordings[1]]),
    )
    scores = zero_shot.score_findings(scans, prompts, "difference").scores
    for row in range(6):
        for finding in range(4):
            cosines = []
            for kind in range(2):
                mean = np.mean([w / np.linalg.norm(w) for w in wordings[kind, finding]], axis=0)
                cosines.append(scans.image[row] @ mean / np.linalg.norm(mean))
            assert scores[row, finding] == pytest.approx(cosines[0] - cosines[1], abs=1e-12)


def test_strict_equals_sklearn_on_known_labels(volumes) -> None:
    test = scores_of(volumes(patients=80))
    labels = test.labels.copy()
    labels[::7, 1] = np.nan
    test = replace(test, labels=labels)
    thresholds = np.array([0.2, 0.4, 0.6, np.nan])
    result = zero_shot.judge(test, STRICT, thresholds=thresholds, resampling=RESAMPLING)
    aurocs = []
    for finding, entry in enumerate(result["findings"]):
        rows = ~np.isnan(labels[:, finding])
        truth, scores = labels[rows, finding], test.scores[rows, finding]
        aurocs.append(roc_auc_score(truth, scores))
        assert entry["auroc"]["value"] == pytest.approx(aurocs[-1], abs=1e-12)
        assert entry["auroc"]["low"] < entry["auroc"]["value"] < entry["auroc"]["high"]
        expected = average_precision_score(truth, scores)
        assert entry["auprc"]["value"] == pytest.approx(expected, abs=1e-12)
        assert (entry["num_positive"], entry["num_negative"]) == (truth.sum(), (1 - truth).sum())
        if finding < 3:
            f1 = f1_score(truth, scores >= thresholds[finding])
            assert entry["f1"]["value"] == pytest.approx(f1)
    assert result["findings"][3]["f1"] is None
    assert result["macro_auroc"]["value"] == pytest.approx(np.mean(aurocs))
    assert result["macro_f1"]["low"] < result["macro_f1"]["value"]
    json.dumps(result, allow_nan=False)


def test_legacy_equals_sklearn_weighted_means_and_has_no_intervals(volumes) -> None:
    test = scores_of(volumes(patients=50, volumes_each=2))
    result = zero_shot.judge(test, LEGACY, resampling=RESAMPLING)
    for finding, entry in enumerate(result["findings"]):
        truth = test.labels[:, finding]
        predicted = test.scores[:, finding] >= entry["threshold"]
        assert entry["f1"]["value"] == pytest.approx(f1_score(truth, predicted, average="weighted"))
        assert entry["accuracy"]["value"] == pytest.approx(accuracy_score(truth, predicted))
        precision = precision_score(truth, predicted, average="weighted")
        assert entry["precision"]["value"] == pytest.approx(precision)
        assert entry["auroc"]["low"] is None
    assert result["macro_accuracy"]["high"] is None
    json.dumps(result, allow_nan=False)


def test_strict_threshold_never_sees_test_labels(volumes) -> None:
    validation = scores_of(volumes(patients=60, seed=1), seed=1)
    test = scores_of(volumes(patients=60, seed=2), seed=2)
    thresholds = zero_shot.choose_thresholds(validation)
    liar = replace(test, labels=1 - test.labels)

    def operating_points(scores, protocol) -> list[float]:
        result = zero_shot.judge(scores, protocol, thresholds=thresholds, resampling=RESAMPLING)
        return [entry["threshold"] for entry in result["findings"]]

    assert operating_points(test, STRICT) == operating_points(liar, STRICT) == list(thresholds)
    assert operating_points(test, LEGACY) != operating_points(liar, LEGACY)


def test_findings_without_both_classes_are_named_and_left_out(volumes) -> None:
    test = scores_of(volumes(patients=30))
    labels = test.labels.copy()
    labels[:, 0], labels[:, 2] = 0, np.nan
    test = replace(test, labels=labels)
    result = zero_shot.judge(test, STRICT, resampling=RESAMPLING)
    assert result["left_out"] == ["finding 0", "finding 2"]
    assert [entry["name"] for entry in result["findings"]] == ["finding 1", "finding 3"]
    mean = np.mean([entry["auroc"]["value"] for entry in result["findings"]])
    assert result["macro_auroc"]["value"] == pytest.approx(mean)
    assert result["macro_f1"] is None
    assert np.isnan(zero_shot.choose_thresholds(test)[[0, 2]]).all()
    nothing = replace(test, labels=np.full_like(labels, np.nan))
    assert zero_shot.judge(nothing, STRICT, resampling=RESAMPLING)["macro_auroc"] is None


def test_reconstructions_count_once_in_strict_and_each_in_legacy(volumes) -> None:
    scans = volumes(patients=40, volumes_each=3)
    prompts = zero_shot.PromptEmbeddings(positive=np.eye(12)[:4], negative=-np.eye(12)[:4])
    counts = {}
    for protocol in (STRICT, LEGACY):
        scores = zero_shot.score_findings(scans.in_unit(protocol.unit), prompts, "difference")
        result = zero_shot.judge(scores, protocol, resampling=RESAMPLING)
        counts[protocol.name] = sum(
            result["findings"][0][k] for k in ("num_positive", "num_negative")
        )
    assert counts == {"strict": 40, "legacy": 120}


def test_order_of_studies_changes_nothing(volumes) -> None:
    scans = volumes(patients=30, studies_each=2, volumes_each=2)
    prompts = zero_shot.PromptEmbeddings(positive=np.eye(12)[:4], negative=-np.eye(12)[:4])
    shuffled = scans.take(np.random.default_rng(1).permutation(len(scans)))
    results = [
        zero_shot.judge(
            zero_shot.score_findings(rows.in_unit("study"), prompts, "difference"),
            STRICT,
            resampling=RESAMPLING,
        )
        for rows in (scans, shuffled)
    ]
    assert results[0] == results[1]
