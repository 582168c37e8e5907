"""Embeddings without a model: each finding is a direction, so that what is true is known."""

from collections.abc import Callable

import numpy as np
import pytest

from mg3d.evaluation.embedded import EmbeddedVolumes

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
