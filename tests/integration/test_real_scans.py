"""The four commands on real CT and real reports, which are not pairs: plumbing, not learning."""

import csv
import json
import os
from pathlib import Path

import pytest
import yaml
from small_run import GRID, MODEL

from mg3d.cli import main
from mg3d.training.pretrain import _plain

RECIPE = {
    "prepare": {"geometry": {"grid": list(GRID), "spacing_mm": [12.0, 20.0, 10.0]}},
    "pretrain": {
        "model": _plain(MODEL),
        "objectives": {"masked_volume": {"block": [8, 8, 8]}},
        "vocabulary_size": 600,
        "max_tokens": 500,
        "start": {"whitening_studies": 5, "canonical_components": 4},
        "corpus": {"steps": 2, "batch_size": 8, "section_reports": 4},
        "optimizer": {"warmup_steps": 1},
        "loop": {"steps": 3, "batch_size": 2, "checkpoint_every": 3, "log_every": 1},
        "accelerator": "cpu",
        "threads": 1,
    },
    "evaluate": {"tasks": ["retrieval"], "repeats": 20, "permutations": 20, "accelerator": "cpu"},
}

pytestmark = pytest.mark.real_data


@pytest.fixture
def real_folder() -> Path:
    folder = Path(os.environ.get("MG3D_TEST_DATA", Path(__file__).parents[2] / "../shared/data"))
    if not (folder / "siim_reports/reports.json").is_file():
        pytest.skip(f"no real data in {folder}")
    return folder.resolve()


def write_manifest(real_folder: Path, path: Path) -> list[dict[str, str]]:
    """Eight scans of seven patients with eight reports of others; 4, 1 and 3 studies a split."""
    scans = sorted(real_folder.glob("ibsi_sts/*/CT_image.nii.gz"))
    scans += sorted(real_folder.glob("totalsegmentator/example_ct*.nii.gz"))
    reports = json.loads((real_folder / "siim_reports/reports.json").read_text())["reports"]
    splits = ["train"] * 4 + ["val"] + ["test"] * 3
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["study_id", "patient_id", "image", "findings", "impression", "split"])
        for number, (scan, report, split) in enumerate(zip(scans, reports, splits, strict=True)):
            texts = report["findings"], report["impression"]
            writer.writerow([f"study{number}", scan.parent.name, scan, *texts, split])
    return reports


def test_real_scans_and_reports_walk_the_whole_way(
    real_folder: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    reports = write_manifest(real_folder, tmp_path / "reports.csv")
    Path("recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    for words in (
        ["prepare", "reports.csv", "store", "--recipe", "recipe.yaml", "--num_workers", "1"],
        ["pretrain", "recipe.yaml", "store", "run"],
        ["evaluate", "run", "--recipe", "recipe.yaml"],
        ["report", "run"],
    ):
        assert main(words) == 0, (words, capsys.readouterr().err)
    index = [json.loads(line) for line in Path("store/index.jsonl").read_text().splitlines()]
    assert len(index) == 8
    assert Path("store/quarantine.jsonl").read_text() == ""
    steps = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in steps] == [1, 2, 3]
    found = json.loads(Path("run/evaluation/retrieval.json").read_text())
    assert (found["split"], found["num_patients"], found["num_studies"]) == ("test", 2, 3)
    page = Path("run/report.html").read_text()
    assert "research use only" in page.lower()
    said = capsys.readouterr()
    for report in reports:  # nobody's report on the terminal or in the page
        sentence = report["findings"].split(". ")[0]
        assert len(sentence) > 15
        assert sentence not in said.out + said.err + page
