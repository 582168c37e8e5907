import numpy as np
import pytest

from mg3d.evaluation import metrics
from mg3d.evaluation.bootstrap import Estimate, Resampling, patient_weights


def width(values: np.ndarray) -> float:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(high - low)


def test_all_rows_of_a_patient_come_together() -> None:
    patients = ["b", "a", "b", "c", "a"]
    weights = patient_weights(patients, Resampling(repeats=200, seed=1))
    np.testing.assert_array_equal(weights[:, 0], weights[:, 2])
    np.testing.assert_array_equal(weights[:, 1], weights[:, 4])
    drawn = weights[:, [0, 1, 3]]
    np.testing.assert_array_equal(drawn.sum(1), 3)  # as many patients as there are
    assert abs(drawn.mean() - 1) < 0.1
    assert len(np.unique(weights, axis=0)) > 5


def test_copies_of_a_scan_do_not_narrow_the_interval() -> None:
    """Resampling scans would shrink it by sqrt(8) = 2.8; measured ratio of widths here 1.0."""
    generator = np.random.default_rng(0)
    positive = generator.random(60) < 0.5
    scores = positive + generator.normal(size=60)
    people = np.array([f"p{i}" for i in range(60)])
    settings = Resampling(repeats=1000, seed=0)
    single = metrics.auroc(scores, positive, patient_weights(people, settings))
    copied = metrics.auroc(
        np.tile(scores, 8), np.tile(positive, 8), patient_weights(np.tile(people, 8), settings)
    )
    as_if_independent = metrics.auroc(
        np.tile(scores, 8),
        np.tile(positive, 8),
        patient_weights([str(i) for i in range(480)], settings),
    )
    assert width(copied) == pytest.approx(width(single), rel=1e-9)
    assert width(as_if_independent) < 0.5 * width(single)


def test_draw_depends_on_patients_not_on_row_order() -> None:
    patients = [f"p{i % 7}" for i in range(20)]
    order = np.random.default_rng(0).permutation(20)
    settings = Resampling(repeats=50, seed=3)
    weights = patient_weights(patients, settings)
    shuffled = patient_weights([patients[row] for row in order], settings)
    np.testing.assert_array_equal(shuffled, weights[:, order])
    other_seed = patient_weights(patients, Resampling(repeats=50, seed=4))
    assert not np.array_equal(weights, other_seed)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    """Normal scores one sd apart have AUROC 0.7602; each scan is there twice.

    Measured: 0.913 of these 150 (0.94 of 1,000 with 1,000 resamples, 0.954 with 200 patients); with
    scans as the unit 0.773. The bound lies 3 binomial standard deviations below 0.95.
    """
    truth, covered, trials = 0.7602499389, 0, 150
    settings = Resampling(repeats=300, seed=0)
    people = np.repeat([f"p{i}" for i in range(80)], 2)
    for trial in range(trials):
        generator = np.random.default_rng(trial)
        positive = np.repeat(generator.random(80) < 0.5, 2)
        scores = positive + np.repeat(generator.normal(size=80), 2)
        resampled = metrics.auroc(scores, positive, patient_weights(people, settings))
        estimate = Estimate.of(0, resampled)
        assert estimate.low is not None
        assert estimate.high is not None
        covered += estimate.low <= truth <= estimate.high
    assert covered / trials >= 0.95 - 3 * 0.0178


def test_no_interval_when_too_few_resamples_define_the_metric() -> None:
    mostly_undefined = np.where(np.arange(100) < 10, np.nan, 0.5)
    assert Estimate.of(0.5, mostly_undefined) == Estimate(0.5, None, None)
    assert Estimate.of(0.5, None).as_dict() == {"value": 0.5, "low": None, "high": None}
    rarely_undefined = np.where(np.arange(100) < 3, np.nan, 0.5)
    assert Estimate.of(0.5, rarely_undefined) == Estimate(0.5, 0.5, 0.5)
