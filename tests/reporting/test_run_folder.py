"""A run is read from its files; missing parts are empty, damaged ones are errors."""

import json
from pathlib import Path

import numpy as np
import pytest

from mg3d.errors import DataError
from mg3d.reporting.run_folder import PLANES, read_run


def test_a_complete_run(run_folder: Path) -> None:
    run = read_run(run_folder)
    assert run.name == "phantom-tiny"
    assert [step.step for step in run.steps] == list(range(1, 301))
    assert run.steps[0].losses.keys() >= {"total", "masked_report"}
    assert run.zero_shot is not None
    assert len(run.zero_shot.zero_shot) == 6
    assert run.retrieval is not None
    assert run.retrieval.zero_shot == ()
    assert [example.finding for example in run.examples] == ["Pleural effusion", "Cardiomegaly"]
    assert all(
        example.images[plane].dtype == np.uint8 for example in run.examples for plane in PLANES
    )


def test_only_metrics_are_required(tmp_path: Path) -> None:
    line = {"step": 1, "loss": {"total": 2.0}}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    run = read_run(tmp_path)
    assert run.zero_shot is run.provenance is run.recipe is None
    assert run.examples == ()
    assert run.steps[0].seconds is None


def test_a_folder_without_metrics_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"metrics\.jsonl: not found.*mg3d pretrain"):
        read_run(tmp_path)


def test_no_logged_step_is_said(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(DataError, match="no logged step"):
        read_run(tmp_path)


@pytest.mark.parametrize("line", ['{"step": 2, "lo', '{"step": 2}', "[1, 2]", '"text"', "3"])
def test_a_damaged_line_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": {"total": 1}}\n' + line + "\n")
    with pytest.raises(DataError, match=r"metrics\.jsonl, line 2"):
        read_run(tmp_path)


def test_a_step_logged_again_after_a_resume_counts_once(tmp_path: Path) -> None:
    rows = [
        {"step": step, "loss": {"total": loss}} for step, loss in ((1, 9), (2, 8), (2, 7), (3, 6))
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    steps = read_run(tmp_path).steps
    assert [(step.step, step.losses["total"]) for step in steps] == [(1, 9), (2, 7), (3, 6)]


def test_a_half_written_result_is_an_error(run_folder: Path) -> None:
    path = run_folder / "evaluation" / "zero_shot.json"
    path.write_text(path.read_text()[:1000])
    with pytest.raises(DataError, match=r"zero_shot\.json: not valid JSON"):
        read_run(run_folder)


def test_a_truncated_example_is_an_error(run_folder: Path) -> None:
    path = next((run_folder / "evaluation" / "examples").glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=f"{path.name}: damaged"):
        read_run(run_folder)
