"""Runs the models over a store, once, and keeps what they said in the run directory.

A feature is a named function of a batch. Parts of some dozen volumes are written as they are
done, keyed by weights, store and this code's version, so a second evaluation reads instead of
encoding and a killed one goes on. B batch, C channels of the encoder.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mg3d.batch import StudyBatch
from mg3d.data.dataset import StudyDataset, collate
from mg3d.evaluation.bootstrap import Array
from mg3d.evaluation.prompts import PromptPair
from mg3d.evaluation.zero_shot import PromptEmbeddings, ensemble
from mg3d.files import write_atomic
from mg3d.model.outputs import ImageFeatures
from mg3d.model.vlm import VisionLanguageModel
from mg3d.progress import bar
from mg3d.weights.release import Release

Feature = Callable[[StudyBatch], Tensor]
PART_VOLUMES = 64
"""Volumes a file: what a killed evaluation loses at most."""
VOXEL_GRID = (8, 6, 8)
"""Blocks along (x, y, z) whose mean brightness is the simplest description of a scan."""
_FEATURES_VERSION = 1
"""Counts changes of what a feature means: raise it with one, or old values would be read as new."""


@dataclass(frozen=True, kw_only=True)
class FeatureCache:
    """The folder of one pair of weights and store."""

    folder: Path
    batch_size: int
    device: torch.device

    @classmethod
    def of(
        cls, run: Path, weights_hash: str, store_hash: str, *, batch_size: int, device: torch.device
    ) -> Self:
        """The cache inside ``run`` for these weights, this store and what this code computes."""
        parts = (weights_hash, store_hash, str(_FEATURES_VERSION), str(VOXEL_GRID))
        key = hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:16]
        folder = run / "evaluation" / "features" / key
        return cls(folder=folder, batch_size=batch_size, device=device)

    def compute(
        self, name: str, dataset: StudyDataset, features: Mapping[str, Feature]
    ) -> dict[str, NDArray[np.float32]]:
        """Every feature of every volume of ``dataset``.

        Args:
            name: Of this selection of volumes; part of the file names.
            dataset: The volumes.
            features: By a name that says all that the values depend on besides weights and store.

        Returns:
            (V, ...) array a feature, in the order of the dataset.
        """
        parts = {}
        for first in range(0, len(dataset), PART_VOLUMES):
            rows = range(first, min(first + PART_VOLUMES, len(dataset)))
            parts[rows] = _read_part(self._path(name, rows), len(rows))
        unfinished = [rows for rows, part in parts.items() if features.keys() - part.keys()]
        if unfinished:
            with bar() as progress, torch.inference_mode():
                total = sum(len(rows) for rows in unfinished)
                task = progress.add_task(f"encoding {name}", total=total, status="")
                for rows in unfinished:
                    missing = {k: make for k, make in features.items() if k not in parts[rows]}
                    advance = partial(progress.advance, task)
                    parts[rows] |= self._encode(dataset, rows, missing, advance)
                    write_atomic(self._path(name, rows), save(parts[rows]))
        return {key: np.concatenate([part[key] for part in parts.values()]) for key in features}

    def _path(self, name: str, rows: range) -> Path:
        return self.folder / f"{name}-{rows.start:06d}-{rows.stop:06d}.safetensors"

    def _encode(
        self,
        dataset: StudyDataset,
        rows: range,
        features: Mapping[str, Feature],
        advance: Callable[[int], None],
    ) -> dict[str, NDArray[np.float32]]:
        made: dict[str, list[NDArray[np.float32]]] = {key: [] for key in features}
        for first in range(rows.start, rows.stop, self.batch_size):
            chosen = range(first, min(first + self.batch_size, rows.stop))
            batch = collate([dataset[row] for row in chosen]).to(self.device)
            for key, make in features.items():
                made[key].append(make(batch).float().cpu().numpy())
            advance(len(chosen))
        return {key: np.ascontiguousarray(np.concatenate(values)) for key, values in made.items()}


def _read_part(path: Path, num_rows: int) -> dict[str, NDArray[np.float32]]:
    """What an earlier evaluation left; nothing when it is absent, damaged or of other rows."""
    try:
        part = load(path.read_bytes())
    except (FileNotFoundError, SafetensorError):
        return {}
    return {key: values for key, values in part.items() if len(values) == num_rows}


def embedding_features(model: VisionLanguageModel) -> dict[str, Feature]:
    """The plain space: ``image`` and ``text`` (B, E); a report shared in a batch is read once."""

    def text(batch: StudyBatch) -> Tensor:
        first, copies = _distinct(batch.report_ids, batch.volume_ids)
        rows = torch.tensor(first, device=batch.token_ids.device)
        embedding = model.embed_text(
            batch.token_ids[rows], batch.token_mask[rows], batch.clause_ids[rows]
        )
        return embedding[torch.tensor(copies, device=rows.device)]

    return {"image": lambda batch: model.embed_image(batch.image), "text": text}


def _distinct(report_ids: Sequence[str], volume_ids: Sequence[str]) -> tuple[list[int], list[int]]:
    """First row of each distinct report, and for each row which of these it is."""
    names = [report or volume for report, volume in zip(report_ids, volume_ids, strict=True)]
    order = {name: place for place, name in enumerate(dict.fromkeys(names))}
    return [names.index(name) for name in order], [order[name] for name in names]


def probe_features(model: VisionLanguageModel, seed: int) -> dict[str, Feature]:
    """What the linear baselines read: the encoder, the same one untrained, and mean voxels."""
    untrained = untrained_encoder(model, seed)
    return {
        "trained_encoder": lambda batch: octant_means(model.image_encoder(batch.image)),
        f"random_encoder_{seed}": lambda batch: octant_means(untrained(batch.image)),
        "voxels": lambda batch: F.adaptive_avg_pool3d(batch.image, VOXEL_GRID).flatten(1),
    }


def untrained_encoder(model: VisionLanguageModel, seed: int) -> torch.nn.Module:
    """The model's image encoder as it would start under ``seed``, on the model's device."""
    device = next(model.parameters()).device
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = type(model.image_encoder)(model.config.image)
    return encoder.to(device).eval()


def octant_means(image: ImageFeatures) -> Tensor:
    """Mean token of each eighth of the volume, side by side: (B, 8 C).

    A single mean over the volume would hide where something is, from a probe that is meant to be
    a fair opponent.
    """
    tokens = image.tokens.transpose(1, 2)
    tokens = tokens.reshape(*tokens.shape[:2], *image.grid)
    return F.adaptive_avg_pool3d(tokens, 2).flatten(1)


def embed_prompts(
    release: Release, pairs: Mapping[str, PromptPair], device: torch.device
) -> PromptEmbeddings:
    """Embed prompts exactly as reports are, and average each ensemble.

    Args:
        release: Model (on ``device``) and tokenizer.
        pairs: Finding -> prompts; their order is that of the result's rows.
        device: Where the model is.
    """

    def embed(texts: tuple[str, ...]) -> Array:
        tokenized = [release.tokenizer.encode_text(text) for text in texts]
        fills = {"token_ids": release.tokenizer.pad_token_id, "clause_ids": 0}
        token_ids, clause_ids = (
            pad_sequence(
                [torch.from_numpy(getattr(text, name)) for text in tokenized],
                batch_first=True,
                padding_value=fill,
            ).to(device)
            for name, fill in fills.items()
        )
        sizes = torch.tensor([len(text.token_ids) for text in tokenized], device=device)
        mask = torch.arange(token_ids.shape[1], device=device) < sizes[:, None]
        embeddings = release.model.embed_text(token_ids, mask, clause_ids)
        return ensemble(embeddings.double().cpu().numpy())

    with torch.inference_mode():
        return PromptEmbeddings(
            positive=np.stack([embed(pair.positive) for pair in pairs.values()]),
            negative=np.stack([embed(pair.negative) for pair in pairs.values()]),
        )
