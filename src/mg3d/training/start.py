"""Where the weights start: the text encoder's corpus training, the frozen clause reference and the
whitening of the embedding heads.

All of it comes from the training split, before the first step, once a run. Nothing here is
repeated when a run goes on from a checkpoint, which holds the result.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mg3d.batch import StudyBatch
from mg3d.data.dataset import StudyDataset, collate
from mg3d.data.packed import PackedPairs, PackedReports
from mg3d.data.text.reports import Report
from mg3d.data.text.tokens import ReportTokenizer, TokenizedReport
from mg3d.errors import ConfigError
from mg3d.model.canonical import canonical_pairs
from mg3d.model.outputs import ImageFeatures
from mg3d.model.text import clause_means
from mg3d.model.vlm import VisionLanguageModel
from mg3d.progress import console, track
from mg3d.randomness import rng
from mg3d.training.corpus import Corpus, CorpusConfig, train_on_corpus
from mg3d.training.task import Vocabulary

_CHUNK = 32  # volumes encoded at once before training; bounds the memory, not the result


@dataclass(frozen=True, kw_only=True)
class StartConfig:
    """What is fitted to the training split before the first step."""

    plain_space: Literal["canonical", "whitened", "random"] = "canonical"
    """Start of the plain space: the best linear alignment of the training split (canonical
    correlation), centred and whitened on a few studies, or random."""
    canonical_studies: int = 4096
    """Most training studies that the alignment reads, >= 2."""
    canonical_components: int = 256
    """Principal components kept of each side; more fit finer detail, and more noise."""
    image_ridge: float = 0.1
    """Added to the variances of image components, as a share of their mean, >= 0."""
    text_ridge: float = 0.001
    """The same for report components."""
    whitening_studies: int = 256
    """Training studies that centre and whiten the other embedding heads; 0 leaves them random."""
    similar_quantile: float = 0.99
    """Quantile of cosines between corpus clauses from which two count as the same finding."""
    dissimilar_quantile: float = 0.5
    """Quantile up to which two clauses count as unrelated."""

    def __post_init__(self) -> None:
        least = {"canonical_studies": 2, "canonical_components": 1, "image_ridge": 0}
        least |= {"text_ridge": 0, "whitening_studies": 0}
        for name, minimum in least.items():
            if getattr(self, name) < minimum:
                raise ConfigError(f"start.{name} is {getattr(self, name)}; give {minimum} or more")
        if not 0 <= self.dissimilar_quantile < self.similar_quantile <= 1:
            raise ConfigError(
                f"start.dissimilar_quantile is {self.dissimilar_quantile} and "
                f"start.similar_quantile {self.similar_quantile}; both lie in [0, 1] and the first "
                "must be the smaller one"
            )


def prepare_start(
    model: VisionLanguageModel,
    dataset: StudyDataset,
    tokenizer: ReportTokenizer,
    vocabulary: Vocabulary,
    corpus: CorpusConfig,
    start: StartConfig,
    seed: int,
) -> None:
    """Set the weights that the loop starts from, in place.

    Args:
        model: Freshly built; its device is used.
        dataset: The training split.
        tokenizer: The run's.
        vocabulary: Ids for masking.
        corpus: Training of the text encoder alone.
        start: Reference and whitening.
        seed: The run's seed.
    """
    if model.wiring.text:
        if corpus.steps:
            texts = Corpus(
                documents=corpus_documents(dataset, tokenizer, whole=_reads_whole_reports(model)),
                sections=corpus_sections(dataset, tokenizer),
            )
            with model.text_encoder.thawed():
                loss = train_on_corpus(model.text_encoder, texts, vocabulary, corpus, seed)
            console.print(f"text encoder: masked-word loss {loss:.2f} nats a token")
        if "sentence_similarity" in model.wiring:
            clauses = corpus_documents(dataset, tokenizer, whole=False)
            _set_reference(model, clauses, start, seed)
    if model.wiring.plain_space and start.plain_space == "canonical":
        _align(model, dataset, start, seed)
    if start.whitening_studies:
        _whiten(model, dataset, start, seed)


def _reads_whole_reports(model: VisionLanguageModel) -> bool:
    return model.config.text.clause_scope == "report"


def corpus_documents(
    dataset: StudyDataset, tokenizer: ReportTokenizer, *, whole: bool
) -> PackedReports:
    """The training split's texts without repetition: reports, or single clauses."""
    store = dataset.store
    reports = [store.report(study) for study in sorted({row.study_id for row in dataset.rows})]
    if whole:
        kept = {report.report_id: report for report in reports if not report.is_empty}
        return PackedReports(tokenizer(report) for report in kept.values())
    texts = {clause.lower() for report in reports for clause in report.clauses(tokenizer.clauses)}
    tokenized = (tokenizer.encode_text(text) for text in sorted(texts))
    return PackedReports(document for document in tokenized if document.num_clauses)


def corpus_sections(dataset: StudyDataset, tokenizer: ReportTokenizer) -> PackedPairs:
    """Findings and impression of the training split's reports that have both.

    Of reports with the same impression one is kept: the others would be false negatives.
    """
    store = dataset.store
    reports = [store.report(study) for study in sorted({row.study_id for row in dataset.rows})]
    both = {r.impression.lower(): r for r in reports if r.findings and r.impression}
    pairs = (
        (tokenizer(Report(findings=r.findings)), tokenizer(Report(impression=r.impression)))
        for r in both.values()
    )
    return PackedPairs(pair for pair in pairs if pair[0].num_clauses and pair[1].num_clauses)


@torch.no_grad()
def _set_reference(
    model: VisionLanguageModel, clauses: PackedReports, start: StartConfig, seed: int
) -> None:
    """Freeze the text encoder as the yardstick of clauses; centre it and read the cut-offs off."""
    model.freeze_reference_()
    vectors = torch.cat(
        [_reference_vectors(model, clauses[i : i + 256]) for i in range(0, len(clauses), 256)]
    )
    mean = vectors.mean(dim=0)
    cosines = _pair_cosines(vectors - mean, seed)
    low, high = start.dissimilar_quantile, start.similar_quantile
    cutoffs = (float(np.quantile(cosines, low)), float(np.quantile(cosines, high)))
    model.set_reference(mean, cutoffs)


def _reference_vectors(model: VisionLanguageModel, clauses: Sequence[TokenizedReport]) -> Tensor:
    """(K, H) reference features of single clauses."""
    ids, clause_ids = (
        torch.nn.utils.rnn.pad_sequence(
            [torch.from_numpy(getattr(clause, name)) for clause in clauses], batch_first=True
        )
        for name in ("token_ids", "clause_ids")
    )
    lengths = torch.tensor([len(clause.token_ids) for clause in clauses])
    mask = torch.arange(ids.shape[1]) < lengths[:, None]
    ids, mask, clause_ids = (tensor.to(_device(model)) for tensor in (ids, mask, clause_ids))
    hidden, mask = model.text_encoder(ids, mask, clause_ids)
    means, _ = clause_means(hidden, mask, clause_ids.clamp(max=1))
    return means[:, 0]


def _pair_cosines(vectors: Tensor, seed: int, most: int = 2000) -> np.ndarray:
    """Cosines of all pairs of at most ``most`` of the vectors."""
    if len(vectors) > most:
        chosen = rng(seed, "reference").choice(len(vectors), size=most, replace=False)
        vectors = vectors[torch.from_numpy(np.sort(chosen))]
    units = torch.nn.functional.normalize(vectors, dim=1)
    above = torch.triu_indices(len(units), len(units), offset=1)
    cosines: np.ndarray = (units @ units.T).cpu()[above[0], above[1]].numpy()
    return cosines


@torch.no_grad()
def _align(
    model: VisionLanguageModel, dataset: StudyDataset, start: StartConfig, seed: int
) -> None:
    """Start the plain space from the canonical correlation of the training split."""
    rows = _choose(dataset, start.canonical_studies, seed, "alignment")
    volumes, reports = [], []
    chunks = [rows[i : i + _CHUNK] for i in range(0, len(rows), _CHUNK)]
    for chunk in track(chunks, total=len(chunks), description="alignment"):
        batch = collate([dataset[row] for row in chunk]).to(_device(model))
        text = model.encode_text(batch.token_ids, batch.token_mask, batch.clause_ids)
        volume, report = model.read_pools(model.encode_image(batch.image), text)
        has_report = text.clause_mask.any(dim=1)
        volumes.append(volume[has_report])
        reports.append(report[has_report])
    model.align_plain_space_(
        canonical_pairs(
            torch.cat(volumes),
            torch.cat(reports),
            num_components=start.canonical_components,
            left_ridge=start.image_ridge,
            right_ridge=start.text_ridge,
        )
    )


def _device(model: VisionLanguageModel) -> torch.device:
    return next(model.parameters()).device


def _choose(dataset: StudyDataset, most: int, seed: int, purpose: str) -> list[int]:
    """At most ``most`` rows, in the order of the dataset."""
    size = min(most, len(dataset))
    return sorted(rng(seed, purpose).choice(len(dataset), size=size, replace=False).tolist())


@torch.no_grad()
def _whiten(
    model: VisionLanguageModel, dataset: StudyDataset, start: StartConfig, seed: int
) -> None:
    rows = _choose(dataset, start.whitening_studies, seed, "whitening")
    batch = collate([dataset[row] for row in rows]).to(_device(model))
    text = model.encode_text(batch.token_ids, batch.token_mask, batch.clause_ids)
    model.whiten_heads_(
        _encode_images(model, batch), text, plain_space=start.plain_space == "whitened"
    )


def _encode_images(model: VisionLanguageModel, batch: StudyBatch) -> ImageFeatures:
    parts = [model.encode_image(chunk) for chunk in torch.split(batch.image, _CHUNK)]
    return ImageFeatures(tokens=torch.cat([p.tokens for p in parts]), grid=parts[0].grid)
