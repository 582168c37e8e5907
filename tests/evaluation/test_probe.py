from dataclasses import replace

import numpy as np
import pytest

from mg3d.evaluation import probe
from mg3d.evaluation.bootstrap import Resampling

RESAMPLING = Resampling(repeats=100)


def make(size: int, seed: int, signal: float = 2.0) -> probe.LabelledFeatures:
    """Finding 0 is feature 0 on a large scale, finding 1 is feature 1; the rest is noise."""
    generator = np.random.default_rng(seed)
    labels = (generator.random((size, 2)) < 0.4).astype(float)
    features = generator.normal(size=(size, 20))
    features[:, :2] += signal * labels
    features[:, 0] = features[:, 0] * 1000 + 5000
    return probe.LabelledFeatures(
        patient_ids=tuple(f"p{seed}_{row // 2}" for row in range(size)),
        features=features,
        labels=labels,
        finding_names=("large", "small"),
    )


def aurocs(scores) -> list[float]:
    return [f["auroc"]["value"] for f in probe.baseline("x", scores, RESAMPLING)["findings"]]


def test_reads_a_linear_signal_whatever_its_scale() -> None:
    """The best possible AUROC at 2 sd is 0.921; measured 0.867 and 0.896."""
    result = probe.baseline("x", probe.linear_probe(make(200, 0), make(200, 1)), RESAMPLING)
    assert all(finding["auroc"]["value"] > 0.85 for finding in result["findings"])
    macro = result["macro_auroc"]
    assert macro["low"] < macro["value"] < macro["high"]
    assert set(result["findings"][0]) == {"name", "auroc"}


def test_without_signal_it_is_chance() -> None:
    values = aurocs(probe.linear_probe(make(200, 0, signal=0), make(400, 1, signal=0)))
    assert np.mean(values) == pytest.approx(0.5, abs=0.1)  # 0.515 measured; sd of the mean 0.02


def test_test_labels_are_never_read() -> None:
    train, test = make(60, 0), make(40, 1)
    lied_to = probe.linear_probe(train, replace(test, labels=1 - test.labels))
    np.testing.assert_array_equal(probe.linear_probe(train, test).scores, lied_to.scores)


def test_unknown_labels_are_left_out_and_a_one_sided_finding_is_chance() -> None:
    train, test = make(80, 0), make(60, 1)
    labels = train.labels.copy()
    labels[:, 0], labels[::3, 1] = 1, np.nan
    scores = probe.linear_probe(replace(train, labels=labels), test)
    assert (scores.scores[:, 0] == 0).all()
    values = aurocs(scores)
    assert values[0] == 0.5
    assert values[1] > 0.8


def test_the_penalty_is_chosen_on_training_patients(monkeypatch: pytest.MonkeyPatch) -> None:
    judged = []
    real = probe.judge

    def spy(scores, *args, **kwargs):
        judged.append(set(scores.patient_ids))
        return real(scores, *args, **kwargs)

    monkeypatch.setattr(probe, "judge", spy)
    train, test = make(100, 0), make(40, 1)
    probe.linear_probe(train, test)
    assert len(judged) == len(probe.STRENGTHS)
    assert all(patients < set(train.patient_ids) for patients in judged)
    assert 0.05 < len(judged[0]) / len(set(train.patient_ids)) < 0.4


def test_prevalence_is_chance() -> None:
    train, test = make(80, 0), make(60, 1)
    scores = probe.prevalence_scores(train, test)
    np.testing.assert_allclose(scores.scores[0], train.labels.mean(0))
    assert aurocs(scores) == [0.5, 0.5]
