"""Findings scored by prompts alone: cosine to the positive prompt, less that to the negative one.

Pure functions from embeddings to numbers. The one invariant: the strict operating point is chosen
before a test label is read (`choose_thresholds` gets no test rows); the legacy one, taken from
the test labels as in papers, is computed beside it and is never an input of the strict result.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

from mg3d.evaluation import metrics
from mg3d.evaluation.bootstrap import Array, Estimate, Flags, Resampling, patient_weights
from mg3d.evaluation.embedded import EmbeddedVolumes
from mg3d.evaluation.protocol import Protocol

Scoring = Literal["difference", "positive"]
"""cos(image, present) - cos(image, absent), as in the literature, or cos(image, present) alone, for
text encoders that hear the finding more than its negation."""


@dataclass(frozen=True, kw_only=True)
class FindingScores:
    """What a classifier says about each unit (N) and finding (F), and what is true."""

    patient_ids: tuple[str, ...]
    scores: Array
    """(N, F) finite; larger means more likely present."""
    labels: Array
    """(N, F) 1, 0 or NaN (unknown, left out for that finding)."""
    finding_names: tuple[str, ...]

    def known(self, finding: int) -> tuple[Array, Flags, Flags]:
        """Scores (n,), positives (n,) and the (N,) rows whose label is known, for one finding."""
        rows = ~np.isnan(self.labels[:, finding])
        return self.scores[rows, finding], self.labels[rows, finding] == 1, rows


@dataclass(frozen=True, kw_only=True)
class PromptEmbeddings:
    """The two ensembles of each finding, in the order of the labels."""

    positive: Array
    """(F, E) L2-normalised."""
    negative: Array
    """(F, E) L2-normalised."""

    def direction(self, scoring: Scoring) -> Array:
        """(F, E): its inner product with an image embedding is the score."""
        return self.positive - self.negative if scoring == "difference" else self.positive


def ensemble(embeddings: Array) -> Array:
    """Mean of L2-normalised prompt embeddings (P, E), normalised again: (E,)."""
    mean = (embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)).mean(0)
    return np.asarray(mean / np.linalg.norm(mean), dtype=np.float64)


def score_findings(
    units: EmbeddedVolumes, prompts: PromptEmbeddings, scoring: Scoring
) -> FindingScores:
    """Score every finding of every unit, in [-2, 2]; see `Scoring`."""
    return FindingScores(
        patient_ids=units.patient_ids,
        scores=units.image @ prompts.direction(scoring).T,
        labels=units.labels,
        finding_names=units.finding_names,
    )


def choose_thresholds(validation: FindingScores) -> Array:
    """The score with the best F1 of each finding on held-out rows, (F,).

    NaN where the validation split cannot tell (no positive or no negative).
    """
    thresholds = np.full(len(validation.finding_names), np.nan)
    for finding in range(len(thresholds)):
        scores, positive, _ = validation.known(finding)
        if positive.any() and not positive.all():
            thresholds[finding] = metrics.best_f1_threshold(scores, positive)
    return thresholds


def judge(
    test: FindingScores,
    protocol: Protocol,
    *,
    thresholds: Array | None = None,
    resampling: Resampling,
) -> dict[str, Any]:
    """AUROC, AUPRC and F1 of each finding and their macro means.

    Args:
        test: Scores and labels of the judged split, in the unit of ``protocol``.
        protocol: The rules.
        thresholds: (F,) operating points from `choose_thresholds`; without them the strict F1 is
            not computed. The legacy protocol ignores them and takes its own from the test labels.
        resampling: Patient resamples for the intervals.

    Returns:
        ``findings`` (one entry each), ``left_out`` (names without a positive or a negative; they
        enter no mean) and the macro estimates, as a JSON document.
    """
    resamples = None
    if protocol.intervals == "patient_bootstrap":
        resamples = patient_weights(test.patient_ids, resampling)
    judged, left_out, columns = [], [], []
    for finding, name in enumerate(test.finding_names):
        _, positive, _ = test.known(finding)
        if positive.all() or not positive.any():  # an empty column is "all" as well
            left_out.append(name)
            continue
        if protocol.threshold == "roc_corner_on_test":
            entry, column = _judge_at_corner(test, finding)
        else:
            threshold = np.nan if thresholds is None else float(thresholds[finding])
            entry, column = _judge_at(test, finding, threshold, resamples)
        judged.append(entry)
        columns.append(column)
    return {"findings": judged, "left_out": left_out, **_macro(judged, columns, protocol)}


def _judge_at(
    test: FindingScores, finding: int, threshold: float, resamples: Array | None
) -> tuple[dict[str, Any], dict[str, Array]]:
    """One finding under a given operating point, and its metrics on every resample."""
    scores, positive, rows = test.known(finding)
    predicted = scores >= threshold
    entry, column = _ranked(test, finding, resamples)
    if np.isnan(threshold):
        return entry | {"f1": None, "threshold": None}, column
    weights = np.ones((1, len(scores)))
    value = float(metrics.f1(predicted, positive, weights)[0])
    if resamples is not None:
        column["f1"] = metrics.f1(predicted, positive, resamples[:, rows])
    entry["f1"] = Estimate.of(value, column.get("f1")).as_dict()
    prevalence = float(positive.mean())
    return entry | {
        "threshold": threshold,
        "f1_always_positive": 2 * prevalence / (1 + prevalence),
        "f1_predict_prevalence": prevalence,
    }, column


def _judge_at_corner(test: FindingScores, finding: int) -> tuple[dict[str, Any], dict[str, Array]]:
    """One finding as papers print it: operating point from these very labels, weighted means."""
    scores, positive, _ = test.known(finding)
    threshold = metrics.roc_corner_threshold(scores, positive)
    predicted = scores >= threshold
    precision, _, weighted_f1, _ = precision_recall_fscore_support(
        positive, predicted, average="weighted", zero_division=0
    )
    entry, column = _ranked(test, finding, None)
    return entry | {
        "threshold": threshold if np.isfinite(threshold) else None,
        "f1": Estimate(float(weighted_f1)).as_dict(),
        "accuracy": Estimate(float(accuracy_score(positive, predicted))).as_dict(),
        "precision": Estimate(float(precision)).as_dict(),
    }, column


def _ranked(
    test: FindingScores, finding: int, resamples: Array | None
) -> tuple[dict[str, Any], dict[str, Array]]:
    """What needs no operating point."""
    scores, positive, rows = test.known(finding)
    column: dict[str, Array] = {}
    entry: dict[str, Any] = {"name": test.finding_names[finding]}
    once = np.ones((1, len(scores)))
    for name, metric in (("auroc", metrics.auroc), ("auprc", metrics.average_precision)):
        if resamples is not None:
            column[name] = metric(scores, positive, resamples[:, rows])
        value = float(metric(scores, positive, once)[0])
        entry[name] = Estimate.of(value, column.get(name)).as_dict()
    false_positive, true_positive = metrics.roc_points(scores, positive)
    return entry | {
        "prevalence": float(positive.mean()),
        "num_positive": int(positive.sum()),
        "num_negative": int((~positive).sum()),
        "roc": {"fpr": false_positive, "tpr": true_positive},
    }, column


def _macro(
    judged: list[dict[str, Any]], columns: list[dict[str, Array]], protocol: Protocol
) -> dict[str, Any]:
    """Unweighted means over the judged findings; the interval resamples all of them together."""
    means: dict[str, Any] = {}
    names = ["auroc", "auprc", "f1"]
    if protocol.threshold == "roc_corner_on_test":
        names += ["accuracy", "precision"]
    for name in names:
        rows = [row for row, entry in enumerate(judged) if entry[name] is not None]
        if not rows:
            means[f"macro_{name}"] = None
            continue
        value = float(np.mean([judged[row][name]["value"] for row in rows]))
        resampled = None
        if protocol.intervals == "patient_bootstrap":
            resampled = metrics.macro(np.stack([columns[row][name] for row in rows], axis=1))
        means[f"macro_{name}"] = Estimate.of(value, resampled).as_dict()
    return means
