"""Subject: a release and a store that fit each other, and all that a task may ask of them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from torch import Tensor

from mg3d.data.dataset import StudyDataset, collate
from mg3d.data.splits import SPLITS, Split
from mg3d.data.store import StoreRow, VolumeStore
from mg3d.errors import CheckpointError, ConfigError, DataError
from mg3d.evaluation.bootstrap import Array
from mg3d.evaluation.embedded import EmbeddedVolumes, mean_by_study
from mg3d.evaluation.features import Feature, FeatureCache, embedding_features, probe_features
from mg3d.evaluation.probe import LabelledFeatures
from mg3d.randomness import rng
from mg3d.weights.release import Release, load_model

Accelerator = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is judged: a model on one split of a store."""

    release: Release
    """The model is in eval mode, on ``cache.device``."""
    store: VolumeStore
    split: Split
    cache: FeatureCache

    @classmethod
    def open(
        cls,
        run: Path,
        store_path: Path | None,
        split: Split,
        *,
        batch_size: int,
        accelerator: Accelerator,
    ) -> Self:
        """Open a run's release and a store, by default the one it was trained on.

        Raises:
            CheckpointError: If the run holds no complete release or does not name its store.
            ConfigError: If the store was prepared on another grid or with other clauses.
            DataError: If the store is damaged or the split is empty.
        """
        release = load_model(run / "release")
        store = VolumeStore.open(store_path or _trained_on(run))
        _check_fit(release, store)
        if not store.select(split):
            counts = ", ".join(f"{name} {len(store.select(name))}" for name in SPLITS)
            raise DataError(
                f"{store.path}: no volume in split {split!r} (volumes: {counts}); choose another "
                "with --split"
            )
        cuda = accelerator == "cuda" or (accelerator == "auto" and torch.cuda.is_available())
        device = torch.device("cuda" if cuda else "cpu")
        release.model.to(device)
        cache = FeatureCache.of(
            run, release.weights_hash, store.content_hash, batch_size=batch_size, device=device
        )
        return cls(release=release, store=store, split=split, cache=cache)

    @property
    def rows(self) -> tuple[StoreRow, ...]:
        """The judged volumes."""
        return self.store.select(self.split)

    def obstacles(self) -> dict[str, str | None]:
        """Why a task cannot be done with this model and store; None where it can."""
        no_space = no_labels = no_reports = no_training = None
        if not self.release.model.wiring.plain_space:
            no_space = "the model was trained without an objective that compares scans and reports"
        if np.isnan(_labels(self.rows, len(self.store.label_names))).all():
            no_labels = f"no study of the split {self.split!r} has labels"
        if not any(row.report_id for row in self.rows):
            no_reports = f"no study of the split {self.split!r} has a report"
        if self.split == "train" or not self.store.select("train"):
            no_training = "they need a training split other than the one that is judged"
        return {
            "zero_shot": no_space or no_labels,
            "retrieval": no_space or no_reports,
            "baselines": no_labels or no_training,
        }

    def embedded(self, split: Split) -> EmbeddedVolumes:
        """All volumes and reports of a split in the shared space; none when the split is empty.

        Raises:
            DataError: If an embedding is not finite.
        """
        rows = self.store.select(split)
        arrays = self._compute(split, rows, embedding_features(self.release.model))
        volumes = EmbeddedVolumes(
            volume_ids=tuple(row.volume_id for row in rows),
            study_ids=tuple(row.study_id for row in rows),
            patient_ids=tuple(row.patient_id for row in rows),
            report_ids=tuple(row.report_id for row in rows),
            image=arrays["image"],
            text=arrays["text"],
            labels=_labels(rows, len(self.store.label_names)),
            finding_names=self.store.label_names,
        )
        volumes.check_finite()
        return volumes

    def probed(
        self, split: Split, *, seed: int, most_studies: int | None = None
    ) -> dict[str, LabelledFeatures]:
        """Features for the linear baselines, one row a study, by kind of feature.

        Args:
            split: Whose studies.
            seed: Of the untrained encoder and of the choice of studies.
            most_studies: Take that many, at random; None for all.

        Raises:
            DataError: If a feature is not finite.
        """
        rows, name = self.store.select(split), split
        studies = sorted({row.study_id for row in rows})
        if most_studies is not None and len(studies) > most_studies:
            order = rng(seed, "probe_studies").permutation(len(studies))[:most_studies]
            kept = {studies[place] for place in order}
            rows = tuple(row for row in rows if row.study_id in kept)
        label = f"{name}-{len(rows)}-probe-{seed}"
        arrays = self._compute(label, rows, probe_features(self.release.model, seed))
        study_ids = [row.study_id for row in rows]
        labels = _labels(rows, len(self.store.label_names))
        probed = {}
        for kind, values in arrays.items():
            finite = np.isfinite(values).all(1)
            if not finite.all():
                raise DataError(
                    f"study '{study_ids[int(np.argmin(finite))]}': its {kind} features are not "
                    "finite, so no baseline can be computed. Leave baselines out of --tasks, or "
                    "check the run's metrics.jsonl for non-finite losses."
                )
            first, features = mean_by_study(study_ids, values)
            probed[kind] = LabelledFeatures(
                patient_ids=tuple(rows[row].patient_id for row in first),
                features=features,
                labels=labels[first],
                finding_names=self.store.label_names,
            )
        return probed

    def image(self, volume_id: str) -> Tensor:
        """(1, 1, X, Y, Z) model input of one volume, on the model's device."""
        rows = [self.store.row(volume_id)]
        dataset = StudyDataset(self.store, rows, self.release.tokenizer)
        return collate([dataset[0]]).to(self.cache.device).image

    def spacing_mm(self, volume_id: str) -> tuple[float, float, float]:
        """Millimetres between the voxels of `image` along x, y, z."""
        affine = np.array(self.store.facts(volume_id)["affine"])
        x, y, z = np.linalg.norm(affine[:3, :3], axis=0).tolist()
        return x, y, z

    def _compute(
        self, name: str, rows: Sequence[StoreRow], features: dict[str, Feature]
    ) -> dict[str, Array]:
        dataset = StudyDataset(self.store, rows, self.release.tokenizer)
        arrays = self.cache.compute(name, dataset, features)
        return {key: values.astype(np.float64) for key, values in arrays.items()}


def _labels(rows: Sequence[StoreRow], num_findings: int) -> Array:
    """(V, F) labels of volumes, NaN where unknown."""
    table = np.array([row.labels for row in rows], dtype=np.float64)
    return table.reshape(len(rows), num_findings)


def _trained_on(run: Path) -> Path:
    """The store that a run names, relative to itself."""
    path = run / "provenance.json"
    try:
        named: str = json.loads(path.read_text(encoding="utf-8"))["store"]
    except (FileNotFoundError, KeyError, json.JSONDecodeError) as error:
        raise CheckpointError(
            f"{path}: does not name the store of the run ({type(error).__name__}); give one with "
            "--store"
        ) from error
    return run / named


def _check_fit(release: Release, store: VolumeStore) -> None:
    """A model reads scans and reports as it was taught to, or not at all."""
    found = store.settings.to_json()
    for name in ("geometry", "clauses"):
        if release.preprocessing.get(name) != found[name]:
            raise ConfigError(
                f"{store.path}: prepared with {name} {found[name]}, but the model was trained with "
                f"{release.preprocessing.get(name)}. Prepare a store with the model's {name}."
            )
