import json
from dataclasses import replace

import numpy as np
import pytest

from mg3d.evaluation import likeness
from mg3d.evaluation.bootstrap import Resampling
from mg3d.evaluation.protocol import LEGACY, STRICT

RESAMPLING = Resampling(repeats=200, permutations=300, seed=0)


def loops(scans, k: int, itself: bool) -> tuple[float, float]:
    """Mean Jaccard@k and MAP@k from sets, one query at a time."""
    jaccards, precisions = [], []
    known = [{f for f, y in enumerate(row) if not np.isnan(y)} for row in scans.labels]
    present = [{f for f, y in enumerate(row) if y == 1} for row in scans.labels]

    def compare(a: int, b: int) -> tuple[float, bool]:
        both = known[a] & known[b]
        first, second = present[a] & both, present[b] & both
        if not first | second:
            return (1.0, True) if both else (0.0, False)
        return len(first & second) / len(first | second), bool(first & second)

    for query in range(len(scans)):
        others = [row for row in range(len(scans)) if itself or row != query]
        others.sort(key=lambda row: -float(scans.image[query] @ scans.image[row]))
        judged = [compare(query, row) for row in others]
        jaccards.append(np.mean([overlap for overlap, _ in judged[:k]]))
        relevant = [right for _, right in judged]
        total = sum(sum(relevant[: rank + 1]) / (rank + 1) for rank in range(k) if relevant[rank])
        precisions.append(total / max(1, min(k, sum(relevant))))
    return float(np.mean(jaccards)), float(np.mean(precisions))


@pytest.mark.parametrize("protocol", [STRICT, LEGACY])
def test_against_loops_over_sets(volumes, protocol) -> None:
    scans = volumes(patients=30, volumes_each=2, findings=3, signal=0.5)
    labels = scans.labels.copy()
    labels[::5, 1] = np.nan
    labels[7] = np.nan
    scans = replace(scans, labels=labels).in_unit(protocol.unit)
    result = likeness.retrieve_alike(scans, protocol, RESAMPLING)
    kept = ~np.isnan(scans.labels).all(1)
    if protocol is LEGACY:
        kept &= np.nansum(scans.labels, axis=1) > 0
    scans = scans.take(np.flatnonzero(kept))
    assert result["num_queries"] == len(scans)
    assert result["gallery_size"] == len(scans) - (protocol is STRICT)
    for k in result["jaccard"]:
        jaccard, precision = loops(scans, int(k), itself=protocol is LEGACY)
        assert result["jaccard"][k]["value"] == pytest.approx(jaccard, abs=1e-12)
        assert result["map"][k]["value"] == pytest.approx(precision, abs=1e-12)
    json.dumps(result, allow_nan=False)


def test_finding_oneself_is_what_legacy_counts(volumes) -> None:
    scans = volumes(patients=30)
    assert likeness.retrieve_alike(scans, LEGACY, RESAMPLING)["jaccard"]["1"]["value"] == 1.0
    assert likeness.retrieve_alike(scans, STRICT, RESAMPLING)["jaccard"]["1"]["value"] < 1.0


def test_chance_is_the_mean_overlap_of_two_different_units(volumes) -> None:
    """Over 1,000 shuffles of 40 units; largest difference measured 0.0026."""
    scans = volumes(patients=40)
    jaccard = likeness.LabelOverlap.of(scans.labels).jaccard
    expected = jaccard[~np.eye(40, dtype=bool)].mean()
    result = likeness.retrieve_alike(scans, STRICT, Resampling(repeats=10, permutations=1000))
    for entry in result["jaccard"].values():
        assert entry["chance"] == pytest.approx(expected, abs=0.01)


def test_constant_similarities_are_chance(volumes) -> None:
    scans = volumes(patients=60)
    same = replace(scans, image=np.ones_like(scans.image) / np.sqrt(scans.image.shape[1]))
    result = likeness.retrieve_alike(same, STRICT, RESAMPLING)
    for measure in ("jaccard", "map"):
        entry = result[measure]["10"]
        assert entry["chance_low"] <= entry["value"] <= entry["chance_high"]


def test_similar_volumes_stand_clear_of_chance(volumes) -> None:
    entry = likeness.retrieve_alike(volumes(patients=60), STRICT, RESAMPLING)["jaccard"]["5"]
    assert entry["low"] > entry["chance_high"]


def test_ties_do_not_depend_on_the_order_of_rows() -> None:
    names = [f"volume {i}" for i in range(8)]
    similarity = np.zeros((8, 8))
    order = np.random.default_rng(0).permutation(8)
    plain = likeness.nearest(similarity, names, 3, itself=False)
    shuffled = likeness.nearest(similarity, [names[row] for row in order], 3, itself=False)
    for row in range(8):
        assert [names[e] for e in plain[order[row]]] == [names[order[e]] for e in shuffled[row]]
        assert order[row] not in plain[order[row]]


def test_too_few_labels_give_no_result(volumes) -> None:
    scans = volumes(patients=5)
    unknown = replace(scans, labels=np.full_like(scans.labels, np.nan))
    assert likeness.retrieve_alike(unknown, STRICT, RESAMPLING) is None
