"""Retrieval between volumes and reports.

Pure functions from similarities to numbers. Two invariants: identical reports are all correct
(multi-positive), and ties are broken at random *in expectation*, so a model that scores everything
alike gets exactly chance and not 1. Q queries, G gallery, K cut-offs.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import hypergeom

from mg3d.errors import DataError
from mg3d.evaluation.bootstrap import (
    HIGH_PERCENT,
    LOW_PERCENT,
    Array,
    Estimate,
    Flags,
    Resampling,
    patient_weights,
)
from mg3d.evaluation.embedded import EmbeddedVolumes
from mg3d.evaluation.protocol import Protocol
from mg3d.randomness import rng

CUTOFFS = (1, 5, 10, 50, 100)


def hits_at(similarity: Array, correct: Flags, cutoffs: Sequence[int]) -> tuple[Array, Array]:
    """Whether a correct entry is among the first k, and the rank of the first correct one.

    Args:
        similarity: (Q, G) finite.
        correct: (Q, G) bool, at least one True a row.
        cutoffs: The k's, length K.

    Returns:
        (Q, K) probability of a hit and (Q,) expected rank from 1, over random orders of ties.
    """
    best = np.where(correct, similarity, -np.inf).max(1, keepdims=True)
    above = (similarity > best).sum(1)
    tied = similarity == best
    right, wrong = (tied & correct).sum(1), (tied & ~correct).sum(1)
    drawn = np.clip(np.asarray(cutoffs)[None] - above[:, None], 0, (right + wrong)[:, None])
    hits = hypergeom.sf(0, (right + wrong)[:, None], right[:, None], drawn)
    return np.asarray(hits, np.float64), above + (right + wrong + 1) / (right + 1)


def permuted_recall(
    similarity: Array, correct: Flags, cutoffs: Sequence[int], resampling: Resampling
) -> Array:
    """The same multi-positive recall after shuffling which gallery entry is whose.

    Returns:
        (permutations, K); its mean is chance, its spread what chance alone can show.
    """
    position = np.argsort(np.argsort(-similarity, axis=1, kind="stable"), axis=1)
    query, entry = np.nonzero(correct)  # sorted by query, every query at least once
    starts = np.searchsorted(query, np.arange(len(similarity)))
    generator = rng(resampling.seed, "retrieval_chance")
    recall = np.empty((resampling.permutations, len(cutoffs)))
    for draw in recall:
        shuffled = generator.permutation(similarity.shape[1])
        first = np.minimum.reduceat(position[query, shuffled[entry]], starts)
        draw[:] = (first[:, None] < np.asarray(cutoffs)).mean(0)
    return recall


def correct_matches(units: EmbeddedVolumes, protocol: Protocol) -> Flags:
    """(V, V) bool: which unit's report describes which unit's volume."""
    if protocol.correct_match == "same_index":
        return np.eye(len(units), dtype=bool)
    studies, reports = np.array(units.study_ids), np.array(units.report_ids)
    same_report = (reports[:, None] == reports) & units.has_report
    return np.asarray(same_report | (studies[:, None] == studies))


def retrieve(
    units: EmbeddedVolumes,
    protocol: Protocol,
    resampling: Resampling,
) -> list[dict[str, Any]]:
    """Recall@k from reports to volumes and from volumes to reports.

    Every unit is in the gallery of volumes, every unit with a report in the gallery of reports;
    queries are the units with a report. Intervals resample the queries by patient and leave the
    gallery whole, since a gallery with repeats would be easier or harder than the real one.

    Args:
        units: The split in the unit of ``protocol``.
        protocol: The rules.
        resampling: Patient resamples and shuffles.

    Returns:
        Two JSON documents.

    Raises:
        DataError: If no unit has a report.
    """
    described = np.flatnonzero(units.has_report)
    if not described.size:
        raise DataError(
            "retrieval: no study of this split has a report. Choose another split or leave "
            "'retrieval' out of the tasks."
        )
    similarity = units.text[described] @ units.image.T
    correct = correct_matches(units, protocol)[described]
    patients = [units.patient_ids[row] for row in described]
    directions = {
        "report_to_volume": (similarity, correct),
        "volume_to_report": (similarity.T[described], correct.T[described]),
    }
    return [
        {"protocol": protocol.name, "direction": direction}
        | _recall(*pair, patients, protocol, resampling)
        for direction, pair in directions.items()
    ]


def _recall(
    similarity: Array,
    correct: Flags,
    patients: Sequence[str],
    protocol: Protocol,
    resampling: Resampling,
) -> dict[str, Any]:
    cutoffs = [k for k in CUTOFFS if k < similarity.shape[1]] or [1]
    hits, rank = hits_at(similarity, correct, cutoffs)
    chance = permuted_recall(similarity, correct, cutoffs, resampling)
    return {
        "num_queries": len(similarity),
        "gallery_size": similarity.shape[1],
        "mean_correct": float(correct.sum(1).mean()),
        "recall": beside_chance(hits, chance, cutoffs, patients, protocol, resampling),
        "median_rank": float(np.median(rank)),
    }


def beside_chance(
    per_query: Array,
    chance: Array,
    cutoffs: Sequence[int],
    patients: Sequence[str],
    protocol: Protocol,
    resampling: Resampling,
) -> dict[str, dict[str, float | None]]:
    """Mean over queries with its interval, beside the mean and range of the shuffles."""
    resampled: Array | None = None
    if protocol.intervals == "patient_bootstrap":
        weights = patient_weights(patients, resampling)
        resampled = weights @ per_query / weights.sum(1, keepdims=True)
    document: dict[str, dict[str, float | None]] = {}
    for column, k in enumerate(cutoffs):
        drawn = None if resampled is None else resampled[:, column]
        low, high = np.percentile(chance[:, column], [LOW_PERCENT, HIGH_PERCENT])
        document[str(k)] = Estimate.of(per_query[:, column].mean(), drawn).as_dict() | {
            "chance": float(chance[:, column].mean()),
            "chance_low": float(low),
            "chance_high": float(high),
        }
    return document
