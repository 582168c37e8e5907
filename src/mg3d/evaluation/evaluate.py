"""`mg3d evaluate`: run directory in, `evaluation/*.json` and example studies out.

Every volume and report is encoded once (`features`); the tasks below hand plain arrays to the
protocols and write what they return. The same run, store and options give the same bytes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from rich.console import Console

from mg3d.data.splits import Split
from mg3d.errors import ConfigError, DataError
from mg3d.evaluation.bootstrap import Array, Resampling
from mg3d.evaluation.embedded import EmbeddedVolumes
from mg3d.evaluation.examples import choose_examples, remove_other_examples, write_example
from mg3d.evaluation.features import embed_prompts
from mg3d.evaluation.likeness import retrieve_alike
from mg3d.evaluation.probe import baseline, linear_probe, prevalence_scores
from mg3d.evaluation.prompts import PromptPair, load_prompts
from mg3d.evaluation.protocol import PROTOCOLS, STRICT
from mg3d.evaluation.retrieval import retrieve
from mg3d.evaluation.subject import Accelerator, Subject
from mg3d.evaluation.summary import print_summary
from mg3d.evaluation.zero_shot import (
    PromptEmbeddings,
    Scoring,
    choose_thresholds,
    judge,
    score_findings,
)
from mg3d.files import write_json

SCHEMA = "mg3d.evaluation/1"
THRESHOLD_SPLIT: Split = "val"
Task = Literal["zero_shot", "retrieval", "baselines"]


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Evaluate a finished run on one split of its store, under two protocols side by side."""

    run: Path
    """Run directory that `mg3d pretrain` wrote."""
    store: Path | None = None
    """Store to evaluate on; null for the one the run was trained on."""
    split: Split = "test"
    """Split to judge: train, val or test."""
    tasks: tuple[Task, ...] = ("zero_shot", "retrieval", "baselines")
    """What to measure: zero_shot (findings by prompts), retrieval, baselines (fit to labels)."""
    prompts: str = "phantom"
    """Prompts of the findings: a set that comes with the package, or a YAML file."""
    scoring: Scoring = "difference"
    """How a prompt pair scores an image: cosine to the positive less cosine to the negative prompt,
    or the positive alone. The macro AUROC of the other one is printed beside it."""
    repeats: int = 1000
    """Patient resamples behind each 95 % interval, >= 0; 0 for no intervals."""
    permutations: int = 1000
    """Shuffles behind each chance level, >= 1."""
    seed: int = 0
    """Seed of resamples, shuffles, the untrained encoder and the choice of probe studies."""
    probe_studies: int = 512
    """Most training studies that the linear baselines learn from, >= 2."""
    examples: int = 6
    """Most example studies with a similarity map, >= 0; written by zero_shot."""
    batch_size: int = 16
    """Volumes encoded at a time, >= 1."""
    accelerator: Accelerator = "auto"
    """Where to encode."""
    threads: int = 0
    """CPU threads of the arithmetic, >= 0; 0 leaves torch's choice."""

    def __post_init__(self) -> None:
        least = {"repeats": 0, "permutations": 1, "probe_studies": 2, "examples": 0}
        least |= {"batch_size": 1, "threads": 0}
        for name, minimum in least.items():
            if getattr(self, name) < minimum:
                raise ConfigError(f"evaluate: {name} {getattr(self, name)}: give {minimum} or more")
        if not self.tasks:
            raise ConfigError("evaluate: tasks is empty; name zero_shot, retrieval or baselines")

    @property
    def resampling(self) -> Resampling:
        """How uncertainty and chance are measured."""
        return Resampling(repeats=self.repeats, permutations=self.permutations, seed=self.seed)


def evaluate(settings: EvaluateConfig) -> None:
    """Measure, write `evaluation/*.json` and `evaluation/examples/`, print the tables.

    Encoded volumes stay in `evaluation/features/`: a killed evaluation goes on there, and a second
    one with the same weights and store does not encode again. A task that the model or the store
    does not allow is left out with the reason.

    Raises:
        ConfigError: If the store does not fit the model or a finding has no prompts.
        CheckpointError: If the run holds no complete release.
        DataError: If nothing can be measured or an embedding is not finite.
        StorageError: If the disk is full.
    """
    if settings.threads:
        torch.set_num_threads(settings.threads)
    subject = Subject.open(
        settings.run,
        settings.store,
        settings.split,
        batch_size=settings.batch_size,
        accelerator=settings.accelerator,
    )
    console = Console()
    obstacles = subject.obstacles()
    documents: dict[str, dict[str, Any]] = {}
    for task in dict.fromkeys(settings.tasks):
        path = settings.run / "evaluation" / f"{task}.json"
        if reason := obstacles[task]:
            console.print(f"{task} left out: {reason}")
            path.unlink(missing_ok=True)  # results of other weights must not stand beside new ones
            if task == "zero_shot":
                remove_other_examples(settings.run / "evaluation" / "examples", [])
            continue
        documents[task] = _head(subject, settings, task) | MEASURES[task](subject, settings)
        write_json(path, documents[task])
    if not documents:
        raise DataError(f"{subject.store.path}: no task is left that could be measured")
    print_summary(documents, console)


def _head(subject: Subject, settings: EvaluateConfig, task: Task) -> dict[str, Any]:
    """What every result file says of itself."""
    return {
        "schema": SCHEMA,
        "task": task,
        "split": subject.split,
        "num_patients": len({row.patient_id for row in subject.rows}),
        "num_studies": len({row.study_id for row in subject.rows}),
        "num_volumes": len(subject.rows),
        "store_hash": subject.store.content_hash,
        "checkpoint_hash": subject.release.weights_hash,
        "bootstrap": {"repeats": settings.repeats, "seed": settings.seed, "unit": "patient"},
        "permutations": settings.permutations,
        "protocols": [protocol.as_dict() for protocol in PROTOCOLS],
    }


def measure_zero_shot(subject: Subject, settings: EvaluateConfig) -> dict[str, Any]:
    """Findings by prompts, one result a wording and protocol; writes the example studies."""
    texts = load_prompts(settings.prompts, subject.store.label_names)
    judged = subject.embedded(subject.split)
    held_out = None  # the judged split must not choose its own operating point
    if subject.split != THRESHOLD_SPLIT and subject.store.select(THRESHOLD_SPLIT):
        held_out = subject.embedded(THRESHOLD_SPLIT)
    results, others = [], []
    for wording, pairs in texts.items():
        prompts = embed_prompts(subject.release, pairs, subject.cache.device)
        thresholds = np.full(len(pairs), np.nan)
        if held_out is not None:
            validation = score_findings(held_out.by_study(), prompts, settings.scoring)
            thresholds = choose_thresholds(validation)
        for protocol in PROTOCOLS:
            units = judged.in_unit(protocol.unit)
            scores = score_findings(units, prompts, settings.scoring)
            result = judge(scores, protocol, thresholds=thresholds, resampling=settings.resampling)
            results.append({"protocol": protocol.name, "prompts": wording} | result)
        others.append(_other_scoring(judged.by_study(), prompts, settings) | {"prompts": wording})
        if wording == next(iter(texts)):
            _write_examples(subject, settings, judged, pairs, prompts, thresholds)
    return {
        "prompt_texts": {
            wording: {
                name: {"positive": list(pair.positive), "negative": list(pair.negative)}
                for name, pair in pairs.items()
            }
            for wording, pairs in texts.items()
        },
        "scoring": settings.scoring,
        "other_scoring": others,
        "results": results,
    }


def _other_scoring(
    studies: EmbeddedVolumes, prompts: PromptEmbeddings, settings: EvaluateConfig
) -> dict[str, Any]:
    """Strict macro AUROC under the scoring that was not chosen."""
    other: Scoring = "positive" if settings.scoring == "difference" else "difference"
    scores = score_findings(studies, prompts, other)
    result = judge(scores, STRICT, resampling=settings.resampling)
    return {"scoring": other, "protocol": STRICT.name, "macro_auroc": result["macro_auroc"]}


def _write_examples(
    subject: Subject,
    settings: EvaluateConfig,
    judged: EmbeddedVolumes,
    pairs: dict[str, PromptPair],
    prompts: PromptEmbeddings,
    thresholds: Array,
) -> None:
    """Show where the model sees a finding, in studies chosen by a fixed rule."""
    folder = settings.run / "evaluation" / "examples"
    studies = judged.by_study()
    scores = score_findings(studies, prompts, settings.scoring)
    chosen = choose_examples(scores, thresholds, settings.examples)
    for row, finding in chosen:
        image = subject.image(studies.volume_ids[row])
        direction = torch.from_numpy(prompts.direction(settings.scoring)[finding])
        similarity = subject.release.model.similarity_map(image, direction[None].to(image))
        pair = pairs[scores.finding_names[finding]]
        about = {
            "study_id": studies.study_ids[row],
            "volume_id": studies.volume_ids[row],
            "finding": scores.finding_names[finding],
            "prompt": pair.positive[0],
            "negative_prompt": pair.negative[0],
            "score": float(scores.scores[row, finding]),
            "label": float(scores.labels[row, finding]),
        }
        write_example(
            folder,
            image=image[0, 0],
            similarity=similarity[0],
            spacing_mm=subject.spacing_mm(studies.volume_ids[row]),
            about=about,
        )
    remove_other_examples(folder, [studies.study_ids[row] for row, _ in chosen])


def measure_retrieval(subject: Subject, settings: EvaluateConfig) -> dict[str, Any]:
    """Reports and volumes finding each other, and volumes finding volumes alike."""
    judged = subject.embedded(subject.split)
    results = []
    for protocol in PROTOCOLS:
        units = judged.in_unit(protocol.unit)
        results += retrieve(units, protocol, settings.resampling)
        alike = retrieve_alike(units, protocol, settings.resampling)
        results += [alike] if alike else []
    return {"results": results}


def measure_baselines(subject: Subject, settings: EvaluateConfig) -> dict[str, Any]:
    """Linear classifiers on features that no report has shaped, and one that some have."""
    train = subject.probed("train", seed=settings.seed, most_studies=settings.probe_studies)
    test = subject.probed(subject.split, seed=settings.seed)
    kinds = {
        "random_encoder_probe": f"random_encoder_{settings.seed}",
        "pooled_voxels_linear": "voxels",
        "trained_encoder_probe": "trained_encoder",
    }
    results = [
        baseline(name, linear_probe(train[kind], test[kind]), settings.resampling)
        for name, kind in kinds.items()
    ]
    constant = prevalence_scores(train["voxels"], test["voxels"])
    results.append(baseline("prevalence", constant, settings.resampling))
    return {"num_train_studies": len(train["voxels"].patient_ids), "results": results}


MEASURES: dict[Task, Callable[[Subject, EvaluateConfig], dict[str, Any]]] = {
    "zero_shot": measure_zero_shot,
    "retrieval": measure_retrieval,
    "baselines": measure_baselines,
}
