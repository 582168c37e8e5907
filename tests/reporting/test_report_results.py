"""Evaluation JSON becomes typed results, or a message that names file and field."""

from pathlib import Path
from typing import Any

import pytest

from mg3d.errors import DataError
from mg3d.reporting.results import (
    Estimate,
    read_baselines,
    read_head,
    read_retrieval,
    read_zero_shot,
)

PLACE = Path("run/evaluation/zero_shot.json")
HEAD: dict[str, Any] = {
    "schema": "mg3d.evaluation/1", "split": "test", "num_patients": 3, "num_studies": 4,
    "store_hash": "s", "checkpoint_hash": "c", "bootstrap": {"repeats": 10, "seed": 1},
}  # fmt: skip


def test_head_is_read() -> None:
    head = read_head(HEAD, PLACE)
    assert (head.num_patients, head.num_studies, head.repeats, head.seed) == (3, 4, 10, 1)


def test_another_schema_names_the_file_and_both_versions() -> None:
    with pytest.raises(DataError, match=r"zero_shot\.json.*mg3d\.evaluation/9.*evaluation/1"):
        read_head({**HEAD, "schema": "mg3d.evaluation/9"}, PLACE)


def test_a_missing_field_is_named() -> None:
    incomplete = {key: value for key, value in HEAD.items() if key != "store_hash"}
    with pytest.raises(DataError, match=r"zero_shot\.json.*'store_hash'"):
        read_head(incomplete, PLACE)


@pytest.mark.parametrize("value", [None, float("nan")])
def test_a_score_that_does_not_exist_is_none_not_zero(value: float | None) -> None:
    finding = {"name": "Emphysema", "auroc": {"value": value, "low": None, "high": None}}
    result = {"protocol": "strict", "prompts": "report", "macro_f1": None, "findings": [finding]}
    (read,) = read_zero_shot({"results": [result]}, PLACE)
    assert read.findings[0].auroc is None
    assert read.macro_f1 is None


def test_retrieval_points_are_sorted_by_number_not_by_text() -> None:
    point = {"value": 0.5, "low": 0.4, "high": 0.6, "chance": 0.1}
    result = {
        "protocol": "strict", "direction": "report_to_volume", "num_queries": 5, "gallery_size": 5,
        "recall": {"50": point, "5": point, "10": point, "1": {**point, "chance": None}},
    }  # fmt: skip
    (read,) = read_retrieval({"results": [result]}, PLACE)
    points = read.measures["recall"]
    assert [p.k for p in points] == [1, 5, 10, 50]
    assert points[0].chance is None
    assert points[1].chance == Estimate(0.1, None, None)
    assert points[1].score == Estimate(0.5, 0.4, 0.6)


def test_baselines_are_keyed_by_finding() -> None:
    finding = {"name": "Emphysema", "auroc": {"value": 0.7, "low": None, "high": None}}
    content = {"results": [{"name": "prevalence", "macro_auroc": None, "findings": [finding]}]}
    (baseline,) = read_baselines(content, PLACE)
    assert baseline.aurocs == {"Emphysema": Estimate(0.7, None, None)}
    assert baseline.macro_auroc is None
