"""Baselines: what a linear classifier reads from features that nobody pre-trained with reports.

A zero-shot score means little until one knows what a random encoder or a shrunken scan would give
with labels. Pure functions from features to scores; N studies, D features, F findings.
"""

import warnings
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from mg3d.evaluation.bootstrap import Array, Flags, Resampling
from mg3d.evaluation.protocol import STRICT
from mg3d.evaluation.zero_shot import FindingScores, judge
from mg3d.randomness import rng

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)
"""Inverse L2 penalties to choose from (scikit-learn's C on standardised features)."""
HELD_OUT_SHARE = 0.2
"""Of the training patients, to choose the penalty on."""


@dataclass(frozen=True, kw_only=True)
class LabelledFeatures:
    """Features and labels of the studies of one split."""

    patient_ids: tuple[str, ...]
    features: Array
    """(N, D)."""
    labels: Array
    """(N, F) 1, 0 or NaN."""
    finding_names: tuple[str, ...]

    def take(self, rows: Flags) -> Self:
        """The studies for which ``rows`` (N,) is True."""
        return type(self)(
            patient_ids=tuple(np.array(self.patient_ids)[rows].tolist()),
            features=self.features[rows],
            labels=self.labels[rows],
            finding_names=self.finding_names,
        )

    def scored(self, scores: Array) -> FindingScores:
        """Scores (N, F) of these studies."""
        return FindingScores(
            patient_ids=self.patient_ids,
            scores=scores,
            labels=self.labels,
            finding_names=self.finding_names,
        )


def linear_probe(train: LabelledFeatures, test: LabelledFeatures) -> FindingScores:
    """One logistic regression a finding on standardised features.

    One penalty for all findings is chosen by the macro AUROC on a fifth of the training patients,
    held out of a first fit; then all of them are learnt from. A finding that ``train`` does not
    show both ways scores 0 everywhere, which is chance.

    Args:
        train: What the classifier learns from.
        test: What is scored; its labels are passed on, never read.

    Returns:
        Log odds of each finding of each test study.
    """
    strength = _choose_strength(train)
    return test.scored(_log_odds(train, test.features, strength))


def _choose_strength(train: LabelledFeatures) -> float:
    """The penalty with the best held-out macro AUROC; the strongest wins ties."""
    patients, patient_of_row = np.unique(np.array(train.patient_ids), return_inverse=True)
    held_out_patients = rng(0, "probe_held_out").random(len(patients)) < HELD_OUT_SHARE
    held_out = held_out_patients[patient_of_row]
    learnt, judged = train.take(~held_out), train.take(held_out)
    chosen, best = STRENGTHS[0], -np.inf
    if not held_out.any() or held_out.all():
        return chosen
    for strength in STRENGTHS:
        scores = judged.scored(_log_odds(learnt, judged.features, strength))
        macro = judge(scores, STRICT, resampling=Resampling(repeats=0))["macro_auroc"]
        if macro is not None and macro["value"] > best:
            chosen, best = strength, macro["value"]
    return chosen


def _log_odds(train: LabelledFeatures, judged: Array, strength: float) -> Array:
    """Scores (N, F) of features ``judged`` (N, D)."""
    scaler = StandardScaler().fit(train.features)
    features, judged = scaler.transform(train.features), scaler.transform(judged)
    scores = np.zeros((len(judged), train.labels.shape[1]))
    for finding in range(train.labels.shape[1]):
        known = ~np.isnan(train.labels[:, finding])
        present = train.labels[known, finding] == 1
        if not present.any() or present.all():
            continue
        classifier = LogisticRegression(C=strength, max_iter=200, tol=1e-3)
        with warnings.catch_warnings():  # a stop at max_iter ranks as well as the optimum
            warnings.simplefilter("ignore", ConvergenceWarning)
            classifier.fit(features[known], present)
        scores[:, finding] = classifier.decision_function(judged)
    return scores


def prevalence_scores(train: LabelledFeatures, test: LabelledFeatures) -> FindingScores:
    """Say of every study what share of the training studies had the finding."""
    num_known = (~np.isnan(train.labels)).sum(0)
    share = np.nansum(train.labels, axis=0) / num_known.clip(1)
    return test.scored(np.tile(share, (len(test.labels), 1)))


def baseline(name: str, scores: FindingScores, resampling: Resampling) -> dict[str, Any]:
    """A baseline's AUROC under the strict protocol, as a JSON document."""
    judged = judge(scores, STRICT, resampling=resampling)
    kept = ("name", "auroc")
    return {
        "name": name,
        "macro_auroc": judged["macro_auroc"],
        "findings": [{key: finding[key] for key in kept} for finding in judged["findings"]],
    }
