"""A run directory as training and evaluation write it, with invented but consistent numbers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

FINDINGS = (
    "Medical material", "Arterial wall calcification", "Cardiomegaly", "Pericardial effusion",
    "Coronary artery wall calcification", "Hiatal hernia", "Lymphadenopathy", "Emphysema",
    "Atelectasis", "Lung nodule", "Lung opacity", "Pulmonary fibrotic sequela", "Pleural effusion",
    "Mosaic attenuation pattern", "Peribronchial thickening", "Consolidation", "Bronchiectasis",
    "Interlobular septal thickening",
)  # fmt: skip
OBJECTIVES = (
    "masked_report", "masked_volume", "plain_alignment", "global_alignment",
    "aggregation_contrast", "sentence_similarity",
)  # fmt: skip
HEAD = {
    "schema": "mg3d.evaluation/1",
    "split": "test",
    "num_patients": 200,
    "num_studies": 219,
    "store_hash": "5f" * 32,
    "checkpoint_hash": "c3" * 32,
    "bootstrap": {"repeats": 1000, "seed": 0, "unit": "patient"},
}


def write_run(folder: Path, *, num_steps: int = 300) -> Path:
    """Everything that `pretrain` and `evaluate` leave in a run directory."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    _write_training(folder, random, num_steps)
    evaluation = folder / "evaluation"
    evaluation.mkdir()
    skill = np.clip(random.normal(0.79, 0.1, len(FINDINGS)), 0.45, 0.97)
    zero_shot = [
        _zero_shot(protocol, prompts, np.clip(skill - drop, 0.4, 0.98), random)
        for protocol in ("strict", "legacy")
        for prompts, drop in (("report", 0.0), ("plain", 0.05), ("unseen", 0.11))
    ]
    prompts = {name: {"report": {"positive": [f"{name.lower()} is seen."]}} for name in FINDINGS}
    _write_results(evaluation, "zero_shot", zero_shot, prompt_texts=prompts)
    retrieval = [
        _retrieval(protocol, direction)
        for protocol in ("strict", "legacy")
        for direction in ("report_to_volume", "volume_to_report", "volume_to_volume")
    ]
    _write_results(evaluation, "retrieval", retrieval)
    baselines = [
        _baseline("random_encoder_probe", 0.6, random),
        _baseline("pooled_voxels_linear", 0.77, random),
        _baseline("trained_encoder_probe", 0.88, random),
        _baseline("prevalence", 0.5, random),
    ]
    _write_results(evaluation, "baselines", baselines)
    for index, finding in enumerate(("Pleural effusion", "Cardiomegaly")):
        _write_example(evaluation / "examples", f"test_{index:04d}_a", finding)
    return folder


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A complete run."""
    return write_run(tmp_path / "phantom-tiny")


@pytest.fixture
def edit_json() -> Callable[[Path, Callable[[dict[str, Any]], object]], None]:
    """Change a JSON file in place."""

    def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return edit


def _write_training(folder: Path, random: np.random.Generator, num_steps: int) -> None:
    lines = []
    for step in range(1, num_steps + 1):
        progress = step / num_steps
        losses = {
            name: float((3.5 - index / 3) * np.exp(-2.0 * progress) + 0.3 + random.normal(0, 0.12))
            for index, name in enumerate(OBJECTIVES)
        }
        metrics = {
            "plain_alignment.top1": float(np.clip(progress * 0.6 + random.normal(0, 0.05), 0, 1)),
            "masked_report.token_loss": 3.0,
            "masked_report.accuracy": float(np.clip(progress * 0.7 + random.normal(0, 0.03), 0, 1)),
            "sentence_similarity.kept_positive": 0.02,
            "sentence_similarity.kept_negative": 0.6,
            "grad_norm": float(1.0 + random.normal(0, 0.1)),
        }
        if step % 100 == 1:  # shortcut checks are rare
            metrics["plain_alignment.top1_image_blanked"] = 0.06
        lines.append({
            "step": step, "epoch": step // 64, "total_steps": num_steps, "seconds": 0.9,
            "lr": 1e-3 * (1 - progress), "loss": {"total": sum(losses.values()), **losses},
            "metrics": metrics, "volumes_per_second": 18.0,
        })  # fmt: skip
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "config.yaml").write_text("# a recipe\noptimiser:\n  lr: 0.001\nseed: 7\n")
    environment = {"python": "3.11.9", "torch": "2.13.0", "platform": "Linux", "devices": ["cpu"]}
    (folder / "environment.json").write_text(json.dumps(environment))
    provenance = {"store_hash": "5f" * 32, "commit": "0123abcd", "seeds": {"run": 7, "mask": 7}}
    (folder / "provenance.json").write_text(json.dumps(provenance))


def _write_results(folder: Path, task: str, results: list[dict[str, Any]], **more: Any) -> None:
    content = {**HEAD, "task": task, "results": results, **more}
    (folder / f"{task}.json").write_text(json.dumps(content))


def estimate(value: float, half: float | None) -> dict[str, float | None]:
    """A JSON estimate with a symmetric interval, or with none."""
    if half is None:
        return {"value": value, "low": None, "high": None}
    return {"value": value, "low": value - half, "high": min(1.0, value + half)}


def _zero_shot(
    protocol: str, prompts: str, skill: np.ndarray, random: np.random.Generator
) -> dict[str, Any]:
    half = 0.045 if protocol == "strict" else None
    rates = np.linspace(0, 1, 60)
    findings = []
    for name, auroc in zip(FINDINGS, skill, strict=True):
        positives = int(random.integers(30, 70))
        findings.append({
            "name": name, "auroc": estimate(float(auroc), half),
            "auprc": estimate(float(auroc) - 0.2, half), "prevalence": positives / 219,
            "num_positive": positives, "num_negative": 219 - positives,
            "roc": {
                "fpr": rates.tolist(),
                "tpr": (rates ** ((1 - auroc) / auroc)).tolist(),  # its area is exactly auroc
            },
        })  # fmt: skip
    return {
        "protocol": protocol, "prompts": prompts, "findings": findings,
        "macro_auroc": estimate(float(skill.mean()), half and 0.03),
        "macro_auprc": estimate(float(skill.mean()) - 0.2, half and 0.03),
        "macro_f1": estimate(0.52, half and 0.03),
    }  # fmt: skip


def _retrieval(protocol: str, direction: str) -> dict[str, Any]:
    def at(k: int, best: float) -> dict[str, Any]:
        chance = k / 219
        return {
            **estimate(min(0.98, best * k**0.5 / 3.2), 0.05 if protocol == "strict" else None),
            "chance": chance, "chance_low": chance * 0.6, "chance_high": chance * 1.4,
        }  # fmt: skip

    scores = {str(k): at(k, 0.5) for k in (1, 5, 10, 50)}
    to_volumes = direction == "volume_to_volume"
    measures = {"jaccard": scores, "map": scores} if to_volumes else {"recall": scores}
    return {
        "protocol": protocol, "direction": direction, "num_queries": 219, "gallery_size": 219,
        "median_rank": None if to_volumes else 9.0, **measures,
    }  # fmt: skip


def _baseline(name: str, macro: float, random: np.random.Generator) -> dict[str, Any]:
    findings = [
        {
            "name": finding,
            "auroc": estimate(float(np.clip(macro + random.normal(0, 0.06), 0, 1)), 0.05),
        }
        for finding in FINDINGS
    ]
    return {"name": name, "macro_auroc": estimate(macro, 0.03), "findings": findings}


def _write_example(folder: Path, study_id: str, finding: str) -> None:
    folder.mkdir(exist_ok=True)
    arrays: dict[str, np.ndarray] = {}
    for plane, (rows, columns) in {
        "axial": (48, 64),
        "coronal": (64, 64),
        "sagittal": (64, 48),
    }.items():
        y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
        body = (x / 0.95) ** 2 + (y / 0.9) ** 2 < 1
        lungs = ((np.abs(x) - 0.42) / 0.32) ** 2 + (y / 0.65) ** 2 < 1
        image = np.where(body, 130, 0)
        image[lungs] = 30
        arrays[f"{plane}_image"] = image.astype(np.uint8)
        peak = np.exp(-(((x - 0.45) / 0.3) ** 2) - ((y - 0.4) / 0.3) ** 2)
        arrays[f"{plane}_similarity"] = (0.1 + 0.4 * peak).astype(np.float32)
    save_file(arrays, folder / f"{study_id}.safetensors")
    about = {
        "planes": {plane: {"pixel_mm": [4.8, 5.4]} for plane in ("axial", "coronal", "sagittal")},
        "finding": finding, "label": 1, "score": 0.31,
        "prompt": f"there is {finding.lower()}.",
    }  # fmt: skip
    (folder / f"{study_id}.json").write_text(json.dumps(about))
