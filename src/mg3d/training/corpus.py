"""Training the text encoder alone, on the reports of the training split, before the volumes come.

Two tasks: hidden words (masked language modelling), and section matching, which tells the
impression of a report from those of others by its findings. The second teaches negation: what a
report denies is not in its impression. Deterministic and short (minutes), hence repeated from the
start when a run is killed before its first checkpoint.

Source: BERT, arXiv:1810.04805; section matching: BioViL, arXiv:2204.09817.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from mg3d.data.text.tokens import TokenizedReport
from mg3d.errors import ConfigError, DataError
from mg3d.model.heads import MaskedTokenHead
from mg3d.model.text import TextEncoder, clause_means
from mg3d.objectives.masking import mask_words
from mg3d.progress import track
from mg3d.randomness import rng
from mg3d.training.task import Vocabulary

SECTION_TEMPERATURE = 0.1  # of the cosines in section matching


@dataclass(frozen=True, kw_only=True)
class CorpusConfig:
    """Training of the text encoder on the training split's reports before pre-training."""

    steps: int = 0
    """Optimiser steps, >= 0; 0 leaves the text encoder as it was built or loaded."""
    batch_size: int = 128
    """Documents (clauses or reports) a step with hidden words, > 0."""
    lr: float = 1e-3
    """Peak learning rate of AdamW, > 0; it rises over the first tenth and falls to 0 linearly."""
    word_ratio: float = 0.15
    """Share of whole words hidden, in (0, 1]."""
    section_reports: int = 32
    """Reports a step whose findings are matched with their impressions; 0 leaves this task out."""
    section_weight: float = 1.0
    """Factor on the loss of section matching, >= 0."""

    def __post_init__(self) -> None:
        if self.steps < 0 or self.batch_size < 1 or self.lr <= 0:
            raise ConfigError(
                f"corpus.steps is {self.steps}, batch_size {self.batch_size}, lr {self.lr}; give "
                "0 or more steps, a batch of 1 or more and a rate above 0"
            )
        if self.section_reports < 0 or self.section_weight < 0 or not 0 < self.word_ratio <= 1:
            raise ConfigError(
                f"corpus.section_reports is {self.section_reports}, section_weight "
                f"{self.section_weight}, word_ratio {self.word_ratio}; the first two are 0 or "
                "more, the last lies in (0, 1]"
            )


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """What the text encoder is trained on, from the training split only."""

    documents: Sequence[TokenizedReport]
    """What hides words: whole reports, or single clauses, without duplicates."""
    sections: Sequence[tuple[TokenizedReport, TokenizedReport]]
    """Findings and impression of reports that have both, no impression twice."""


@dataclass(frozen=True, kw_only=True)
class _Padded:
    """Documents side by side, (B, L) each."""

    token_ids: Tensor
    token_mask: Tensor
    clause_ids: Tensor
    word_ids: Tensor

    @classmethod
    def of(cls, documents: Sequence[TokenizedReport]) -> Self:
        def padded(name: str) -> Tensor:
            rows = [torch.as_tensor(getattr(document, name)) for document in documents]
            return pad_sequence(rows, batch_first=True)

        token_ids = padded("token_ids")
        lengths = torch.tensor([len(document.token_ids) for document in documents])
        return cls(
            token_ids=token_ids,
            token_mask=torch.arange(token_ids.shape[1]) < lengths[:, None],
            clause_ids=padded("clause_ids"),
            word_ids=padded("word_ids"),
        )

    def to(self, device: torch.device) -> Self:
        return replace(self, **{f.name: getattr(self, f.name).to(device) for f in fields(self)})


def train_on_corpus(
    encoder: TextEncoder, corpus: Corpus, vocabulary: Vocabulary, settings: CorpusConfig, seed: int
) -> float:
    """Train ``encoder`` in place, and leave no gradient behind.

    Args:
        encoder: The text encoder; its device is used.
        corpus: Texts of the training split.
        vocabulary: Ids for masking.
        settings: Length and rates.
        seed: The run's seed.

    Returns:
        Mean loss of hidden words, in nats a token, over the last tenth of the steps.

    Raises:
        DataError: If the loss is not finite or there is no document.
    """
    if not corpus.documents:
        raise DataError("the training split holds no report text to train the text encoder on")
    torch.manual_seed(seed)
    device = next(encoder.parameters()).device
    width = encoder.token_embedding.embedding_dim
    words_head = MaskedTokenHead(encoder.hidden_size, vocabulary.size, tied_features=width)
    section_head = nn.Linear(encoder.hidden_size, encoder.hidden_size)
    modules = nn.ModuleList([encoder, words_head, section_head]).to(device)
    optimizer = torch.optim.AdamW(modules.parameters(), lr=settings.lr, weight_decay=0.01)
    losses = []
    try:
        for step in track(range(settings.steps), total=settings.steps, description="text encoder"):
            for group in optimizer.param_groups:
                group["lr"] = settings.lr * _triangle(step, settings.steps)
            words = _words_loss(encoder, words_head, corpus, vocabulary, settings, seed, step)
            sections = _sections_loss(encoder, section_head, corpus, settings, seed, step)
            loss = words + settings.section_weight * sections
            if not torch.isfinite(loss):
                raise DataError(
                    f"text encoder, step {step + 1}: the loss is {loss.item()}; lower corpus.lr"
                )
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(modules.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            losses.append(words.item())
    finally:  # what stays would be added to the first gradient of pre-training
        optimizer.zero_grad(set_to_none=True)
    return float(np.mean(losses[-max(1, settings.steps // 10) :]))


def _triangle(step: int, steps: int) -> float:
    rise = max(1, steps // 10)
    return min((step + 1) / rise, (steps - step) / max(1, steps - rise))


def _draw(count: int, most: int, seed: int, step: int, purpose: str) -> list[int]:
    """Numbers of one step, without repetition where there are enough."""
    return sorted(rng(seed, step, purpose).choice(count, size=min(most, count), replace=False))


def _words_loss(
    encoder: TextEncoder,
    head: MaskedTokenHead,
    corpus: Corpus,
    vocabulary: Vocabulary,
    settings: CorpusConfig,
    seed: int,
    step: int,
) -> Tensor:
    """Cross-entropy of hidden words."""
    chosen = _draw(len(corpus.documents), settings.batch_size, seed, step, "corpus words")
    batch = _Padded.of([corpus.documents[i] for i in chosen])
    words = mask_words(
        batch.token_ids,
        batch.word_ids,
        [f"document {place}" for place in range(len(chosen))],
        seed=seed,
        epoch=step,
        vocab_size=vocabulary.size,
        mask_id=vocabulary.mask_id,
        special_ids=vocabulary.special_ids,
        ratio=settings.word_ratio,
    )
    device = next(encoder.parameters()).device
    batch = replace(batch, token_ids=words.token_ids).to(device)
    tokens, _ = encoder(batch.token_ids, batch.token_mask, batch.clause_ids)
    logits = head(tokens[words.masked_positions.to(device)], encoder.token_embedding.weight)
    return F.cross_entropy(logits, words.targets.to(device))


def _sections_loss(
    encoder: TextEncoder,
    head: nn.Linear,
    corpus: Corpus,
    settings: CorpusConfig,
    seed: int,
    step: int,
) -> Tensor:
    """Symmetric InfoNCE of findings and impressions; 0 where too few reports have both."""
    most = min(settings.section_reports, len(corpus.sections))
    if most < 2:
        return next(encoder.parameters()).new_zeros(())
    chosen = _draw(len(corpus.sections), most, seed, step, "corpus sections")
    pairs = [corpus.sections[i] for i in chosen]
    device = next(encoder.parameters()).device
    batch = _Padded.of([pair[0] for pair in pairs] + [pair[1] for pair in pairs]).to(device)
    tokens, mask = encoder(batch.token_ids, batch.token_mask, batch.clause_ids)
    clauses, clause_mask = clause_means(tokens, mask, batch.clause_ids)
    counts = clause_mask.sum(dim=1, keepdim=True).clamp(min=1)
    vectors = F.normalize(head(clauses.sum(dim=1) / counts), dim=1)
    logits = vectors[:most] @ vectors[most:].T / SECTION_TEMPERATURE
    targets = torch.arange(most, device=device)
    return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2
