"""Recall against brute force: random orders of ties are enumerated, matches are found by loops."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

from mg3d.errors import DataError
from mg3d.evaluation import retrieval
from mg3d.evaluation.bootstrap import Resampling
from mg3d.evaluation.protocol import LEGACY, STRICT
from mg3d.randomness import rng

RESAMPLING = Resampling(repeats=200, permutations=300, seed=0)


def brute_force(similarity: np.ndarray, correct: np.ndarray, k: int) -> tuple[float, float]:
    """Mean over every order of the gallery that a stable sort could have started from."""
    hits, ranks = [], []
    for order in itertools.permutations(range(len(similarity))):
        ranking = sorted(order, key=lambda entry: -similarity[entry])
        rank = next(i for i, entry in enumerate(ranking, 1) if correct[entry])
        hits.append(rank <= k)
        ranks.append(rank)
    return float(np.mean(hits)), float(np.mean(ranks))


@pytest.mark.parametrize("seed", range(6))
def test_hits_with_ties_and_many_positives_against_every_order(seed: int) -> None:
    generator = np.random.default_rng(seed)
    similarity = generator.integers(0, 3, size=(4, 6)).astype(float)
    correct = generator.random((4, 6)) < 0.4
    correct[:, seed % 6] = True
    hits, rank = retrieval.hits_at(similarity, correct, [1, 2, 5])
    for row in range(4):
        for column, k in enumerate([1, 2, 5]):
            expected, expected_rank = brute_force(similarity[row], correct[row], k)
            assert hits[row, column] == pytest.approx(expected, abs=1e-12)
            assert rank[row] == pytest.approx(expected_rank, abs=1e-12)


def test_constant_scores_are_chance_not_one() -> None:
    correct = np.eye(40, dtype=bool)
    hits, rank = retrieval.hits_at(np.zeros((40, 40)), correct, [1, 5, 10])
    np.testing.assert_allclose(hits.mean(0), [1 / 40, 5 / 40, 10 / 40], atol=1e-12)
    np.testing.assert_allclose(rank, 20.5)


def loops(scans, protocol, k: int, report_to_volume: bool) -> float:
    hits = []
    described = [row for row in range(len(scans)) if scans.report_ids[row]]
    gallery = range(len(scans)) if report_to_volume else described
    for query in described:
        correct, scores = [], []
        for entry in gallery:
            text, volume = (query, entry) if report_to_volume else (entry, query)
            scores.append(float(scans.text[text] @ scans.image[volume]))
            same = scans.study_ids[text] == scans.study_ids[volume] or (
                scans.report_ids[text] == scans.report_ids[volume]
            )
            correct.append(text == volume if protocol is LEGACY else same)
        best = max(score for score, right in zip(scores, correct, strict=True) if right)
        hits.append(sum(score > best for score in scores) < k)
    return float(np.mean(hits))


@pytest.mark.parametrize("protocol", [STRICT, LEGACY])
def test_recall_with_duplicate_and_missing_reports_against_loops(volumes, protocol) -> None:
    scans = volumes(patients=30, studies_each=2, volumes_each=1, findings=3)
    reports = list(scans.report_ids)
    reports[3] = reports[17] = reports[40] = "no finding"
    reports[5] = reports[6] = ""
    scans = replace(scans, report_ids=tuple(reports)).in_unit(protocol.unit)
    results = retrieval.retrieve(scans, protocol, RESAMPLING)
    for result, report_to_volume in zip(results, [True, False], strict=True):
        assert result["num_queries"] == 58
        assert result["gallery_size"] == (60 if report_to_volume else 58)
        for k, entry in result["recall"].items():
            expected = loops(scans, protocol, int(k), report_to_volume)
            assert entry["value"] == pytest.approx(expected, abs=1e-12)
    json.dumps(results, allow_nan=False)


def test_an_identical_report_is_correct_in_strict_only(volumes) -> None:
    scans = volumes(patients=2, findings=2)
    scans = replace(scans, report_ids=("same", "same"), image=scans.image[::-1].copy())
    strict, legacy = (
        retrieval.correct_matches(scans, STRICT),
        retrieval.correct_matches(scans, LEGACY),
    )
    assert strict.all()
    np.testing.assert_array_equal(legacy, np.eye(2, dtype=bool))


def test_chance_of_single_matches_is_k_over_n(volumes) -> None:
    """1,000 shuffles of 60 queries: standard error of R@10's mean 0.0014, so 0.006 is 4 of them."""
    scans = volumes(patients=60).in_unit("study")
    for result in retrieval.retrieve(scans, STRICT, Resampling(repeats=10, permutations=1000)):
        for k, entry in result["recall"].items():
            assert entry["chance"] == pytest.approx(int(k) / 60, abs=0.006)
            assert entry["chance_low"] <= entry["chance"] <= entry["chance_high"]
        ten = result["recall"]["10"]
        sd = np.sqrt(60 * (1 / 6) * (5 / 6)) / 60
        assert ten["chance_high"] - ten["chance_low"] == pytest.approx(3.92 * sd, rel=0.15)


def test_chance_rises_with_the_number_of_correct_entries() -> None:
    """Groups of 5 among 40: P(a hit in 10) = 1 - C(35,10)/C(40,10) = 0.7829."""
    group = np.repeat(np.arange(8), 5)
    correct = group[:, None] == group[None]
    similarity = np.random.default_rng(0).normal(size=(40, 40))
    recall = retrieval.permuted_recall(similarity, correct, [10], Resampling(permutations=2000))
    assert recall.mean() == pytest.approx(0.7829, abs=0.01)


def test_permuted_recall_is_the_recall_of_a_shuffled_gallery() -> None:
    generator = np.random.default_rng(1)
    similarity = generator.normal(size=(7, 9))
    correct = generator.random((7, 9)) < 0.2
    correct[:, 2] = True
    settings = Resampling(permutations=20, seed=3)
    recall = retrieval.permuted_recall(similarity, correct, [1, 3], settings)
    draws = rng(3, "retrieval_chance")
    for row in recall:
        order = draws.permutation(9)
        dealt = np.empty_like(correct)
        dealt[:, order] = correct
        np.testing.assert_allclose(row, retrieval.hits_at(similarity, dealt, [1, 3])[0].mean(0))


def test_learned_pairs_stand_clear_of_chance_and_shuffled_ones_do_not(volumes) -> None:
    scans = volumes(patients=60).in_unit("study")
    order = np.random.default_rng(0).permutation(len(scans))
    good = retrieval.retrieve(scans, STRICT, RESAMPLING)[0]["recall"]["10"]
    shuffled = replace(scans, text=scans.text[order])
    bad = retrieval.retrieve(shuffled, STRICT, RESAMPLING)[0]["recall"]["10"]
    assert good["low"] > good["chance_high"]
    assert bad["chance_low"] <= bad["value"] <= bad["chance_high"]


def test_intervals_resample_patients(volumes) -> None:
    scans = volumes(patients=40).in_unit("study")
    result = retrieval.retrieve(scans, STRICT, RESAMPLING)[0]["recall"]["5"]
    one_patient = replace(scans, patient_ids=("p",) * len(scans))
    alone = retrieval.retrieve(one_patient, STRICT, RESAMPLING)[0]["recall"]["5"]
    assert result["low"] < result["value"] < result["high"]
    assert alone["low"] == alone["value"] == alone["high"]
    assert retrieval.retrieve(scans, LEGACY, RESAMPLING)[0]["recall"]["5"]["low"] is None


def test_no_report_at_all_is_said(volumes) -> None:
    scans = volumes(patients=3)
    with pytest.raises(DataError, match="no study of this split has a report"):
        retrieval.retrieve(replace(scans, report_ids=("",) * 3), STRICT, RESAMPLING)
