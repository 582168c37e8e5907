"""The verdict follows from intervals and baselines, in both directions."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mg3d.reporting.results import Estimate
from mg3d.reporting.run_folder import read_run
from mg3d.reporting.verdict import (
    best_baseline,
    brief,
    describe,
    headline_result,
    headline_retrieval,
    judge,
    results_of,
)

Edit = Callable[[Path, Callable[[dict[str, Any]], object]], None]


def _set_macro(run: Path, edit: Edit, value: float, low: float | None, high: float | None) -> None:
    def change(content: dict[str, Any]) -> None:
        for result in content["results"]:
            if (result["protocol"], result["prompts"]) == ("strict", "report"):
                result["macro_auroc"] = {"value": value, "low": low, "high": high}

    edit(run / "evaluation" / "zero_shot.json", change)


def test_an_interval_above_chance_is_learning(run_folder: Path, edit_json: Edit) -> None:
    _set_macro(run_folder, edit_json, 0.55, 0.51, 0.6)
    verdict = judge(read_run(run_folder))
    assert verdict.learned is True
    assert "0.550 (0.510 to 0.600), 200 test patients" in verdict.line


@pytest.mark.parametrize("low", [0.5, 0.42, None])
def test_an_interval_that_reaches_chance_is_no_evidence(
    run_folder: Path, edit_json: Edit, low: float | None
) -> None:
    _set_macro(run_folder, edit_json, 0.7, low, None if low is None else 0.9)
    verdict = judge(read_run(run_folder))
    assert verdict.learned is False
    assert verdict.line.startswith("No evidence")


@pytest.mark.parametrize(("value", "relation"), [(0.76, "is not above it"), (0.78, "is above it")])
def test_the_model_is_set_beside_the_strongest_baseline(
    run_folder: Path, edit_json: Edit, value: float, relation: str
) -> None:
    _set_macro(run_folder, edit_json, value, value - 0.02, value + 0.02)  # the fixture's best: 0.77
    run = read_run(run_folder)
    baseline = best_baseline(run)
    assert baseline is not None
    assert baseline.name == "pooled_voxels_linear"
    assert relation in judge(run).remarks[0]


def test_a_run_without_baselines_says_so(run_folder: Path) -> None:
    (run_folder / "evaluation" / "baselines.json").unlink()
    assert "No baseline was computed" in judge(read_run(run_folder)).remarks[0]


def test_strict_results_come_in_order_of_familiarity(run_folder: Path, edit_json: Edit) -> None:
    path = run_folder / "evaluation" / "zero_shot.json"
    edit_json(path, lambda content: content["results"].reverse())
    run = read_run(run_folder)
    assert [r.prompts for r in results_of(run, "strict")] == ["report", "plain", "unseen"]
    result = headline_result(run)
    assert result is not None
    assert (result.protocol, result.prompts) == ("strict", "report")


def test_retrieval_is_quoted_at_ten_or_the_next_smaller_k(run_folder: Path) -> None:
    point = headline_retrieval(read_run(run_folder))
    assert point is not None
    assert point.k == 10
    path = run_folder / "evaluation" / "retrieval.json"
    content = json.loads(path.read_text())
    del content["results"][0]["recall"]["10"]
    path.write_text(json.dumps(content))
    smaller = headline_retrieval(read_run(run_folder))
    assert smaller is not None
    assert smaller.k == 5


def test_times_chance_is_the_quotient(run_folder: Path) -> None:
    remark = judge(read_run(run_folder)).remarks[-1]
    # fixture: 0.5 * sqrt(10) / 3.2 over 10 / 219
    assert "0.494 (0.444 to 0.544), 10.8 times chance (0.046)" in remark


def test_training_alone_is_no_claim(run_folder: Path) -> None:
    for path in (run_folder / "evaluation").glob("*.json"):
        path.unlink()
    verdict = judge(read_run(run_folder))
    assert verdict.learned is None
    assert "300 steps" in verdict.line
    assert verdict.remarks == ()


def test_scores_as_text() -> None:
    assert describe(Estimate(0.7849, 0.7, 0.85)) == "0.785 (0.700 to 0.850)"
    assert describe(Estimate(0.7849, None, None)) == "0.785"
    assert brief(Estimate(0.7849, 0.7, 0.85)) == "0.78 (0.70-0.85)"
    assert describe(None) == brief(None) == "-"
