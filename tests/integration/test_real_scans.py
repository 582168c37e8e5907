"""The same commands on real CT and real reports: plumbing, not learning (they are not pairs)."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest

from mg3d.data.grid import GridConfig
from mg3d.data.prepare import PrepareConfig, prepare
from mg3d.evaluation.evaluate import EvaluateConfig, evaluate
from mg3d.reporting.report import ReportConfig, report
from mg3d.training.loop import LoopConfig
from mg3d.training.pretrain import pretrain

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
DATA = Path(os.environ.get("MG3D_TEST_DATA", SHARED))

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not DATA.is_dir(), reason="no folder of real scans beside the project"),
]


def write_manifest(folder: Path) -> Path:
    """Each real volume with one of the real reports."""
    scans = [*sorted(DATA.glob("ibsi_sts/*/CT_image.nii.gz")),
             *sorted(DATA.glob("totalsegmentator/example_ct*.nii.gz"))]  # fmt: skip
    texts = json.loads((DATA / "siim_reports" / "reports.json").read_text())["reports"]
    path = folder / "scans.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["study_id", "patient_id", "image", "findings", "impression", "split"])
        for number, scan in enumerate(scans):
            text = texts[number % len(texts)]
            split = "test" if number >= len(scans) - 3 else "train"
            image = os.path.relpath(scan, folder)
            words = (text.get("findings", ""), text.get("impression", ""))
            writer.writerow([f"s{number}", f"p{number}", image, *words, split])
    return path


def test_real_scans_walk_the_whole_path(settings, tmp_path: Path) -> None:
    store = prepare(
        PrepareConfig(
            manifest=write_manifest(tmp_path),
            out=tmp_path / "store",
            geometry=GridConfig(grid=(32, 16, 32), spacing_mm=(11.0, 15.0, 10.0)),
            num_workers=1,
        )
    )
    assert len(store) == 8  # every scan and every report was accepted
    hu = store.read_hu(store.rows[0].volume_id)
    assert hu.shape == (32, 16, 32)
    assert -1024 <= np.percentile(hu, 5) <= -500  # air
    loop = LoopConfig(steps=2, batch_size=4, checkpoint_every=2, log_every=1, shortcut_every=0)
    config = settings(store=store.path, run=tmp_path / "run", loop=loop, vocabulary_size=600)
    assert pretrain(config) == 0
    evaluate(
        EvaluateConfig(run=config.run, tasks=("retrieval",), accelerator="cpu", permutations=10)
    )
    results = json.loads((config.run / "evaluation" / "retrieval.json").read_text())
    assert results["num_studies"] == 3
    page = report(ReportConfig(run=config.run)).read_text()
    assert "Research use only" in page
    texts = json.loads((DATA / "siim_reports" / "reports.json").read_text())["reports"]
    for leak in (texts[0]["mrn"], texts[0]["accession"]):
        assert leak not in page
