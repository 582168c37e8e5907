"""Measured against scikit-learn: largest difference 1.7e-16 on these draws; 1e-12 is asserted."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score, roc_curve

from mg3d.evaluation import metrics


def draw(seed: int, ties: bool, size: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    scores = generator.normal(size=size)
    if ties:
        scores = scores.round(0)
    positive = generator.random(size) < 0.3
    weights = generator.integers(0, 4, size=(5, size)).astype(float)
    return scores, positive, weights


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_equals_sklearn_with_sample_weights(seed: int, ties: bool) -> None:
    scores, positive, weights = draw(seed, ties)
    auroc = metrics.auroc(scores, positive, weights)
    auprc = metrics.average_precision(scores, positive, weights)
    f1 = metrics.f1(scores >= 0, positive, weights)
    for row, weight in enumerate(weights):
        kept = weight > 0
        args = (positive[kept], scores[kept])
        theirs = roc_auc_score(*args, sample_weight=weight[kept])
        np.testing.assert_allclose(auroc[row], theirs, rtol=0, atol=1e-12)
        theirs = average_precision_score(*args, sample_weight=weight[kept])
        np.testing.assert_allclose(auprc[row], theirs, rtol=0, atol=1e-12)
        theirs = f1_score(positive[kept], (scores >= 0)[kept], sample_weight=weight[kept])
        np.testing.assert_allclose(f1[row], theirs, rtol=0, atol=1e-12)


def test_weights_are_repetitions() -> None:
    scores, positive, weights = draw(3, ties=True)
    repeated = np.repeat(np.arange(len(scores)), weights[0].astype(int))
    once = np.ones((1, len(repeated)))
    for metric in (metrics.auroc, metrics.average_precision):
        expected = metric(scores[repeated], positive[repeated], once)[0]
        assert metric(scores, positive, weights)[0] == pytest.approx(expected, abs=1e-12)


def test_constant_scores_are_chance() -> None:
    positive = np.arange(10) < 3
    once = np.ones((1, 10))
    assert metrics.auroc(np.zeros(10), positive, once)[0] == 0.5
    assert metrics.average_precision(np.zeros(10), positive, once)[0] == pytest.approx(0.3)


def test_a_resample_without_positives_is_undefined_and_left_out_of_the_macro() -> None:
    scores, positive = np.array([0.1, 0.9, 0.4]), np.array([False, True, False])
    weights = np.array([[1.0, 0.0, 2.0], [1.0, 1.0, 1.0]])
    values = metrics.auroc(scores, positive, weights)
    assert np.isnan(values[0])
    assert values[1] == 1.0
    assert np.isnan(metrics.f1(scores > 0.5, positive, weights)[0])
    macro = metrics.macro(np.stack([values, np.array([0.5, 0.5])], axis=1))
    np.testing.assert_array_equal(macro, [0.5, 0.75])


@pytest.mark.parametrize("seed", range(4))
def test_thresholds_against_every_candidate(seed: int) -> None:
    scores, positive, _ = draw(seed, ties=seed % 2 == 0)
    chosen = metrics.best_f1_threshold(scores, positive)
    best = max(f1_score(positive, scores >= candidate) for candidate in scores)
    assert f1_score(positive, scores >= chosen) == pytest.approx(best)

    def distance(threshold: float) -> float:
        predicted = scores >= threshold
        missed = (~predicted & positive).sum() / positive.sum()
        raised = (predicted & ~positive).sum() / (~positive).sum()
        return float(missed**2 + raised**2)

    corner = metrics.roc_corner_threshold(scores, positive)
    assert distance(corner) == pytest.approx(min(distance(s) for s in scores))


def test_roc_points_are_few_and_keep_both_ends() -> None:
    scores, positive, _ = draw(0, ties=False, size=2000)
    false_positive, true_positive = metrics.roc_points(scores, positive)
    assert 50 < len(false_positive) == len(true_positive) <= metrics.MAX_CURVE_POINTS
    assert (false_positive[0], true_positive[0]) == (0, 0)
    assert (false_positive[-1], true_positive[-1]) == (1, 1)
    theirs = set(zip(*(c.round(6) for c in roc_curve(positive, scores)[:2]), strict=True))
    assert set(zip(false_positive, true_positive, strict=True)) <= theirs
