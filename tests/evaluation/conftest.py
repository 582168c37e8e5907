"""Embeddings without a model, where each finding is a direction; and a small untrained run."""

import os
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from mg3d.data.grid import GridConfig
from mg3d.data.preparation.prepare import PrepareConfig, prepare
from mg3d.data.store import VolumeStore
from mg3d.data.text.tokens import ReportTokenizer
from mg3d.evaluation.embedded import EmbeddedVolumes
from mg3d.files import write_json
from mg3d.model.pooling import PoolingConfig
from mg3d.model.swin3d import SwinConfig
from mg3d.model.text import TextConfig
from mg3d.model.vlm import ModelConfig, VisionLanguageModel
from mg3d.weights.release import save_release

Maker = Callable[..., EmbeddedVolumes]


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def make_volumes(
    *,
    patients: int = 40,
    studies_each: int = 1,
    volumes_each: int = 1,
    findings: int = 4,
    size: int = 12,
    signal: float = 1.0,
    seed: int = 0,
) -> EmbeddedVolumes:
    """Patients x studies x reconstructions; image and text share their labels' directions."""
    generator = np.random.default_rng(seed)
    directions = np.eye(size)[:findings]
    volume_ids, study_ids, patient_ids, report_ids = [], [], [], []
    image, text, labels = [], [], []
    for patient in range(patients):
        for study in range(studies_each):
            present = (generator.random(findings) < 0.4).astype(float)
            own = generator.normal(size=size) * 0.3
            written = signal * present @ directions + own + generator.normal(size=size) * 0.1
            for volume in range(volumes_each):
                name = f"p{patient:03d}_s{study}"
                volume_ids.append(f"{name}_v{volume}")
                study_ids.append(name)
                patient_ids.append(f"p{patient:03d}")
                report_ids.append(f"report of {name}")
                image.append(
                    signal * present @ directions + own + generator.normal(size=size) * 0.3
                )
                text.append(written)
                labels.append(present)
    return EmbeddedVolumes(
        volume_ids=tuple(volume_ids),
        study_ids=tuple(study_ids),
        patient_ids=tuple(patient_ids),
        report_ids=tuple(report_ids),
        image=unit(np.array(image)),
        text=unit(np.array(text)),
        labels=np.array(labels),
        finding_names=tuple(f"finding {i}" for i in range(findings)),
    )


@pytest.fixture
def volumes() -> Maker:
    return make_volumes


FINDINGS = ("Pleural effusion", "Lung nodule")
GRID = (16, 16, 16)


def hospital(folder: Path, *, seed: int = 0) -> Path:
    """36 patients with box-shaped bodies, two findings, one report a study; two with two scans."""
    generator = np.random.default_rng(seed)
    rows = ["study_id,volume_id,patient_id,image,findings,split"]
    labels = ["study_id," + ",".join(FINDINGS)]
    for number in range(36):
        split = "test" if number < 14 else "val" if number < 22 else "train"
        present = [int(generator.random() < 0.5) for _ in FINDINGS]
        present = [1, 1] if number in (0, 14, 22) else [0, 0] if number in (1, 15, 23) else present
        text = " ".join(
            f"There is a {name.lower()} of {number + 5} mm." if y else f"No {name.lower()}."
            for name, y in zip(FINDINGS, present, strict=True)
        )
        for scan in range(2 if number in (2, 3) else 1):
            hu = np.full(GRID, -1000, np.int16)
            hu[2:-2, 3:-3, 1:-1] = 40 + generator.integers(-30, 30, (12, 10, 14))
            hu[4:7, 5:9, 4:12] = hu[9:12, 5:9, 4:12] = -850
            if present[0]:
                hu[4:7, 5:9, 4:7] = 10
            if present[1]:
                hu[10:12, 6:8, 9:11] = 300
            name = f"p{number:02d}_v{scan}"
            image = nibabel.Nifti1Image(hu, np.diag([20.0, 20.0, 20.0, 1.0]))
            nibabel.save(image, folder / f"{name}.nii.gz")
            rows.append(f"p{number:02d}_s,{name},p{number:02d},{name}.nii.gz,{text},{split}")
        labels.append(f"p{number:02d}_s,{present[0]},{present[1]}")
    (folder / "reports.csv").write_text("\n".join(rows) + "\n")
    (folder / "labels.csv").write_text("\n".join(labels) + "\n")
    return folder / "reports.csv"


def untrained_run(folder: Path, store: VolumeStore, parts: tuple[str, ...]) -> Path:
    """A run directory with a release that nobody trained."""
    reports = [store.report(row.study_id) for row in store.select("train")]
    tokenizer = ReportTokenizer.train([report.findings for report in reports], 200)
    torch.manual_seed(0)
    model = VisionLanguageModel(
        ModelConfig(
            grid=GRID,
            parts=parts,
            dim=16,
            embedding_dim=8,
            image=SwinConfig(
                patch_size=4, embed_dim=12, depths=(1,), num_heads=(2,), window=(2, 2, 2)
            ),
            text=TextConfig(
                vocabulary_size=tokenizer.vocab_size, hidden_size=16, num_layers=1, num_heads=2,
                intermediate_size=16,
            ),
            pooling=PoolingConfig(num_queries=2, heads=2),
        )
    )  # fmt: skip
    save_release(folder / "release", model, tokenizer, store.settings.to_json())
    provenance = {"store": os.path.relpath(store.path, folder), "store_hash": store.content_hash}
    write_json(folder / "provenance.json", provenance)
    return folder


@pytest.fixture(scope="session")
def small_store(tmp_path_factory: pytest.TempPathFactory) -> VolumeStore:
    folder = tmp_path_factory.mktemp("hospital")
    manifest = hospital(folder)
    return prepare(
        PrepareConfig(
            data=manifest,
            out=folder / "store",
            labels=folder / "labels.csv",
            geometry=GridConfig(grid=GRID, spacing_mm=(20.0, 20.0, 20.0)),
            num_workers=1,
        )
    )


@pytest.fixture
def make_run(tmp_path: Path, small_store: VolumeStore) -> Callable[..., Path]:
    """An untrained run for the named objectives."""

    def make(*parts: str) -> Path:
        return untrained_run(tmp_path / "_".join(parts), small_store, parts)

    return make


@pytest.fixture
def small_run(make_run: Callable[..., Path]) -> Path:
    return make_run("plain_alignment")
