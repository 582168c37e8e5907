"""Each section says what is in the run's files, and says what is missing."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mg3d.reporting import sections
from mg3d.reporting.run_folder import RunFolder, read_run

Edit = Callable[[Path, Callable[[dict[str, Any]], object]], None]


@pytest.fixture
def run(run_folder: Path) -> RunFolder:
    return read_run(run_folder)


def test_findings_table_holds_each_finding_with_its_numbers(run: RunFolder) -> None:
    page = sections.findings(run)
    assert run.zero_shot is not None
    for finding in run.zero_shot.zero_shot[0].findings:
        assert finding.auroc is not None
        assert f"<td>{finding.name}</td><td>{finding.auroc.value:.2f} (" in page
        assert f"<td>{finding.num_positive}</td><td>{finding.num_negative}</td></tr>" in page


def test_strict_and_legacy_stand_in_one_row(run: RunFolder) -> None:
    page = sections.protocols(run)
    assert "<th>strict</th><th>legacy</th>" in page
    assert "<td>report → volume, Recall@10</td><td>0.494 (0.444 to 0.544)</td>" in page
    assert "<td>report → volume, median rank</td><td>9 of 219</td><td>-</td>" in page
    row = next(line for line in page.splitlines() if "macro AUROC, plain prompts" in line)
    strict, legacy = row.split("<td>")[2:4]
    assert "to" in strict
    assert "to" not in legacy


def test_a_protocol_that_was_not_run_leaves_dashes(run: RunFolder) -> None:
    assert run.zero_shot is not None
    strict = tuple(r for r in run.zero_shot.zero_shot if r.protocol == "strict")
    page = sections.protocols(replace(run, zero_shot=replace(run.zero_shot, zero_shot=strict)))
    row = next(line for line in page.splitlines() if "macro AUROC, plain prompts" in line)
    assert row.endswith("<td>-</td></tr>")


@pytest.mark.parametrize(
    ("section", "field", "text"),
    [
        (sections.findings, "zero_shot", "no evaluation/zero_shot.json"),
        (sections.findings, "baselines", "no evaluation/baselines.json"),
        (sections.roc, "zero_shot", "no ROC points"),
        (sections.retrieval, "retrieval", "no evaluation/retrieval.json"),
        (sections.protocols, "retrieval", "Retrieval was not evaluated"),
        (sections.protocols, "zero_shot", "Zero-shot findings were not evaluated"),
        (sections.provenance, "provenance", "no provenance.json"),
        (sections.provenance, "environment", "no environment.json"),
        (sections.provenance, "recipe", "no config.yaml"),
    ],
)
def test_what_is_missing_is_said(
    run: RunFolder, section: Callable[[RunFolder], str], field: str, text: str
) -> None:
    assert text in section(replace(run, **{field: None}))


def test_no_examples_is_said(run: RunFolder) -> None:
    assert "no example studies" in sections.examples(replace(run, examples=()))


def test_examples_name_study_finding_truth_and_prompt(run: RunFolder) -> None:
    page = sections.examples(run)
    assert "Study test_0000_a. Finding: Pleural effusion (truth: present)." in page
    assert "“there is pleural effusion.”" in page
    assert page.count("data:image/png;base64,") == 2
    unknown = replace(run.examples[0], label=None)
    assert "truth: not known" in sections.examples(replace(run, examples=(unknown,)))


def test_provenance_shows_hashes_seeds_and_the_whole_recipe(run: RunFolder) -> None:
    page = sections.provenance(run)
    assert run.recipe is not None
    for text in ("5f" * 32, "c3" * 32, "0123abcd", "seeds.mask", "lr: 0.001", "emphysema is seen."):
        assert text in page


def test_results_of_different_checkpoints_are_not_silently_combined(
    run_folder: Path, edit_json: Edit
) -> None:
    assert "different checkpoints" not in sections.provenance(read_run(run_folder))
    path = run_folder / "evaluation" / "retrieval.json"
    edit_json(path, lambda content: content.update(checkpoint_hash="00" * 32))
    assert "different checkpoints" in sections.provenance(read_run(run_folder))
